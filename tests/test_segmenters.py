"""Segmentation: parts by hand-worked values, what each network may see, and pages through a segmenter."""

from __future__ import annotations

import numpy as np
import pytest

keras = pytest.importorskip("keras")

import zoo  # noqa: E402
from zoo.backbones import backbone  # noqa: E402
from zoo.layers import depthwise_conv  # noqa: E402
from zoo.segmentation.ocrnet import Regions, Relate  # noqa: E402
from zoo.segmenting import Segmenter, segmenter  # noqa: E402

RNG = np.random.default_rng(12)


def test_a_region_is_the_mean_of_its_pixels():
    """Four pixels 1, 2, 3, 4; the first class is sure of the first two alone, the second of all alike."""
    pixels = np.array([1, 2, 3, 4], "float32").reshape(1, 2, 2, 1)
    scores = np.array([[50, 0], [50, 0], [-50, 0], [-50, 0]], "float32").reshape(1, 2, 2, 2)
    np.testing.assert_allclose(np.asarray(Regions()(pixels, scores)), [[[1.5], [2.5]]], rtol=1e-6)


def test_a_pixel_finds_the_regions_that_its_query_is_like():
    """ln 3 against 0 gives 3/4 and 1/4, at one channel."""
    query = np.array([np.log(3), 0], "float32").reshape(1, 1, 2, 1)
    key = np.array([1, 0], "float32").reshape(1, 2, 1)
    value = np.array([4, 8], "float32").reshape(1, 2, 1)
    found = np.asarray(Relate()(query, key, value))
    np.testing.assert_allclose(found[0, 0], [[3 + 2], [2 + 4]], rtol=1e-5)


def test_a_dilated_backbone_keeps_its_map_and_its_weights():
    image = keras.Input((64, 96, 3))
    usual, dense = (keras.Model(image, backbone("resnet_test", image, dilated=d)) for d in (0, 2))
    assert [x.shape[1:3] for x in dense.output] == [(16, 24), (8, 12), (8, 12), (8, 12)]
    assert [v.path for v in dense.weights] == [v.path for v in usual.weights]
    rates = {layer.name: layer.dilation_rate for layer in dense.layers if isinstance(layer, keras.layers.Conv2D)}
    assert rates["stage3_block1_2_conv"] == (1, 1) and rates["stage4_block1_2_conv"] == (2, 2)


@pytest.mark.parametrize(("dilated", "rates"), [(0, (1, 1)), (1, (1, 2)), (2, (2, 4))])
def test_a_mobilenet_dilates_where_it_would_stride(dilated: int, rates: tuple[int, int]):
    """Blocks 4 and 5 stride in the backbone of tests; the weights are those of the usual network."""
    image = keras.Input((64, 96, 3))
    usual, dense = (keras.Model(image, backbone("mobilenet_v3_test", image, dilated=d)) for d in (0, dilated))
    sizes = [(16, 24), (8, 12), (4, 6), (2, 3)]
    assert [x.shape[1:3] for x in dense.output] == [*sizes[: 4 - dilated], *[sizes[3 - dilated]] * dilated]
    assert [(v.path, v.shape) for v in dense.weights] == [(v.path, v.shape) for v in usual.weights]
    found = [dense.get_layer(f"block{index}_depthwise_conv").dilation_rate for index in (3, 4, 5)]
    assert found == [(1, 1), *((rate, rate) for rate in rates)]


def test_a_dilated_depthwise_convolution_leaves_pixels_out():
    x = np.zeros((1, 9, 9, 1), "float32")
    x[0, 4, 4] = 1
    image = keras.Input((9, 9, 1))
    network = keras.Model(image, depthwise_conv(image, 3, "look", dilation=3))
    network.weights[0].assign(np.arange(9, 0, -1, "float32").reshape(3, 3, 1, 1))
    expected = np.zeros((9, 9))
    expected[1::3, 1::3] = np.arange(1, 10).reshape(3, 3)
    np.testing.assert_allclose(np.asarray(network(x))[0, ..., 0], expected)


@pytest.mark.parametrize(
    ("name", "parameters"), [("deeplabv3_resnet50", 39_638_869), ("deeplabv3_mobilenet_v3_large", 11_025_477)]
)
def test_the_head_of_deeplab_is_as_large_as_torchvisions(name: str, parameters: int):
    """torchvision's networks for 21 classes, without their second classifiers."""
    network = zoo.build(name, classes=21)
    assert sum(int(np.prod(v.shape)) for v in network.trainable_variables) == parameters


def test_all_resolutions_of_hrnet_hear_of_each_other():
    """A change in a corner reaches every map, the coarsest first; the finest stays at a quarter of the image."""
    image = keras.Input((64, 64, 3))
    network = keras.Model(image, backbone("hrnet_test", image))
    for variable in network.weights:
        variable.assign(np.abs(np.asarray(variable)) + 0.05)  # so that no ReLU cuts what is heard
    x = RNG.uniform(0, 1, (1, 64, 64, 3)).astype("float32")
    other = x.copy()
    other[:, :8, :8] += 1
    for before, after, channels in zip(network(x), network(other), (4, 8, 16, 32), strict=True):
        assert before.shape[-1] == channels
        assert np.abs(np.asarray(after) - np.asarray(before)).max() > 0
    assert network.output[0].shape == (None, 16, 16, 4)


def test_what_unet_saw_on_its_way_down_is_joined_on_its_way_up():
    """Without what comes up from below, a pixel still tells itself from its neighbours."""
    network = zoo.build("unet", classes=2, width=4, depth=2)
    for variable in network.weights:
        if variable.path.startswith("up1/"):  # the last way up: nothing comes from below
            variable.assign(np.zeros(variable.shape))
    image = np.zeros((1, 16, 16, 3), "uint8")
    other = image.copy()
    other[0, 8, 8] = 255
    change = np.abs(np.asarray(network(other)["logits"]) - np.asarray(network(image)["logits"]))[0].max(-1)
    rows, columns = np.nonzero(change)
    assert change[8, 8] > 0 and rows.min() >= 4 and rows.max() <= 12 and columns.min() >= 4 and columns.max() <= 12


# ---------------------------------------------------------------- reading


def test_a_page_is_as_large_as_its_classes():
    """The right half of a page of 100 x 60 is of class 1, whatever size the network sees."""

    def run(batch):
        logits = np.zeros((*batch.shape[:3], 2), "float32")
        logits[..., 1] = np.where(batch[..., 0] > 100, 1, -1)
        return {"logits": logits}

    pixels = np.zeros((60, 100, 3), "uint8")
    pixels[:, 50:] = 200
    found = Segmenter(run, labels=["background", "text"], size=(128, 128))(pixels)
    assert found.shape == (60, 100) and found.dtype == np.uint8
    assert (found[:, :48] == 0).all() and (found[:, 52:] == 1).all()
    with pytest.raises(ValueError, match="tells 2 classes; there are 3 labels"):
        Segmenter(run, labels=["a", "b", "c"], size=(128, 128))(pixels)


def test_a_model_of_another_task_is_refused():
    with pytest.raises(ValueError, match="is a model for detection; one for segmentation is needed"):
        segmenter("db_resnet50")
