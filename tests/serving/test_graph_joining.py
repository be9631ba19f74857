"""Words are put together in a graph as `zoo.joining` does."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from recipes import language as counting
from serving import graph_joining, graph_language
from zoo import joining
from zoo.charset import Charset, Reading
from zoo.language import Spelling, language

CHARSET = Charset("abdtABéß01-.:(/€")
WORDS = {"bad": 8.0, "bat": 4.0, "dab": 2.0, "tab": 2.0, "a": 1.0, "batté": 1.0, "daß": 1.0}


@pytest.fixture(scope="module")
def spelling(tmp_path_factory) -> Spelling:
    path = tmp_path_factory.mktemp("language") / "small.npz"
    counting.count({**WORDS, **dict.fromkeys("cefghijklmnopqrsuvwyz", 1.0)}, path)
    return Spelling(language(path), CHARSET, 1.0)


def scattered(rng: np.random.Generator) -> np.ndarray:
    """Boxes (150, 4, 2) in lines of all directions, many of them run into each other."""
    lines = []
    for turn in np.radians(rng.choice([0.0, 0.0, 4.0, 90.0], 15)):
        wide, high = rng.uniform(6, 60, 10), rng.uniform(8, 16, 10)
        left = np.cumsum(wide + rng.uniform(-8, 4, 10)) - wide
        top = rng.uniform(-4, 4, 10)
        x, y = np.stack([left, left + wide, left + wide, left], 1), np.stack([top, top, top + high, top + high], 1)
        axes = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        lines.append(np.stack([x, y], 2) @ axes + rng.uniform(0, 400, 2))
    return np.concatenate(lines).astype("float32")


@pytest.mark.parametrize("seed", range(6))
def test_words_are_those_of_numpy(spelling, seed):
    rng = np.random.default_rng(seed)
    boxes, count = scattered(rng), 150
    texts = ["".join(rng.choice(list(CHARSET.characters), rng.integers(1, 5))) for _ in range(count)]
    texts[::3] = ["ba" if place % 2 else "d" for place in range(len(texts[::3]))]
    scores, sure = rng.random((2, count)).astype("float32")
    table = graph_language.Table(spelling)

    @tf.function
    def run(boxes, texts, scores, sure):
        return graph_joining.joined(table, graph_joining.neighbours(boxes), (boxes, texts, scores, sure))

    *found, kept = (values.numpy() for values in run(tf.constant(boxes), tf.constant(texts), scores, sure))
    polygons, words, probable, certain = (values[kept] for values in found)
    readings = [Reading(text, float(score), (1.0,) * len(text)) for text, score in zip(texts, scores, strict=True)]
    expected, of_detector, read = joining.joined(boxes, sure, readings, spelling.language)
    assert len(read) < count - 10
    assert [word.decode() for word in words] == [reading.text for reading in read]
    np.testing.assert_allclose(polygons, expected, atol=1e-3)
    np.testing.assert_allclose(probable, [reading.score for reading in read], rtol=1e-6)
    np.testing.assert_array_equal(certain, of_detector)


@pytest.mark.parametrize("overlap", [0.1, 0.5])
def test_what_two_pieces_say_together(spelling, overlap):
    pieces = ["b", "ba", "ad", "d", "é", "ß", "0", "10", "01", "1.", "-", "0-", ":", "(", "a.", "€", "A", "B/"]
    left, right = (list(side) for side in zip(*[(a, b) for a in pieces for b in pieces], strict=True))
    table = graph_language.Table(spelling)
    both, fits = graph_joining.together(
        table, tf.constant(left), tf.constant(right), tf.fill([len(left)], np.float32(overlap))
    )
    found = [text.decode() if fit else None for text, fit in zip(both.numpy(), fits.numpy(), strict=True)]
    expected = [joining.together(a, b, overlap, spelling.language) for a, b in zip(left, right, strict=True)]
    assert found == expected and 0 < sum(text is not None for text in found) < len(found)


def test_no_words_and_one(spelling):
    table = graph_language.Table(spelling)
    for count in (0, 1):
        boxes, texts = tf.zeros([count, 4, 2]), tf.constant(["a"] * count, tf.string)
        words = boxes, texts, tf.ones([count]), tf.ones([count])
        *_, kept = graph_joining.joined(table, graph_joining.neighbours(boxes), words)
        assert kept.numpy().tolist() == [True] * count


@pytest.mark.parametrize("seed", range(4))
def test_texts_with_spaces_are_parted_as_by_numpy(seed):
    rng, letters = np.random.default_rng(seed), CHARSET.characters + " "
    boxes = scattered(rng)[:40]
    texts = ["".join(rng.choice(list(letters), rng.integers(1, 9), p=weights(letters))) for _ in boxes]
    scores, sure = rng.uniform(0.1, 1, (2, len(boxes))).astype("float32")
    *found, owners = graph_joining.parted(letters, (tf.constant(boxes), tf.constant(texts), scores, sure))
    polygons, words, probable, certain = (values.numpy() for values in found)
    readings = [Reading(text, float(score), (1.0,) * len(text)) for text, score in zip(texts, scores, strict=True)]
    expected, of_detector, read = joining.parted(boxes, sure, readings)
    assert [word.decode() for word in words] == [reading.text for reading in read]
    assert len(read) > len(boxes) and all(" " not in word.text for word in read)
    np.testing.assert_allclose(polygons, expected, atol=1e-3)
    np.testing.assert_allclose(probable, [reading.score for reading in read], rtol=1e-5)
    np.testing.assert_array_equal(certain, of_detector)
    assert [texts[owner] for owner in owners.numpy()] == [text for text in texts for _ in text.split()]


def weights(letters: str) -> np.ndarray:
    """Chances of characters, of which the space, the last, is more usual."""
    chances = np.where(np.arange(len(letters)) < len(letters) - 1, 1.0, 5.0)
    return chances / chances.sum()
