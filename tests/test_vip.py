"""VIP's two attentions: what sees what, and equal numbers by a loop."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest

from zoo.backbones.vip import MapAttention, StripeAttention

RNG = np.random.default_rng(8)


def random(*shape: int) -> np.ndarray:
    return RNG.normal(0, 1, shape).astype("float32")


@pytest.mark.parametrize("upright", [True, False])
def test_a_place_sees_its_stripe_alone(upright):
    layer = StripeAttention(2, 2, upright)
    query, key, value = random(1, 4, 6, 4), random(1, 4, 6, 4), random(1, 4, 6, 4)
    before = np.asarray(layer(query, key, value))
    value[0, 2, 3] += 1
    changed = np.abs(np.asarray(layer(query, key, value)) - before).max((0, 3)) > 1e-6
    expected = np.zeros((4, 6), bool)
    expected[(slice(None), slice(2, 4)) if upright else (slice(2, 4), slice(None))] = True
    np.testing.assert_array_equal(changed, expected)


def test_a_stripe_is_attended_to_and_convolved():
    """One head, rows as stripes; the kernel takes the left neighbour, which the first pixel of a row does not have."""
    layer = StripeAttention(1, 1, False)
    query, key, value = random(1, 2, 3, 2), random(1, 2, 3, 2), random(1, 2, 3, 2)
    layer(query, key, value)
    kernel = np.zeros((3, 3, 2, 1), "float32")
    kernel[1, 0] = 1
    layer.local.kernel.assign(kernel)
    result = np.asarray(layer(query, key, value))
    for row, column in np.ndindex(2, 3):
        power = np.exp(key[0, row] @ query[0, row, column] / math.sqrt(2))
        expected = power / power.sum() @ value[0, row] + (value[0, row, column - 1] if column else 0)
        np.testing.assert_allclose(result[0, row, column], expected, rtol=1e-4, atol=1e-5)


def test_a_map_is_attended_to_from_every_place():
    query, key, value = random(1, 2, 3, 4), random(1, 1, 2, 4), random(1, 1, 2, 4)
    result = np.asarray(MapAttention(2)(query, key, value))
    for row, column, head in np.ndindex(2, 3, 2):
        part = slice(2 * head, 2 * head + 2)
        power = np.exp(key[0, 0, :, part] @ query[0, row, column, part] / math.sqrt(2))
        np.testing.assert_allclose(
            result[0, row, column, part], power / power.sum() @ value[0, 0, :, part], rtol=1e-4, atol=1e-5
        )


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="JAX knows all sides")
@pytest.mark.parametrize("upright", [True, False])
def test_maps_of_sides_that_a_graph_does_not_know(upright):
    """As in training, where batches of free size are taken from the pipeline within the graph."""
    import tensorflow as tf

    layer = StripeAttention(2, 2, upright)
    inputs = [random(1, 4, 6, 4) for _ in range(3)]
    expected = np.asarray(layer(*inputs))
    free = tf.function(layer, input_signature=[tf.TensorSpec((None, None, None, 4))] * 3)
    np.testing.assert_allclose(np.asarray(free(*inputs)), expected, rtol=1e-5, atol=1e-6)
