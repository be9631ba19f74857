"""The same bands by TensorFlow's operations as by NumPy."""

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from serving import graph_bands
from zoo import bands


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6), count=st.integers(1, 80), factor=st.floats(0.3, 3), room=st.integers(20_000, 2_000_000)
)
def test_bands_are_those_of_the_reader(seed, count, factor, room):
    rng = np.random.default_rng(seed)
    size = (int(rng.integers(200, 3000)), int(rng.integers(200, 3000)))
    corners = rng.uniform(0, 0.9, (count, 1, 2)) * size[::-1]
    sides = rng.uniform(4, 40, (count, 2))
    found = corners + np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * sides[:, None] + rng.normal(0, 1, (count, 4, 2))
    found = found.clip(0, size[::-1]).astype("float32")
    expected = bands.bands(found, size, factor, room)
    page = graph_bands.bands(tf.constant(found), tf.constant(size), tf.constant(factor, tf.float64), room)
    assert int(page.count) == len(expected)
    for number, band in enumerate(expected):
        begin, end, low, high = graph_bands.rows(page, tf.constant(number))
        assert (int(page.left), int(begin), int(page.right), int(end)) == band[:4]
        np.testing.assert_allclose([low, high], band[4:])


def test_the_height_of_no_box_is_above_all():
    assert graph_bands.height(tf.zeros((0, 4, 2))) == np.inf


@settings(max_examples=100, deadline=None)
@given(long=st.integers(1, 50_000), short=st.integers(1, 3_000), turned=st.booleans())
def test_parts_are_those_of_the_reader(long, short, turned):
    size = (short, long) if turned else (long, short)
    expected = bands.parts(size)
    page = graph_bands.parts(tf.constant(size))
    assert int(page.count) == len(expected)
    assert page.starts.numpy().tolist() == [part.start for part in expected]
    assert {part.stop - part.start for part in expected} == {int(page.length)}
    assert page.edges.numpy().tolist() == [expected[0].low, *(part.high for part in expected)]
