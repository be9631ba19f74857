"""Words that run upwards by TensorFlow's operations as by NumPy."""

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from serving import graph_upwards
from zoo import geometry, upwards


def some(rng: np.random.Generator, count: int, wide: tuple[int, int], high: tuple[int, int]) -> np.ndarray:
    corners = rng.integers(0, 300, (count, 1, 2))
    sides = np.stack([rng.integers(*wide, count), rng.integers(*high, count)], 1)
    return (corners + np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * sides[:, None]).astype("float32")


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10**6), level=st.integers(0, 12), high=st.integers(0, 6), turned=st.integers(0, 8))
def test_they_are_those_of_the_reader(seed, level, high, turned):
    rng = np.random.default_rng(seed)
    page = np.concatenate([some(rng, level, (30, 90), (10, 30)), some(rng, high, (8, 30), (20, 120))])
    expected = upwards.part(page, (400, 350))
    part = graph_upwards.part(tf.constant(page), tf.constant([400, 350]))
    assert bool(part.some) == (expected is not None)
    if expected:
        assert tuple(float(value) for value in part[1:]) == expected
        for pixels in (139_999.0, 140_000.0):
            whole = graph_upwards.widened(part, tf.constant([400, 350]), tf.constant(pixels, tf.float64))
            assert tuple(float(value) for value in whole[1:]) == upwards.widened(expected, (400, 350), pixels)
    more = some(rng, turned, (10, 120), (8, 40))
    level_there = upwards.words(more, 20.0)
    np.testing.assert_array_equal(graph_upwards.words(tf.constant(more), tf.constant(20.0)), level_there)
    words = geometry.turned(more, (350, 400), 1)
    np.testing.assert_array_equal(graph_upwards.turned(tf.constant(more), tf.constant(400)), words)
    both = tf.constant(page), tf.constant(words)
    np.testing.assert_array_equal(graph_upwards.taken(*both), upwards.taken(page, words))
    np.testing.assert_array_equal(graph_upwards.covered(*both), upwards.covered(page, words))
