"""Letters are lowered in a graph as `zoo.alphabets` lowers them."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from serving import graph_alphabets, graph_text
from zoo.alphabets import LETTERS, Alphabets, native
from zoo.charset import Charset
from zoo.language import TRIED

CHARSET = Charset("european")
HELD = TRIED + graph_alphabets.MORE


def written(rng: np.random.Generator, language: str, count: int) -> np.ndarray:
    """(count, 16, K) logits of words in a language, each letter with marks beside another built on the same."""
    logits = rng.normal(0, 1, (count, 16, len(CHARSET) + 1)).astype("float32") - 18
    logits[..., -1] = 0
    letters, every = (LETTERS[language] or "aeiou").replace("ẞ", ""), "".join(LETTERS.values()).replace("ẞ", "")
    for strip in logits:
        for step in range(0, 16, 2):
            strip[step, -1] = -6
            letter, other = (rng.choice(list(some)) for some in ((letters, "abcdefg")[rng.random() < 0.5], every))
            strip[step, CHARSET.encode(letter)[0]] += 18 + rng.normal(0, 1)
            strip[step, CHARSET.encode(other)[0]] += 17 + rng.normal(0, 1.5)
    return logits


@pytest.mark.parametrize("seed", range(4))
def test_pages_lack_the_letters_that_numpy_says(seed):
    """Pages of several languages at once, one of them without a word, and strips of which some steps count alone."""
    rng, alphabets = np.random.default_rng(seed), Alphabets(CHARSET)
    sizes, names = {0: 9, 2: 14, 3: 1, 4: 6}, rng.choice(list(LETTERS), 4, replace=False)
    logits = np.concatenate([written(rng, name, n) for name, n in zip(names, sizes.values(), strict=True)])
    pages = np.repeat(list(sizes), list(sizes.values())).astype("int32")
    low, high = rng.integers(0, 3, len(pages)), rng.integers(10, 17, len(pages))

    @tf.function
    def run(logits, pages, low, high):
        found = graph_text.steps(logits, CHARSET.blank, 16, HELD)
        owners = tf.range(tf.size(pages))
        lowered = graph_alphabets.lowered(alphabets, found, owners, low, high, pages)
        return lowered, graph_alphabets.native(found, tf.gather(lowered, pages), TRIED)

    given = (pages, low.astype("int32"), high.astype("int32"))
    lowered, found = run(tf.constant(logits), *map(tf.constant, given))
    rows = [row[begin:end] for row, begin, end in zip(logits, low, high, strict=True)]
    for page in sizes:
        mine = np.flatnonzero(pages == page)
        wanted = alphabets.lowered([rows[i] for i in mine])
        np.testing.assert_array_equal(lowered[page], wanted)
        assert wanted.any()
        _, after = native(
            [CHARSET.decode(rows[i]) for i in mine], [rows[i] for i in mine], wanted, CHARSET.decode_batch
        )
        for i, row in zip(mine, after, strict=True):
            share = np.exp(row) / np.exp(row).sum(-1, keepdims=True)
            inside = slice(low[i], high[i])
            np.testing.assert_array_equal(found.best[i, inside], row.argmax(-1))
            np.testing.assert_allclose(found.score[i, inside], share.max(-1), atol=1e-3)
            np.testing.assert_allclose(found.blank[i, inside], share[:, -1], atol=1e-3)
            assert found.logs.shape[-1] == TRIED
    np.testing.assert_array_equal(lowered[1], alphabets.lowered([]))  # a page without words


def test_no_strips_lower_nothing():
    found = graph_text.steps(tf.zeros((0, 8, len(CHARSET) + 1)), CHARSET.blank, 8, HELD)
    none = tf.zeros([0], tf.int32)
    lowered = graph_alphabets.lowered(Alphabets(CHARSET), found, none, none, none, none)
    assert lowered.shape == (0, len(CHARSET) + 1)
    assert graph_alphabets.native(found, lowered, TRIED).best.shape == (0, 8)
