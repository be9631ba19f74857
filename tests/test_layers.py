"""Blocks against hand-worked numbers and against the same thing written as NumPy loops."""

from __future__ import annotations

from functools import partial

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

keras = pytest.importorskip("keras")

from zoo import layers  # noqa: E402

RNG = np.random.default_rng(5)


def apply(function, x: np.ndarray, shape: tuple | None = None, fill: bool = True) -> tuple[np.ndarray, dict]:
    """The result of a block on a batch, with random weights, and the weights by path."""
    image = keras.Input(x.shape[1:] if shape is None else shape)
    network = keras.Model(image, function(image))
    for variable in network.weights if fill else []:
        variable.assign(RNG.uniform(0.5, 1.5, variable.shape))
    return np.asarray(network(x)), {variable.path: np.asarray(variable) for variable in network.weights}


# ---------------------------------------------------------------- enlargement


def enlarged(x: np.ndarray, factor: int) -> np.ndarray:
    """Bilinear enlargement with aligned corners, pixel by pixel: (B, H, W, C) → (B, factor·H, factor·W, C)."""
    batch, height, width, channels = x.shape
    result = np.zeros((batch, height * factor, width * factor, channels))
    for row in range(height * factor):
        for column in range(width * factor):
            y = row * (height - 1) / (height * factor - 1)
            z = column * (width - 1) / (width * factor - 1)
            top, left = min(int(y), max(height - 2, 0)), min(int(z), max(width - 2, 0))
            bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
            upper = x[:, top, left] * (1 - (z - left)) + x[:, top, right] * (z - left)
            lower = x[:, bottom, left] * (1 - (z - left)) + x[:, bottom, right] * (z - left)
            result[:, row, column] = upper * (1 - (y - top)) + lower * (y - top)
    return result


def test_interpolation_by_hand():
    """Four places for two samples: thirds. Six places for three samples: steps of 2/5."""
    np.testing.assert_allclose(layers.interpolation(2, 4), [[1, 0], [2 / 3, 1 / 3], [1 / 3, 2 / 3], [0, 1]], atol=1e-6)
    expected = [[1, 0, 0], [0.6, 0.4, 0], [0.2, 0.8, 0], [0, 0.8, 0.2], [0, 0.4, 0.6], [0, 0, 1]]
    np.testing.assert_allclose(layers.interpolation(3, 6), expected, atol=1e-6)
    np.testing.assert_array_equal(layers.interpolation(1, 4), np.ones((4, 1)))
    np.testing.assert_array_equal(layers.interpolation(5, 5), np.eye(5))


@given(st.integers(1, 40), st.integers(1, 8))
def test_interpolation_keeps_straight_lines(size, factor):
    """Weights of a place sum to one, and a ramp stays one from the first sample to the last."""
    matrix = layers.interpolation(size, size * factor)
    np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(matrix @ np.arange(size), np.linspace(0, size - 1, size * factor), atol=1e-4)


def test_upsample_by_hand():
    x = np.array([[0.0, 3.0], [6.0, 9.0]], "float32").reshape(1, 2, 2, 1)
    result, _ = apply(layers.Upsample(2), x)
    np.testing.assert_allclose(result[0, :, :, 0], [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7], [6, 7, 8, 9]], atol=1e-5)


@pytest.mark.parametrize("factor", [2, 4, 8])
@pytest.mark.parametrize("free", [(False, False), (True, True), (True, False), (False, True)])
def test_upsample_at_known_and_at_free_sizes(factor, free):
    """The matrices are constants where a side is known, and are made in the graph where it is not."""
    for side in ((3, 5), (1, 4), (6, 1)):
        x = RNG.normal(size=(2, *side, 3)).astype("float32")
        shape = tuple(None if is_free else length for is_free, length in zip(free, side, strict=True))
        result, _ = apply(layers.Upsample(factor), x, (*shape, 3))
        np.testing.assert_allclose(result, enlarged(x, factor), atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 5), (None, None)])
def test_upsample_from_edge_to_edge(shape):
    """As OpenCV does it: a sample lies in the middle of its pixel, and is repeated beyond the edge."""
    x = RNG.normal(size=(2, 3, 5, 3)).astype("float32")
    result, _ = apply(layers.Upsample(4, aligned=False), x, (*shape, 3))
    expected = [cv2.resize(picture, (20, 12), interpolation=cv2.INTER_LINEAR) for picture in x]
    np.testing.assert_allclose(result, expected, atol=1e-5)


def test_upsample_of_a_large_map_is_as_exact_at_a_free_size():
    """Positions are multiplied out in float32, in which large ones have fewer digits behind the point."""
    x = RNG.normal(size=(1, 256, 256, 1)).astype("float32")
    known, _ = apply(layers.Upsample(4), x)
    free, _ = apply(layers.Upsample(4), x, (None, None, 1))
    np.testing.assert_allclose(free, known, atol=1e-3)


def test_upsample_survives_saving():
    layer = layers.Upsample(4, aligned=False, name="larger")
    again = layers.Upsample.from_config(layer.get_config())
    assert (again.factor, again.aligned, again.name) == (4, False, "larger")
    assert layer.compute_output_shape((None, 3, None, 7)) == (None, 12, None, 7)


# ---------------------------------------------------------------- convolution


def correlated(x: np.ndarray, kernel: np.ndarray, stride: tuple[int, int]) -> np.ndarray:
    """A convolution padded by half of the kernel's size on all sides, window by window."""
    size, (batch, height, width, _) = kernel.shape[0], x.shape
    half = size // 2
    padded = np.pad(x, ((0, 0), (half, half), (half, half), (0, 0)))
    rows, columns = range(0, height, stride[0]), range(0, width, stride[1])
    result = np.zeros((batch, len(rows), len(columns), kernel.shape[3]))
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            window = padded[:, row : row + size, column : column + size]
            result[:, i, j] = np.tensordot(window, kernel, 3)
    return result


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2])
def test_conv_pads_alike_on_all_sides(kernel, stride):
    """At odd and even sides: "same" would put the window of stride 2 elsewhere at even ones."""
    for side in ((7, 9), (8, 6), (5, 8)):
        x = RNG.normal(size=(1, *side, 2)).astype("float32")
        result, weights = apply(lambda image: layers.conv(image, 3, kernel, "c", stride=stride), x)
        assert result.shape == (1, -(-side[0] // stride), -(-side[1] // stride), 3)
        np.testing.assert_allclose(result, correlated(x, weights["c/kernel"], (stride, stride)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (2, 1), (1, 2)])
@pytest.mark.parametrize("kernel", [3, 5])
def test_depthwise_conv_at_equal_and_unequal_strides(kernel, stride):
    for side in ((7, 6), (8, 9)):
        x = RNG.normal(size=(2, *side, 3)).astype("float32")
        result, weights = apply(lambda image: layers.depthwise_conv(image, kernel, "d", stride=stride), x)
        each = [correlated(x[..., c : c + 1], weights["d/kernel"][:, :, c : c + 1], stride) for c in range(x.shape[-1])]
        np.testing.assert_allclose(result, np.concatenate(each, -1), rtol=1e-4, atol=1e-4)


def test_conv_bn_by_hand():
    """A pixel of 3: 2 · 3 = 6, less the mean 1, by √(4 + ε), times 10, plus -30: -5, which the ReLU cuts."""
    x = np.full((1, 1, 1, 1), 3, "float32")
    image = keras.Input((1, 1, 1))
    network = keras.Model(image, layers.conv_bn(image, 1, 1, "b", activation=None))
    values = {"kernel": 2, "gamma": 10, "beta": -30, "moving_mean": 1, "moving_variance": 4}
    for variable in network.weights:
        variable.assign(np.full(variable.shape, values[variable.path.split("/")[1]]))
    np.testing.assert_allclose(np.asarray(network(x)), -30 + 50 / np.sqrt(4 + 1e-5), rtol=1e-6)
    assert [layer.name for layer in network.layers[1:]] == ["b_conv", "b_norm"]

    cut = keras.Model(image, keras.layers.Activation("relu")(network.output))
    assert np.asarray(cut(x)).item() == 0 and np.asarray(network(x)).item() == pytest.approx(-5, abs=1e-3)


def test_a_network_is_given_one_picture_or_more():
    image = keras.Input((None, None, 3))
    network = keras.Model(image, layers.normalize(image, (0, 0, 0), (1, 1, 1)))
    with pytest.raises(ValueError, match=r"a batch of no pictures, of shape \(0, 8, 8, 3\): give one or more"):
        network(np.zeros((0, 8, 8, 3), "uint8"))


def test_normalize_by_hand():
    """Black and white at mean ½ and deviation ¼ are -2 and 2; each channel has its own."""
    x = np.zeros((1, 1, 2, 3), "uint8")
    x[0, 0, 1] = 255
    result, _ = apply(lambda image: layers.normalize(image, (0.5, 0.0, 1.0), (0.25, 0.5, 2.0)), x)
    np.testing.assert_allclose(result[0, 0], [[-2, 0, -0.5], [2, 2, 0]], atol=1e-6)


@settings(max_examples=5, deadline=None)
@given(st.integers(1, 6), st.integers(1, 9))
def test_squeeze_excite_weighs_channels_by_their_means(height, width):
    x = RNG.normal(size=(2, height, width, 4)).astype("float32")
    image = keras.Input((None, None, 4))
    network = keras.Model(image, layers.squeeze_excite(image, 3, "s"))
    for variable in network.weights:
        variable.assign(RNG.normal(size=variable.shape))
    weights = {variable.path: np.asarray(variable) for variable in network.weights}
    reduced = x.mean((1, 2)) @ weights["s_reduce/kernel"][0, 0] + weights["s_reduce/bias"]
    gate = np.maximum(reduced, 0) @ weights["s_expand/kernel"][0, 0] + weights["s_expand/bias"]
    gate = np.clip(gate / 6 + 0.5, 0, 1)
    np.testing.assert_allclose(np.asarray(network(x)), x * gate[:, None, None], rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------- directions, attention, pyramids


@pytest.mark.parametrize(("kernel", "row", "column"), [((1, 5), [3], [1, 2, 3, 4, 5]), ((5, 1), [1, 2, 3, 4, 5], [3])])
def test_a_convolution_may_look_in_one_direction(kernel, row, column):
    x = np.zeros((1, 7, 7, 1), "float32")
    x[0, 3, 3] = 1
    result, _ = apply(lambda image: layers.conv(image, 1, kernel, "c"), x)
    seen = np.argwhere(result[0, :, :, 0])
    np.testing.assert_array_equal(np.unique(seen[:, 0]), row)
    np.testing.assert_array_equal(np.unique(seen[:, 1]), column)


def test_a_dilated_convolution_leaves_pixels_out():
    x = np.zeros((1, 7, 7, 1), "float32")
    x[0, 3, 3] = 1
    for block in (layers.conv, partial(layers.conv_bn, activation=None)):
        image = keras.Input((7, 7, 1))
        result = np.asarray(keras.Model(image, block(image, 1, 3, "c", dilation=2))(x))
        seen = {tuple(place) for place in np.argwhere(result[0, :, :, 0])}
        assert seen == {(y, x) for y in (1, 3, 5) for x in (1, 3, 5)}


def test_channel_attention_by_hand():
    """Means 1 and 3, maxima 2 and 4, one hidden unit that adds them: 4 + 6 = 10, weighted by 0.1 and -0.1."""
    x = np.array([[[0, 2], [2, 4]]], "float32").reshape(1, 1, 2, 2)
    image = keras.Input((1, 2, 2))
    network = keras.Model(image, layers.channel_attention(image, "a", reduction=2))
    values = {"a_reduce/kernel": [1, 1], "a_expand/kernel": [0.1, -0.1]}
    for variable in network.weights:
        variable.assign(np.reshape(values[variable.path], variable.shape))
    gates = 1 / (1 + np.exp([-1.0, 1.0]))
    np.testing.assert_allclose(np.asarray(network(x)), x * gates, rtol=1e-5)


def test_spatial_attention_by_hand():
    """A window of one pixel, the mean and the maximum of the channels weighted by 1 and 2."""
    x = RNG.normal(size=(2, 3, 4, 5)).astype("float32")
    image = keras.Input((3, 4, 5))
    network = keras.Model(image, layers.spatial_attention(image, "a", kernel=1))
    network.weights[0].assign(np.reshape([1.0, 2.0], network.weights[0].shape))
    gate = 1 / (1 + np.exp(-(x.mean(-1) + 2 * x.max(-1))))
    np.testing.assert_allclose(np.asarray(network(x)), x * gate[..., None], rtol=1e-4, atol=1e-6)


def test_cbam_weighs_channels_then_places():
    x = RNG.normal(size=(1, 6, 5, 8)).astype("float32")
    image = keras.Input((6, 5, 8))
    whole = keras.Model(image, layers.cbam(image, "a", reduction=4, kernel=3))
    for variable in whole.weights:
        variable.assign(RNG.normal(size=variable.shape))
    first = keras.Model(image, whole.get_layer("a_channel_scale").output)
    gate = np.asarray(whole(x)) / np.asarray(first(x))
    np.testing.assert_allclose(gate, np.broadcast_to(gate[..., :1], gate.shape), rtol=1e-3)
    assert [v.path for v in whole.weights] == [
        "a_channel_reduce/kernel", "a_channel_expand/kernel", "a_spatial_conv/kernel",
    ]  # fmt: skip


def test_a_pyramid_hands_down_what_is_seen_from_afar():
    maps = [keras.Input((16 // 2**index, 16 // 2**index, 3 + index)) for index in range(3)]
    network = keras.Model(maps, layers.fpn(maps, 4, "p"))
    for variable in network.weights:
        variable.assign(RNG.uniform(0.5, 1.5, variable.shape))
    features = [RNG.uniform(0, 1, map_.shape[1:]).astype("float32")[None] for map_ in maps]
    before = [np.asarray(x) for x in network(features)]
    assert [x.shape for x in before] == [(1, 16, 16, 4), (1, 8, 8, 4), (1, 4, 4, 4)]
    for changed in range(3):
        after = [np.asarray(x) for x in network([x + (index == changed) for index, x in enumerate(features)])]
        reached = [(b - a).min() > 1e-3 for a, b in zip(before, after, strict=True)]
        assert reached == [level <= changed for level in range(3)]
