"""What the networks compute, where shapes alone would not tell."""

from __future__ import annotations

import importlib
import inspect

import numpy as np
import pytest

keras = pytest.importorskip("keras")

import zoo  # noqa: E402
from zoo import weights  # noqa: E402
from zoo.backbones import BACKBONES, backbone  # noqa: E402
from zoo.charset import Charset  # noqa: E402
from zoo.detection.db import pyramid  # noqa: E402
from zoo.recognition import svtr  # noqa: E402
from zoo.recognition.crnn import sequence  # noqa: E402

RNG = np.random.default_rng(11)


# ---------------------------------------------------------------- detection


@pytest.fixture(scope="module")
def top_down() -> keras.Model:
    """A pyramid of 16 channels over four maps of 4 channels, with positive weights, so that no ReLU cuts."""
    maps = [keras.Input((64 // 2**level, 64 // 2**level, 4), name=f"c{level}") for level in (2, 3, 4, 5)]
    network = keras.Model(maps, pyramid(maps, 16))
    for variable in network.weights:
        variable.assign(RNG.uniform(0.5, 1.5, variable.shape))
    return network


def test_what_is_seen_from_afar_reaches_every_level(top_down):
    """A change in C5 changes the part of the output of each level, and one in C2 that of the second alone.

    Without the sums from the top down all shapes are as before, and the first half of this fails.
    """
    features = [RNG.uniform(0, 1, map_.shape[1:]).astype("float32")[None] for map_ in top_down.inputs]
    before = np.asarray(top_down(features))
    for changed, reached in ((3, {2, 3, 4, 5}), (2, {2, 3, 4}), (1, {2, 3}), (0, {2})):
        others = [x + (index == changed) for index, x in enumerate(features)]
        change = np.abs(np.asarray(top_down(others)) - before).max(axis=(0, 1, 2))  # (16,): four channels for a level
        assert {level for level in (2, 3, 4, 5) if change[4 * (level - 2) :][:4].min() > 1e-3} == reached
        assert {level for level in (2, 3, 4, 5) if change[4 * (level - 2) :][:4].max() > 0} == reached


PYRAMIDS = [
    "craft_vgg16_bn",
    "db_resnet50",
    "dbpp_resnet50",
    "east_resnet50",
    "fast_tiny",
    "faster_rcnn_resnet50_fpn",
    "linknet_resnet18",
    "psenet_resnet50",
    "ocrnet_seg_hrnet_w18",
    "tablecenternet",
    "ocrnet_mobilenet_v3_large",
]


@pytest.mark.parametrize(
    ("name", "multiple"),
    [
        *((name, 32) for name in PYRAMIDS),
        ("unet_small", 8),
        ("deeplabv3_resnet50", 8),
        ("ocrnet_seg_resnet50", 8),
        ("viptr_tiny", 8),
    ],
)
def test_a_size_that_strides_do_not_divide_is_told_at_once(name, multiple):
    wrong = (4 * multiple, 3 * multiple + 2)
    message = (
        rf"image of \({wrong[0]}, {wrong[1]}\) pixels .* multiple of {multiple}; \({4 * multiple}, {4 * multiple}\)"
    )
    with pytest.raises(ValueError, match=message):
        zoo.build(name, **zoo.card(name).test_options, image_size=wrong)
    with pytest.raises(ValueError, match=rf"no multiple of {multiple}; \(None, {4 * multiple}\) would do"):
        zoo.build(name, **zoo.card(name).test_options, image_size=(None, wrong[1]))


def test_a_network_tells_of_a_page_that_strides_do_not_divide(small):
    with pytest.raises(ValueError, match=r"image of \(64, 100\) pixels .* multiple of 32; \(64, 128\) would do"):
        small("db_mobilenet_v3_large")(np.zeros((1, 64, 100, 3), "uint8"))


def test_heads_are_apart_and_the_threshold_can_be_left_out(small):
    network = small("db_mobilenet_v3_large")
    alone = keras.Model(network.input, {"logits": network.output["logits"]})
    gone = {layer.name for layer in network.layers} - {layer.name for layer in alone.layers}
    assert gone and all(name.startswith(("border_", "threshold")) for name in gone)
    image = RNG.integers(0, 256, (1, 64, 32, 3)).astype("uint8")
    np.testing.assert_array_equal(np.asarray(alone(image)["logits"]), np.asarray(network(image)["logits"]))


# ---------------------------------------------------------------- recognition


def test_a_sequence_goes_from_left_to_right():
    """A step holds a column: channel by channel, each from top to bottom, as the weights of docTR expect."""
    features = np.arange(2 * 3 * 2).reshape(1, 2, 3, 2)  # (B, H, W, C)
    image = keras.Input((2, None, 2))
    steps = np.asarray(keras.Model(image, sequence(image))(features.astype("float32")))
    assert steps.shape == (1, 3, 4)
    for column in range(3):
        expected = [features[0, row, column, channel] for channel in (0, 1) for row in (0, 1)]
        assert steps[0, column].tolist() == expected


CTC = [name for name in zoo.names("recognition") if "decoding" not in zoo.card(name).reading]


@pytest.mark.parametrize("name", [name for name in CTC if name.startswith("crnn_")])
def test_a_step_for_every_four_pixels_of_any_width(name, small):
    classes = len(Charset(zoo.card(name).test_options["charset"])) + 1
    for width in (4, 32, 36, 200):
        logits = small(name)(np.zeros((1, 32, width, 3), "uint8"))["logits"]
        assert logits.shape == (1, width // 4, classes)


def test_steps_see_both_sides(small):
    """The first and the last step change with any column: the recurrent layers read in both directions."""
    network = small("crnn_mobilenet_v3_small")
    strip = RNG.integers(0, 256, (1, 32, 128, 3)).astype("uint8")
    before = np.asarray(network(strip)["logits"])[0]
    for columns in (slice(0, 8), slice(120, 128)):
        other = strip.copy()
        other[:, :, columns] = 255 - other[:, :, columns]
        change = np.abs(np.asarray(network(other)["logits"])[0] - before).max(-1)
        assert change[0] > 0 and change[-1] > 0


CRNN = {"features": "resnet_test_r", "charset": "digits", "units": 8}


@pytest.mark.parametrize(
    ("rnn", "direction", "sees"),
    [("gru", "both", (True, True)), ("lstm", "forward", (False, True)), ("gru", "backward", (True, False))],
)
def test_recurrent_layers_read_in_their_direction(rnn, direction, sees):
    """Whether the first step knows of the last one, and the last of the first; features alone see a few columns."""
    network = zoo.build("crnn_resnet34", **CRNN, rnn=rnn, direction=direction, depth=1)
    assert sum(layer.name.startswith("recurrent") for layer in network.layers) == 1
    strip = RNG.integers(0, 256, (1, 32, 240, 3)).astype("uint8")
    before = np.asarray(network(strip)["logits"])[0]
    other = strip.copy()
    other[:, :, -8:] = 255 - other[:, :, -8:]
    first = np.abs(np.asarray(network(other)["logits"])[0] - before)[0].max() > 0
    other = strip.copy()
    other[:, :, :8] = 255 - other[:, :, :8]
    last = np.abs(np.asarray(network(other)["logits"])[0] - before)[-1].max() > 0
    assert (first, last) == sees


def test_paths_of_the_usual_crnn_stay(small):
    paths = {variable.path for variable in small("crnn_mobilenet_v3_small").weights}
    assert {"recurrent2/backward_lstm/lstm_cell/recurrent_kernel", "logits/kernel"} <= paths


def test_an_unknown_option_of_a_crnn_is_told():
    for wrong, message in (({"rnn": "tcn"}, "no 'tcn'; there are: lstm, gru"), ({"decoder": "beam"}, "ctc, attention")):
        with pytest.raises(ValueError, match=message):
            zoo.build("crnn_mobilenet_v3_small", **CRNN, **wrong)


@pytest.mark.parametrize("rnn", ["lstm", "gru"])
def test_attention_writes_what_its_training_graph_says_of_its_own_text(rnn):
    """Told the characters that the reader wrote, the training graph gives the reader's logits."""
    options = CRNN | {"decoder": "attention", "longest": 6, "rnn": rnn}
    reader = zoo.build("crnn_mobilenet_v3_small", **options)
    for variable in reader.weights:
        if not variable.path.endswith("variance"):  # below 0 it would be no number
            variable.assign(variable + RNG.normal(0, 0.3, variable.shape))
    teacher = zoo.build("crnn_mobilenet_v3_small", **options, teacher=True)
    assert weights.assign(teacher, {variable.path: np.asarray(variable) for variable in reader.weights}) == []
    strip = RNG.integers(0, 256, (3, 32, 64, 3)).astype("uint8")
    alone = np.asarray(reader(strip, training=False)["logits"])
    end, start = 10, 11
    written = alone.argmax(-1)
    tokens = np.concatenate([np.full((3, 1), start), written[:, :-1]], 1).astype("int32")
    told = np.asarray(teacher({"image": strip, "tokens": tokens}, training=False)["logits"])
    for row in range(3):
        ends = np.flatnonzero(written[row] == end)
        count = ends[0] + 1 if len(ends) else 7
        np.testing.assert_allclose(told[row, :count], alone[row, :count], rtol=1e-4, atol=1e-4)
        assert not alone[row, count:].any()
    assert np.abs(alone[:, 0] - alone[:, 1]).max() > 1e-3


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("crnn_resnet34", (None, None), r"height must be known; \(32, None\) would do"),
        ("svtr_tiny", (32, None), "does not divide by 16 rows and 4 columns"),
        ("lenet5", (None, 32), "both sides must be known"),
        ("alexnet", (64, None), "both sides must be known, and at least 63"),
        ("alexnet", (62, 64), "both sides must be known, and at least 63"),
    ],
)
def test_a_side_that_must_be_known_is_told(name, size, message):
    with pytest.raises(ValueError, match=message):
        zoo.build(name, **zoo.card(name).test_options | {"image_size": size})


def test_places_around():
    """Of a map of 8 x 16, place (0, 0) sees 4 rows of 6 columns, place (4, 8) all of 7 x 11."""
    seen = svtr.around(8, 16).reshape(8, 16, 8, 16)
    assert seen[0, 0].sum() == 4 * 6 and seen[0, 0, :4, :6].all()
    assert seen[4, 8].sum() == 7 * 11 and seen[4, 8, 1:8, 3:14].all()


def test_mixing_around_and_everywhere():
    """A change far away reaches a place by mixing everywhere alone."""
    x = RNG.normal(0, 1, (1, 8 * 16, 4)).astype("float32")
    other = x.copy()
    other[0, -1] += 1  # the last column, which the first place does not see
    for grid, reached in (((8, 16), False), ((), True)):
        layer = svtr.Mixing(2, 4, grid)
        change = np.abs(np.asarray(layer(other)) - np.asarray(layer(x)))[0]
        assert (change[0].max() > 0) == reached and change[-1].max() > 0


# ---------------------------------------------------------------- backbones


@pytest.mark.parametrize("name", BACKBONES)
def test_strides_of_features(name):
    """4, 8, 16, 32; those with `_r` halve the height only in their last three strides."""
    shapes = [map_.shape[1:3] for map_ in backbone(name, keras.Input((64, 96, 3)))]
    if not name.endswith("_r"):
        assert shapes == [(16, 24), (8, 12), (4, 6), (2, 3)]
    else:
        assert [height for height, _ in shapes] == [16, 8, 4, 2]
        assert shapes[-1] == (2, 24)


@pytest.mark.parametrize(("name", "channels"), [("resnet18", 512), ("resnet50", 2048), ("vgg16_bn", 512)])
def test_channels_of_the_last_map(name, channels):
    assert backbone(name, keras.Input((32, 32, 3)))[-1].shape == (None, 1, 1, channels)


def test_an_unknown_backbone_is_told_with_those_there_are():
    with pytest.raises(ValueError, match=r"no backbone is named 'resnet99'; there are: .*resnet50.*vgg16_bn_r"):
        zoo.build("db_resnet50", features="resnet99")


# ---------------------------------------------------------------- saving


def below(kind: type) -> list[type]:
    """All classes that are made from one."""
    return [found for own in kind.__subclasses__() for found in (own, *below(own))]


def test_every_layer_can_be_saved_and_found_again():
    for name in zoo.names():
        importlib.import_module(zoo.card(name).builder.partition(":")[0])
    kinds = [kind for kind in below(keras.Layer) if kind.__module__.startswith("zoo.")]
    assert len(kinds) > 30
    for kind in kinds:
        if kind.__module__ == "zoo.onnx_file":  # of networks that are drawn anew and not kept
            continue
        assert keras.saving.get_registered_name(kind) == f"{kind.__module__}>{kind.__name__}"
        options = list(inspect.signature(kind.__init__).parameters)[1:]
        assert options == ["kwargs"] or "get_config" in vars(kind) or "__init__" not in vars(kind), kind


@pytest.mark.parametrize(
    "name", ["db_mobilenet_v3_large", "lenet5", "svtr_tiny", "crnn_resnet34_attention", "lw_detr_s"]
)
def test_a_saved_network_is_loaded_with_its_values(name, small, tmp_path):
    network = small(name)
    network.save(tmp_path / "network.keras")
    again = keras.models.load_model(tmp_path / "network.keras")
    (image,) = network.inputs
    pixels = RNG.integers(0, 256, [1, *(side or 64 for side in image.shape[1:])]).astype("uint8")
    for key, value in network(pixels).items():
        np.testing.assert_allclose(np.asarray(again(pixels)[key]), np.asarray(value), atol=1e-6)
