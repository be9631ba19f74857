"""Words are put together in a graph as `zoo.joining` does."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from serving import graph_joining
from zoo import joining
from zoo.charset import Charset, Reading

CHARSET = Charset("abdtABéß01-.:(/€")


def scattered(rng: np.random.Generator) -> np.ndarray:
    """Boxes (150, 4, 2) in lines of all directions, many of them run into each other."""
    lines = []
    for turn in np.radians(rng.choice([0.0, 0.0, 4.0, 47.0, 90.0], 15)):
        wide, high = rng.uniform(6, 60, 10), rng.uniform(8, 16, 10)
        left = np.cumsum(wide + rng.uniform(-8, 4, 10)) - wide
        top = rng.uniform(-4, 4, 10)
        x, y = np.stack([left, left + wide, left + wide, left], 1), np.stack([top, top, top + high, top + high], 1)
        axes = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        lines.append(np.stack([x, y], 2) @ axes + rng.uniform(0, 400, 2))
    boxes = np.concatenate(lines).astype("float32")
    return np.array([np.roll(box, rng.choice(4, p=[0.85, 0.05, 0.05, 0.05]), axis=0) for box in boxes])


@pytest.mark.parametrize("seed", range(6))
def test_candidates_and_those_kept_are_those_of_numpy(seed):
    rng = np.random.default_rng(seed)
    boxes, sure = scattered(rng), rng.random(150).astype("float32")
    every, of_detector, halves = joining.candidates(boxes, sure)
    found = graph_joining.candidates(tf.constant(boxes), tf.constant(sure), CHARSET.characters + " ")
    np.testing.assert_allclose(found[0], every, atol=1e-3)
    np.testing.assert_array_equal(found[1], of_detector)
    np.testing.assert_array_equal(found[2], halves)

    texts = [str(rng.choice(["", "ab", "a b", "éa", "baéa"], p=[0.1, 0.3, 0.2, 0.2, 0.2])) for _ in every]
    scores = rng.uniform(0.6, 1, len(every)).astype("float32")
    read = [Reading(text, float(score), (1.0,) * len(text)) for text, score in zip(texts, scores, strict=True)]
    expected, onward = joining.kept(read, halves)
    kept = graph_joining.kept(tf.constant(texts), tf.constant(scores), tf.constant(halves, tf.int32))
    np.testing.assert_array_equal(kept[0], expected)
    np.testing.assert_array_equal(kept[1], onward)
    whole = expected[len(boxes) :]
    assert 5 < whole.sum() < len(whole) - 5 and (onward >= 0).any()
    polygons, of_detector, words = joining.joined(every, of_detector, read, halves)
    *fields, chosen = graph_joining.joined(*found[:1], tf.constant(texts), tf.constant(scores), found[1], found[2])
    fields = [tf.boolean_mask(values, chosen).numpy() for values in fields]
    np.testing.assert_allclose(fields[0], polygons, atol=1e-3)
    assert [text.decode() for text in fields[1]] == [word.text for word in words]
    np.testing.assert_allclose(fields[2], [word.score for word in words], rtol=1e-6)
    np.testing.assert_array_equal(fields[3], of_detector)


@given(st.lists(st.tuples(st.text("aé-", max_size=6), st.text("aé-", max_size=6)), max_size=5))
def test_what_texts_have_in_common_is_that_of_numpy(pairs):
    texts, rests = ([pair[side] for pair in pairs] for side in (0, 1))
    found = graph_joining.overlap(tf.constant(texts, tf.string), tf.constant(rests, tf.string))
    assert found.numpy().tolist() == [joining.overlap(*pair) for pair in pairs]


def test_without_a_space_there_are_no_pairs():
    boxes, sure = tf.constant(scattered(np.random.default_rng(0))), tf.ones([150])
    every, scores, halves = graph_joining.candidates(boxes, sure, CHARSET.characters)
    assert len(every) == len(scores) == 150 and (halves.numpy() == -1).all()


@pytest.mark.parametrize("count", [0, 1])
def test_no_words_and_one(count):
    boxes, _, halves = graph_joining.candidates(tf.zeros([count, 4, 2]), tf.ones([count]), " ")
    kept = graph_joining.kept(tf.constant(["a"] * count, tf.string), tf.ones([count]), halves)
    assert boxes.shape == (count, 4, 2) and kept[0].numpy().tolist() == [True] * count


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


@pytest.mark.parametrize("seed", range(6))
def test_spaced_letters_are_closed_up_as_by_numpy(seed):
    """On two pages whose lines lie upon each other, and differ in nothing but their page."""
    rng = np.random.default_rng(seed)
    boxes, texts = [], []
    for turn in np.radians(rng.choice([0.0, 0.0, 6.0, 90.0], 20)):
        said = [str(rng.choice([*"ABdtéß1", "AB", "ta", "at", "-"])) for _ in range(8)]
        high, apart = rng.uniform(10, 30), rng.uniform(0.0, 1.1)
        wide = high * rng.uniform(0.5, 1.1, 8) * [len(text) for text in said]
        left = np.cumsum([0, *(wide[:-1] + high * rng.choice([apart, apart, apart, 2.2 * apart], 7))])
        x = np.stack([left, left + wide, left + wide, left], 1)
        y = np.tile(np.array([0, 0, high, high]), (8, 1)) + rng.uniform(-2, 2, (8, 1))
        axes = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        boxes.append(np.stack([x, y], 2) @ axes + rng.uniform(0, 3000, 2))
        texts += said
    polygons = np.concatenate(boxes).astype("float32")
    scores, sure = rng.uniform(0.3, 1, (2, len(polygons))).astype("float32")
    readings = [Reading(text, float(score), (1.0,) * len(text)) for text, score in zip(texts, scores, strict=True)]
    expected, of_detector, words = joining.closed_up(polygons, sure, readings)
    assert 20 < len(texts) - len(words) < len(texts) - 20

    twice = [tf.concat([values, values], 0) for values in (polygons, texts, scores, sure)]
    pages, *found = graph_joining.closed_up(CHARSET.characters, tf.repeat([0, 1], len(texts)), tuple(twice))
    assert pages.numpy().tolist() == [0] * len(words) + [1] * len(words)
    for half in (slice(0, len(words)), slice(len(words), None)):
        polygons, texts_, scores, sure = (values.numpy()[half] for values in found)
        np.testing.assert_allclose(polygons, expected, atol=2e-2)
        assert [text.decode() for text in texts_] == [word.text for word in words]
        np.testing.assert_allclose(scores, [word.score for word in words], rtol=1e-5)
        np.testing.assert_array_equal(sure, of_detector)


@pytest.mark.parametrize("texts", [[], ["A"], ["A", "B"]])
def test_few_words_are_left_as_they_are(texts):
    words = tf.zeros([len(texts), 4, 2]), tf.constant(texts, tf.string), tf.ones([len(texts)]), tf.ones([len(texts)])
    pages, *found = graph_joining.closed_up(CHARSET.characters, tf.zeros([len(texts)], tf.int32), words)
    assert len(pages) == len(texts) and found[1].numpy().tolist() == [text.encode() for text in texts]
