"""LW-DETR: boxes by hand, attention to points against a loop, groups, padding; regions as docTR reads them."""

from __future__ import annotations

import math
from pathlib import Path

import keras
import numpy as np
import pytest

import zoo
from zoo import regions
from zoo.conversion import ConversionError, _translate
from zoo.decoding import turned
from zoo.geometry import area, iou
from zoo.layout import lw_detr
from zoo.sampling import DeformAttention
from zoo.tables.rows import Source

RNG = np.random.default_rng(29)
TEACHER = {**zoo.card("lw_detr_s").test_options, "teacher": True}


def test_a_box_is_refined():
    """Moved by half its width, made twice as wide, turned from 30 to 120 degrees; no change leaves it."""
    box = np.array([[0.5, 0.4, 0.2, 0.1, 0.5, math.sqrt(0.75)]], "float32")
    deltas = np.array([[0.5, -1, math.log(2), 0, 3, 0]], "float32")
    expected = [[0.6, 0.3, 0.4, 0.1, math.sqrt(0.75), -0.5]]
    np.testing.assert_allclose(np.asarray(lw_detr.refine(box, deltas)), expected, atol=1e-6)
    same = np.asarray(lw_detr.refine(box, np.array([lw_detr.UNTURNED], "float32")))
    np.testing.assert_allclose(same, box, atol=1e-6)
    far = np.asarray(lw_detr.refine(box, np.array([[0, 0, 99, -99, 0, 0]], "float32")))
    np.testing.assert_allclose(far, [[0.5, 0.4, 0.2 * math.exp(3.5), 0.1 * math.exp(-5), 0, 0]], rtol=1e-5)


def test_waves_of_a_box():
    """Four numbers for each of y, x, width, height: sine and cosine of 2π · value, then of a 100th of it."""
    found = np.asarray(lw_detr.waves(np.array([[[0.25, 0.5, 0.125, 1, 0, 1]]], "float32"), 8))[0, 0]
    expected = []
    for value in (0.5, 0.25, 0.125, 1):
        for angle in (2 * math.pi * value, 2 * math.pi * value / 100):
            expected += [math.sin(angle), math.cos(angle)]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_black_edges_are_padding():
    image = np.zeros((2, 16, 24, 3), "float32")
    image[0, 5:9, 3:17, 1] = 1
    image[0, 6, 6] = 0  # ink
    found = np.asarray(lw_detr.within(image, 4))
    expected = np.zeros((4, 6))
    expected[1:3, 0:5] = 1
    np.testing.assert_array_equal(found[0], expected)
    assert found[1].all()  # a picture that is black throughout


def test_attention_to_points_is_a_loop():
    """Two maps of different sizes; part of the first is not seen; a box is turned."""
    layer = DeformAttention(heads=2, points=3)
    queries = RNG.normal(0, 1, (2, 5, 8)).astype("float32")
    boxes = RNG.uniform(0.2, 0.8, (2, 5, 6)).astype("float32")
    maps = [RNG.normal(0, 1, (2, *size, 8)).astype("float32") for size in ((4, 6), (3, 2))]
    inside = [(RNG.random(x.shape[:3]) < 0.8).astype("float32") for x in maps]
    layer(queries, boxes, maps, inside)
    for variable in layer.weights:
        variable.assign(RNG.normal(0, 0.5, variable.shape))
    found = np.asarray(layer(queries, boxes, maps, inside))

    def dense(x, part):
        return x @ np.asarray(part.kernel) + np.asarray(part.bias)

    def at(values, x, y):
        """The value of a map (h, w, C) at a place in shares of its sides."""
        (height, width), total = values.shape[:2], 0
        x, y = x * width - 0.5, y * height - 0.5
        for row, column in np.ndindex(height, width):
            total = total + values[row, column] * max(0, 1 - abs(y - row)) * max(0, 1 - abs(x - column))
        return total

    values = [dense(x, layer.value) * seen[..., None] for x, seen in zip(maps, inside, strict=True)]
    for b, q in np.ndindex(2, 5):
        x, y, width, height, sine, cosine = boxes[b, q]
        offset = dense(queries[b, q], layer.offset).reshape(2, 2, 3, 2) / 3 / 2 * (width, height)
        weight = np.exp(dense(queries[b, q], layer.weight).reshape(2, 2, 3))
        weight /= weight.sum((1, 2), keepdims=True)
        heads = np.zeros((2, 4))
        for head, level, point in np.ndindex(2, 2, 3):
            right, down = offset[head, level, point]
            place = x + right * cosine - down * sine, y + right * sine + down * cosine
            part = values[level][b, :, :, 4 * head : 4 * head + 4]
            heads[head] += weight[head, level, point] * at(part, *place)
        np.testing.assert_allclose(found[b, q], dense(heads.ravel(), layer.output_projection), atol=1e-4)


@pytest.fixture(scope="module")
def pair():
    """The network for reading and that for training, with the same weights, random ones, and a picture's answers."""
    reading = zoo.build("lw_detr_s", **zoo.card("lw_detr_s").test_options)
    training = zoo.build("lw_detr_s", **TEACHER)
    for variable, other in zip(reading.weights, training.weights, strict=True):
        assert variable.path == other.path
        value = np.asarray(variable) + RNG.uniform(0, 0.1, variable.shape)
        variable.assign(value)
        other.assign(value)
    return reading, training, RNG.integers(1, 256, (1, 64, 96, 3)).astype("uint8")


def test_reading_takes_the_first_group_of_the_last_layer(pair):
    reading, training, image = pair
    every = training(image, training=False)
    for key, value in reading(image, training=False).items():
        assert every[key].shape[:4] == (1, 3, 3, 12)
        np.testing.assert_allclose(np.asarray(value), np.asarray(every[key])[:, -1, 0], atol=1e-4)


def test_groups_do_not_see_each_other(pair):
    _, training, image = pair
    before = np.asarray(training(image, training=False)["logits"])
    codes = training.get_layer("queries").codes
    kept = np.asarray(codes)
    codes.assign(np.concatenate([kept[:12], kept[12:24] + 1, kept[24:]]))
    after = np.asarray(training(image, training=False)["logits"])
    codes.assign(kept)
    np.testing.assert_allclose(after[:, :, [0, 2]], before[:, :, [0, 2]], atol=1e-5)
    assert np.abs(after[:, 1:, 1] - before[:, 1:, 1]).max() > 1e-3


def test_what_lies_beyond_the_page_plays_no_part(pair):
    """Proposals come from the page alone, also where a picture has as much padding as page."""
    reading, _, image = pair
    page = image.copy()
    page[:, :, 48:] = 0
    proposed = keras.Model(reading.input, reading.get_layer("propose").output[1])
    assert np.asarray(proposed(page, training=False))[0, :, 0].max() < 0.6 < np.asarray(proposed(image))[0, :, 0].max()


# ---------------------------------------------------------------- regions


def test_regions_are_those_that_doctr_reads():
    with np.load(Path(__file__).parent / "golden" / "regions.npz") as file:
        golden = dict(file)
    found = turned.regions(golden["logits"], golden["boxes"], threshold=0.4, overlap=0.3, count=90)
    polygons, scores, classes = found
    assert len(scores) == len(golden["scores"]) and (np.diff(scores) <= 0).all()
    order = np.argsort(-golden["scores"], kind="stable")
    np.testing.assert_allclose(scores, golden["scores"][order], rtol=1e-5)
    np.testing.assert_array_equal(classes, golden["labels"][order])
    assert min(iou(1000 * a, 1000 * b) for a, b in zip(polygons, golden["polygons"][order], strict=True)) > 0.999
    np.testing.assert_allclose(polygons.sum(2).min(1), polygons[:, 0].sum(1), atol=1e-6)


def test_corners_begin_at_the_top_left():
    """A box, upright, and one of the same place that is told as a turned one of other sides."""
    boxes = np.array([[0.5, 0.4, 0.2, 0.1, 0, 1], [0.5, 0.4, 0.1, 0.2, 1, 0]])
    expected = [[0.4, 0.35], [0.6, 0.35], [0.6, 0.45], [0.4, 0.45]]
    np.testing.assert_allclose(turned.corners(boxes), [expected, expected], atol=1e-6)


def test_no_region_is_sure_enough():
    polygons, scores, classes = turned.regions(np.full((5, 2), -1.0), np.ones((5, 6)))
    assert polygons.shape == (0, 4, 2) and scores.shape == classes.shape == (0,)


def finder(**options) -> regions.Finder:
    """Sees a table on the left half of what it is given, and a title on the lowest tenth."""

    def run(batch):
        assert batch.shape == (1, 100, 200, 3) and batch[0, :, :150].min() > 0 and batch[0, :, 150:].max() == 0
        logits = np.array([[-9.0, 3, -9], [2, -9, -9]])
        boxes = np.array([[0.25, 0.5, 0.5, 1, 0, 1], [0.5, 0.95, 1, 0.1, 0, 1]])
        return {"logits": logits[None], "boxes": boxes[None]}

    return regions.Finder(run, size=(100, 200), **{"labels": ["title", "table", "text"], **options})


def test_regions_lie_on_the_page():
    """A page of 300 × 450 is seen at a third of its size, at the left of 100 × 200."""
    table, title = finder()(np.full((300, 450, 3), 200, "uint8"))
    assert (table.label, title.label) == ("table", "title")
    assert table.score == pytest.approx(1 / (1 + math.exp(-3)))
    np.testing.assert_allclose(table.polygon, [[0, 0], [300, 0], [300, 300], [0, 300]])
    np.testing.assert_allclose(title.polygon, [[0, 270], [450, 270], [450, 300], [0, 300]], atol=1e-3)
    assert table.to_dict()["polygon"] == table.polygon.tolist()


def test_regions_beyond_the_page_are_left_out():
    def run(batch):
        return {"logits": np.full((1, 1, 1), 5.0), "boxes": np.array([[[0.9, 0.5, 0.1, 0.1, 0, 1]]])}

    see = regions.Finder(run, labels=["text"], size=(64, 64))
    assert see(np.full((64, 32, 3), 9, "uint8")) == []
    (whole,) = see(np.full((64, 64, 3), 9, "uint8"))
    assert area(whole.polygon) == pytest.approx(6.4**2, rel=1e-3)


def test_what_is_wrong_is_said():
    with pytest.raises(ValueError, match="the network tells 3 classes; there are 2 labels"):
        finder(labels=["title", "table"])(np.full((300, 450, 3), 200, "uint8"))
    with pytest.raises(TypeError, match="decoded without unclip; options are: count, overlap, threshold"):
        finder(unclip=2)
    with pytest.raises(ValueError, match="unet is a model for segmentation; one for layout is needed"):
        regions.finder("unet")


def test_a_copy_must_be_one():
    sources = {"a": Source(("x",), (0,), ("y",))}
    state = {"x": np.ones(2), "y": np.ones(2)}
    np.testing.assert_array_equal(_translate("m", sources, state)["a"], [1, 1])
    with pytest.raises(ConversionError, match="1 that should be copies: y"):
        _translate("m", sources, state | {"y": np.zeros(2)})
    with pytest.raises(ConversionError, match="1 missing: y"):
        _translate("m", sources, {"x": np.ones(2)})
