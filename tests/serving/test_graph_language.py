"""Texts spelt in a graph are those that `zoo.language` spells."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from recipes import language as counting
from serving import export, graph_language, graph_text
from zoo import language as languages
from zoo.charset import Charset
from zoo.language import Spelling, language

CHARSET = Charset("abdtx1-BD.á")
WORDS = {"bad": 8.0, "bat": 4.0, "dab": 2.0, "tab": 2.0, "a": 1.0}
OTHERS = dict.fromkeys("cefghijklmnopqrsuvwyz", 3.0)


@pytest.fixture(scope="module")
def spelling(tmp_path_factory) -> Spelling:
    path = tmp_path_factory.mktemp("language") / "small.npz"
    counting.count({**WORDS, **OTHERS}, path)
    return Spelling(language(path), CHARSET, 1.0)


def strips(rng: np.random.Generator, count: int, length: int) -> np.ndarray:
    """(S, T, K) logits as a recognizer's: letters between blanks, most of them nearly sure."""
    logits = rng.normal(0, 1, (count, length, len(CHARSET) + 1))
    logits[..., -1] += 2
    for row in logits:
        for step in range(1, length, 3):
            row[step, rng.integers(0, len(CHARSET))] += rng.choice([5.0, 9.0, 14.0])
        row[rng.random(length) < 0.3, -1] += 15
    return logits.astype("float32")


def in_graph(spelling: Spelling, logits: np.ndarray, lengths: list[int], pages: list[int]) -> list[np.ndarray]:
    table = graph_language.Table(spelling)

    @tf.function
    def run(logits):
        found = graph_text.steps(logits, CHARSET.blank, logits.shape[1], table.tried)
        owners = tf.range(len(lengths))
        seen = found, owners, tf.zeros_like(owners), tf.constant(lengths, tf.int32)
        trust = graph_language.trust(table, *seen, tf.constant(pages, tf.int32))
        return graph_language.spelt(table, *seen, trust)

    return [values.numpy() for values in run(tf.constant(logits))]


@pytest.mark.parametrize("seed", range(3))
def test_texts_and_scores_are_those_of_numpy(spelling, seed):
    rng = np.random.default_rng(seed)
    logits, lengths = strips(rng, 40, 24), rng.integers(1, 25, 40).tolist()
    rows = [row[:length] for row, length in zip(logits, lengths, strict=True)]
    pages = np.repeat([0, 2, 3], [10, 25, 5]).tolist()  # page 1 has none
    texts, scores, counts = in_graph(spelling, logits, lengths, pages)
    expected = []
    for page in (0, 2, 3):
        mine = [row for row, own in zip(rows, pages, strict=True) if own == page]
        expected += spelling([CHARSET.decode(row) for row in mine], mine)
    assert [text.decode() for text in texts] == [reading.text for reading in expected]
    np.testing.assert_allclose(scores, [reading.score for reading in expected], rtol=2e-3, atol=1e-5)
    assert counts.tolist() == [len(reading.text) for reading in expected]
    greedy = [CHARSET.decode(row).text for row in rows]
    changed = sum(a != b.text for a, b in zip(greedy, expected, strict=True))
    assert 3 < changed < 40  # the search has had something to do, and left something alone


def test_trust_falls_on_the_page_whose_words_are_others(spelling):
    def row(text: str) -> np.ndarray:
        logits = np.zeros((12, len(CHARSET) + 1), "float32")
        logits[:, -1] = 20
        for place, character in enumerate(text):
            logits[2 * place, CHARSET.encode(character)[0]] = 40
        return logits

    texts = ["bad", "txxtdx", *["txtdxt"] * 30]
    logits = np.stack([row(text) for text in texts])
    table = graph_language.Table(spelling)
    found = graph_text.steps(tf.constant(logits), CHARSET.blank, 12, table.tried)
    owners = tf.range(len(texts))
    whole = found, owners, tf.zeros_like(owners), tf.fill([len(texts)], 12)
    trust = graph_language.trust(table, *whole, tf.constant([0] + [1] * 31)).numpy()
    readings = [CHARSET.decode(r) for r in logits]
    expected = [spelling.trust(readings[:1])] + [spelling.trust(readings[1:])] * 31
    np.testing.assert_allclose(trust, expected, atol=1e-5)
    assert trust[0] == 1 and trust[1] < 0.5


def test_no_strips_are_no_texts(spelling):
    texts, scores, counts = in_graph(spelling, np.zeros((0, 8, len(CHARSET) + 1), "float32"), [], [])
    assert len(texts) == len(scores) == len(counts) == 0


def test_an_alphabet_of_few_letters(spelling):
    few = Spelling(spelling.language, Charset("ab"), 0.65)
    table = graph_language.Table(few)
    assert table.tried == 2 and table.columns.tolist() == [0, 1, spelling.language.end]
    assert languages.TRIED > 2


def test_an_export_asks_the_language_that_is_named(tmp_path):
    counting.count({**WORDS, **OTHERS}, tmp_path / "small.npz")
    pair = "db_mobilenet_v3_large", "crnn_mobilenet_v3_small"
    own, other, none = (export.reading_of(*pair, name) for name in (None, tmp_path / "small.npz", ""))
    assert own.table.end == len(language("latin").letters) and other.table.end == 25
    assert none.table is None and none.recognition["spelling"] == ""
    with pytest.raises(FileNotFoundError, match="there is no language 'martian'"):
        export.reading_of(*pair, "martian")
