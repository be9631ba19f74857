"""Fused layers beside Keras' own: the same values and the same gradients."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from recipes import fused

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="other backends fuse by themselves")


def test_batch_normalization():
    x = np.random.default_rng(0).normal(3, 2, (4, 16, 16, 5)).astype("float32")
    plain, fast = (
        keras.Sequential([keras.Input((16, 16, 5)), keras.layers.BatchNormalization(name="norm")]) for _ in range(2)
    )
    fused.fuse(fast)
    np.testing.assert_allclose(np.asarray(fast(x, training=True)), np.asarray(plain(x, training=True)), atol=1e-4)
    np.testing.assert_allclose(np.asarray(fast(x)), np.asarray(plain(x)), atol=2e-3)
    # The variance is the unbiased one: 1024 values of a channel, so a thousandth more.
    for one, other in zip(fast.weights, plain.weights, strict=True):
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=1.5e-3, atol=1e-6)


def pair(**options) -> list[keras.Model]:
    """Two networks of the same weights with a recurrent layer over (B, T, 6), the second one fused."""
    networks = []
    for _ in range(2):
        lstm = layers.LSTM(5, return_sequences=True, bias_initializer="random_normal", **options)
        networks.append(keras.Sequential([keras.Input((None, 6)), layers.Bidirectional(lstm)]))
    networks[1].set_weights(networks[0].get_weights())
    fused.fuse(networks[1])
    return networks


def differentiated(network: keras.Model, x: np.ndarray) -> list[np.ndarray]:
    """What a network in training answers, and the gradients of a function of that."""
    import tensorflow as tf

    given = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(given)
        y = network(given, training=True)
        value = tf.reduce_sum(tf.sin(3 * y) * tf.range(tf.size(y, tf.int32)).numpy().reshape(y.shape))
    asked = [given, *(variable.value for variable in network.trainable_variables)]
    return [np.asarray(y), *map(np.asarray, tape.gradient(value, asked))]


@pytest.mark.parametrize("steps", [1, 2, 9])
def test_two_lstms_that_run_against_each_other(steps):
    x = np.random.default_rng(steps).normal(0, 1, (3, steps, 6)).astype("float32")
    plain, fast = (differentiated(network, x) for network in pair())
    for one, other in zip(plain, fast, strict=True):
        np.testing.assert_allclose(other, one, atol=1e-5 * np.abs(one).max())


def test_what_is_not_fused_stays_as_keras_has_it():
    x = np.random.default_rng(0).normal(0, 1, (3, 4, 6)).astype("float32")
    for options in ({"activation": "relu"}, {"use_bias": False}, {"recurrent_activation": "hard_sigmoid"}):
        plain, fast = pair(**options)
        np.testing.assert_array_equal(np.asarray(fast(x, training=True)), np.asarray(plain(x, training=True)))
    plain, fast = pair()
    np.testing.assert_array_equal(np.asarray(fast(x)), np.asarray(plain(x)))  # not in training: as it is exported


def test_lengths_that_differ_trace_once():
    import tensorflow as tf

    network, traces = pair()[1], []

    @tf.function(input_signature=[tf.TensorSpec((None, None, 6))])
    def run(x):
        traces.append(1)
        return network(x, training=True)

    shapes = [tuple(run(tf.zeros((2, steps, 6))).shape) for steps in (3, 8, 5)]
    assert shapes == [(2, 3, 10), (2, 8, 10), (2, 5, 10)] and len(traces) == 1


def test_products_are_of_bfloat16_within_the_block_alone_and_channels_by_themselves_stay():
    """1 + 2⁻⁹ is 1 in bfloat16, so that 36 products of it and 1 add up to 36; depthwise ones are left as they are."""
    import tensorflow as tf

    x, ones = tf.fill((1, 8, 8, 4), 1 + 2.0**-9), tf.ones((3, 3, 4, 1))
    conv = tf.function(lambda x: tf.nn.conv2d(x, tf.tile(ones, (1, 1, 1, 2)), 1, "VALID"))
    deep = tf.function(lambda x: tf.nn.depthwise_conv2d(x, ones, (1, 1, 1, 1), "VALID"))
    exact = 36 * (1 + 2.0**-9)
    with fused.rounded():
        inside = conv(x), deep(x)
    with fused.rounded(False):
        outside = conv(x), deep(x)
    assert inside[0].dtype == tf.float32
    rounded = 36.0 if fused.multiplies_bfloat16() else pytest.approx(36, abs=0.1)  # elsewhere it may be left alone
    assert float(inside[0][0, 0, 0, 0]) == rounded
    assert float(outside[0][0, 0, 0, 0]) == exact
    assert float(inside[1][0, 0, 0, 0]) == float(outside[1][0, 0, 0, 0]) == exact / 4


@pytest.mark.parametrize(
    ("flags", "able"), [("fpu avx512f avx512_bf16", True), ("avx amx_bf16", True), ("avx512f avx512_bf16x", False)]
)
def test_processors_that_multiply_bfloat16(tmp_path, flags, able):
    path = tmp_path / "cpuinfo"
    path.write_text(f"model name\t: one\nflags\t\t: {flags}\n\n")
    assert fused.multiplies_bfloat16(path) == able
    assert not fused.multiplies_bfloat16(tmp_path / "none")
