"""What LinkNet, DB++ and FAST compute, where shapes alone would not tell; FAST with one convolution for each block."""

from __future__ import annotations

import numpy as np
import pytest

keras = pytest.importorskip("keras")

import zoo  # noqa: E402
from zoo.backbones.textnet import block, reparameterize  # noqa: E402
from zoo.detection.dbpp import fusion  # noqa: E402
from zoo.detection.fast import neck  # noqa: E402
from zoo.detection.linknet import decoder  # noqa: E402
from zoo.layers import deconv  # noqa: E402
from zoo.sampling import DeformConv  # noqa: E402

RNG = np.random.default_rng(12)


def answer(network, image) -> dict[str, np.ndarray]:
    return {key: np.asarray(value) for key, value in network(image, training=False).items()}


def disturbed(network):
    """The network with a value of its own for each weight, batch-norm statistics too."""
    for variable in network.weights:
        value = np.asarray(variable)
        noise = RNG.uniform(0.5, 1.5, value.shape)
        variable.assign(noise if variable.path.endswith("moving_variance") else value + 0.1 * (noise - 1))
    return network


# ---------------------------------------------------------------- LinkNet


def test_a_window_of_three_at_stride_two_is_centred_on_each_second_pixel():
    """Pixel i writes k[0], k[1], k[2] at 2i - 1, 2i, 2i + 1; what falls on -1 is dropped."""
    image = keras.Input((1, 2, 1))
    network = keras.Model(image, deconv(image, 1, 3, "enlarge", stride=2))
    network.weights[0].assign(np.array([[0, 0, 0], [1, 10, 100], [0, 0, 0]], "float32")[:, :, None, None])
    result = np.asarray(network(np.array([2.0, 3.0], "float32").reshape(1, 1, 2, 1)))
    np.testing.assert_array_equal(result[0, :, :, 0], [[20, 203, 30, 300], [0, 0, 0, 0]])


def test_each_stage_of_linknet_is_added_on_the_way_up():
    """With positive kernels no ReLU cuts: a change in any stage is seen at every place of the decoder's output."""
    maps = [keras.Input((64 // 2**level, 64 // 2**level, 4 * level), name=f"c{level}") for level in (2, 3, 4, 5)]
    network = keras.Model(maps, decoder(maps))
    for variable in network.weights:
        if variable.path.endswith("/kernel"):  # normalizations change nothing as they begin
            variable.assign(RNG.uniform(0.5, 1.5, variable.shape) / np.prod(variable.shape[:-1]))
    features = [RNG.uniform(0, 1, map_.shape[1:]).astype("float32")[None] for map_ in maps]
    before = np.asarray(network(features))
    assert before.shape == (1, 16, 16, 8)
    for changed in range(4):
        after = np.asarray(network([x + (index == changed) for index, x in enumerate(features)]))
        assert (after > before).all()


# ---------------------------------------------------------------- DB++


def test_scales_are_weighted_at_every_pixel():
    """The share of each map is one number for a pixel, between 0 and 1, and differs from map to map."""
    maps = [keras.Input((6, 5, 4), name=f"x{level}") for level in (2, 3, 4, 5)]
    network = keras.Model(maps, fusion(maps))
    for variable in network.weights:
        variable.assign(RNG.normal(size=variable.shape, scale=0.3))
    features = [RNG.uniform(0.5, 1, (2, 6, 5, 4)).astype("float32") for _ in maps]
    share = np.asarray(network(features)) / np.concatenate(features, -1)
    share = share.reshape(2, 6, 5, 4, 4)  # level, channel
    np.testing.assert_allclose(share, np.broadcast_to(share[..., :1], share.shape), rtol=1e-4)
    assert (share > 0).all() and (share < 1).all()
    assert share[..., 0].std((0, 1, 2)).min() > 1e-3 and np.abs(np.diff(share[..., 0], axis=-1)).min(-1).max() > 1e-3


def test_windows_move_in_the_later_stages_alone():
    network = zoo.build("dbpp_resnet50", **zoo.card("dbpp_resnet50").test_options)
    found = {layer.name for layer in network.layers if isinstance(layer, DeformConv)}
    assert found == {f"stage{stage}_block1_2_conv" for stage in (2, 3, 4)}


# ---------------------------------------------------------------- FAST


def test_the_neck_keeps_its_levels_apart():
    maps = [keras.Input((64 // 2**level, 64 // 2**level, 4), name=f"c{level}") for level in (2, 3, 4, 5)]
    network = keras.Model(maps, neck(maps, 4))
    features = [RNG.uniform(0, 1, map_.shape[1:]).astype("float32")[None] for map_ in maps]
    before = np.asarray(network(features))
    for changed in range(4):
        after = np.asarray(network([x + (index == changed) for index, x in enumerate(features)]))
        seen = np.abs(after - before).max(axis=(0, 1, 2)) > 1e-4  # (16,): four channels for a level
        assert set(np.flatnonzero(seen) // 4) == {changed}


def test_a_block_adds_its_branches():
    """A tall kernel at one pixel of four: the middle of the window, of its column, and the identity: 2 + 10 + 100."""
    image = keras.Input((3, 1, 1))
    network = keras.Model(image, block(image, 1, (3, 1), "block"))
    assert [layer.name for layer in network.layers if layer.name.endswith("_conv")] == [
        "block_square_conv",
        "block_wide_conv",
    ]
    values = {"block_square_conv": [1, 2, 3], "block_wide_conv": [10]}
    for variable in network.weights:
        name, kind = variable.path.split("/")
        if kind == "kernel":
            variable.assign(np.array(values[name], "float32").reshape(variable.shape))
        elif kind == "gamma" and name == "block_identity_norm":
            variable.assign(np.full(variable.shape, 100 * np.sqrt(1 + 1e-5)))
    result = np.asarray(network(np.array([0, 1, 0], "float32").reshape(1, 3, 1, 1)))
    np.testing.assert_allclose(result.ravel(), [3, 112, 1], rtol=1e-4)


def test_logits_are_the_kernel_dilated_by_a_pixel():
    card = zoo.card("fast_tiny")
    result = answer(disturbed(zoo.build(card.name, **card.test_options)), RNG.integers(0, 256, (1, 64, 96, 3)))
    kernel, logits = result["kernel"][0, :, :, 0], result["logits"][0, :, :, 0]
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(kernel, 1, constant_values=-np.inf), (3, 3))
    np.testing.assert_array_equal(logits, windows.max((2, 3)))
    assert (logits > kernel).any()


# The number of parameters that docTR's `reparameterize` leaves.
PLAIN = {"fast_tiny": 8_521_920, "fast_small": 9_666_688, "fast_base": 10_576_768}


@pytest.mark.slow
@pytest.mark.parametrize("name", PLAIN)
def test_one_convolution_takes_the_place_of_each_block(name):
    network = disturbed(zoo.build(name))
    plain = reparameterize(network)
    assert not any(isinstance(layer, keras.layers.BatchNormalization | keras.layers.Add) for layer in plain.layers)
    assert plain.count_params() == PLAIN[name]
    assert (plain.name, plain.output_names) == (network.name, network.output_names)
    image = RNG.integers(0, 256, (1, 64, 96, 3)).astype("uint8")
    ours = answer(plain, image)
    for key, value in answer(network, image).items():
        assert np.abs(ours[key] - value).max() <= 1e-5 * np.abs(value).max()


@pytest.mark.parametrize("name", ["fast_tiny", "textnet_tiny", "linknet_resnet18"])
def test_what_is_made_plain_answers_as_before(name):
    """Transposed convolutions keep their normalization; the sums of a ResNet stay."""
    network = disturbed(zoo.build(name, **zoo.card(name).test_options))
    plain = reparameterize(network)
    assert len(plain.layers) < len(network.layers)
    image = RNG.integers(0, 256, (2, 64, 96, 3)).astype("uint8")
    expected, given = (answer(model, image)["logits"] for model in (network, plain))
    assert np.abs(given - expected).max() <= 1e-5 * np.abs(expected).max()
