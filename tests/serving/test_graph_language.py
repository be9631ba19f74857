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
    return Spelling([language(path)], CHARSET, 1.0)


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
        told = graph_language.told(table, *seen, tf.constant(pages, tf.int32))
        return graph_language.spelt(table, *seen, told)

    return [values.numpy() for values in run(tf.constant(logits))]


@pytest.fixture(scope="module")
def several(spelling, tmp_path_factory) -> Spelling:
    """That language, and two of other words and letters."""
    folder = tmp_path_factory.mktemp("languages")
    counting.count({"tdt": 8.0, "tdb": 8.0, "btdt": 4.0, "ztá": 3.0} | OTHERS, folder / "other.npz")
    counting.count({"xxdxd": 8.0, "dxxdx": 8.0} | OTHERS, folder / "third.npz")
    return Spelling([spelling.language(0), folder / "other.npz", folder / "third.npz"], CHARSET, 1.0)


def surely(text: str, length: int) -> np.ndarray:
    """(T, K) logits of a text that is in no doubt."""
    logits = np.zeros((length, len(CHARSET) + 1), "float32")
    logits[:, -1] = 20
    for place, character in enumerate(text):
        logits[2 * place, CHARSET.encode(character)[0]] = 40
    return logits


def test_pages_in_several_languages_are_spelt_as_by_numpy(several):
    words = {0: ["bad", "bat"] * 12, 1: ["btdt", "tdb"] * 12, 2: ["xxdxd", "dxxdx"] * 12, 3: ["aaaaaa"] * 24}
    rng, expected, numbers = np.random.default_rng(5), [], []
    logits = np.stack([surely(word, 24) for mine in words.values() for word in mine])
    doubted = strips(rng, 4 * 16, 24)
    pages = np.repeat(np.arange(4), 40).tolist()
    logits = np.concatenate([part for i in range(4) for part in (logits[24 * i :][:24], doubted[16 * i :][:16])])
    texts, scores, _ = in_graph(several, logits, [24] * len(logits), pages)
    for page in range(4):
        rows = [row for row, own in zip(logits, pages, strict=True) if own == page]
        readings = [CHARSET.decode(row) for row in rows]
        numbers.append(several.told(readings).number)
        expected += several(readings, rows)
    assert numbers == [0, 1, 2, 0]
    assert [text.decode() for text in texts] == [reading.text for reading in expected]
    np.testing.assert_allclose(scores, [reading.score for reading in expected], rtol=2e-3, atol=1e-5)
    of_one, _, _ = in_graph(Spelling([several.language(0)], CHARSET, 1.0), logits, [24] * len(logits), pages)
    assert 0 < np.sum(of_one != texts) <= 32 and (of_one == texts)[:40].all()


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
    texts = ["bad", "txxtdx", *["txtdxt"] * 30]
    logits = np.stack([surely(text, 12) for text in texts])
    table = graph_language.Table(spelling)
    found = graph_text.steps(tf.constant(logits), CHARSET.blank, 12, table.tried)
    owners = tf.range(len(texts))
    whole = found, owners, tf.zeros_like(owners), tf.fill([len(texts)], 12)
    trust = graph_language.told(table, *whole, tf.constant([0] + [1] * 31)).trust.numpy()
    readings = [CHARSET.decode(r) for r in logits]
    expected = [spelling.told(readings[:1]).trust] + [spelling.told(readings[1:]).trust] * 31
    np.testing.assert_allclose(trust, expected, atol=1e-5)
    assert trust[0] == 1 and trust[1] < 0.5


def test_no_strips_are_no_texts(spelling):
    texts, scores, counts = in_graph(spelling, np.zeros((0, 8, len(CHARSET) + 1), "float32"), [], [])
    assert len(texts) == len(scores) == len(counts) == 0


def test_an_alphabet_of_few_letters(spelling):
    few = Spelling([spelling.language(0)], Charset("ab"), 0.65)
    table = graph_language.Table(few)
    assert table.tried == 2 and table.columns.tolist() == [[0, 1, spelling.language(0).end]]
    assert languages.TRIED > 2


def test_an_export_asks_the_language_that_is_named(tmp_path):
    counting.count({**WORDS, **OTHERS}, tmp_path / "small.npz")
    pair = "db_mobilenet_v3_large", "crnn_mobilenet_v3_small"
    own, other, none = (export.reading_of(*pair, name) for name in (None, tmp_path / "small.npz", ""))
    assert own.table.end.tolist() == [len(language("latin").letters)] and other.table.end.tolist() == [25]
    assert none.table is None and none.recognition["spelling"] == ""
    with pytest.raises(FileNotFoundError, match="there is no language 'martian'"):
        export.reading_of(*pair, "martian")
