"""EAST: targets worked by hand, and what decoding makes of them."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.detection import east_resnet50 as east
from zoo import geometry
from zoo.decoding import east as decoding


def box(x0, y0, x1, y1) -> np.ndarray:
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], "float32")


def turned(width, height, x, y, degrees) -> np.ndarray:
    return cv2.boxPoints(((x, y), (width, height), degrees))[[1, 2, 3, 0]].astype("float32")


def maps(*polygons, ignore=None, size=(64, 96)):
    return east.maps(np.stack(polygons), np.array(ignore or [False] * len(polygons)), size)


def test_corners_move_by_a_third_of_their_shorter_edge():
    """80 × 20: each corner by 0.3 · 20 = 6 along both edges."""
    np.testing.assert_allclose(east.shrunken(box(10, 10, 90, 30)), box(16, 16, 84, 24), atol=1e-5)
    np.testing.assert_allclose(east.shrunken(box(10, 10, 30, 90)), box(16, 16, 24, 84), atol=1e-5)


def test_targets_of_a_rectangle():
    """(8, 8) to (72, 40): what is left of it is (17.6, 17.6) to (62.4, 30.4); pixel (5, 6) is centred on (26, 22)."""
    drawn = maps(box(8, 8, 72, 40))
    expected = np.zeros((16, 24))
    expected[4:8, 4:16] = 1  # (17.6, 30.4) / 4 - 0.5 = (3.9, 7.1); (62.4) / 4 - 0.5 = 15.1
    np.testing.assert_array_equal(drawn["region"], expected)
    np.testing.assert_allclose(drawn["geometry"][5, 6], [22 - 8, 72 - 26, 40 - 22, 26 - 8, 0], atol=1e-4)
    assert drawn["mask"].all() and not drawn["geometry"][expected == 0].any()


def test_targets_of_a_turned_rectangle():
    """40 × 20 around (48, 32), turned by 30° clockwise. Seen from its middle, a pixel at (4, 0) from there is 4·cos 30°
    to the right and 4·sin 30° upwards."""
    drawn = maps(turned(40, 20, 50, 34, 30))
    value = drawn["geometry"][8, 13]  # centred on (54, 34)
    right, up = 4 * math.cos(math.pi / 6), 4 * math.sin(math.pi / 6)
    np.testing.assert_allclose(value, [10 - up, 20 - right, 10 + up, 20 + right, math.pi / 6], atol=1e-3)


def test_what_cannot_be_learnt_is_masked_out():
    drawn = maps(box(8, 8, 40, 24), box(48, 40, 80, 42), ignore=[True, False])
    assert not drawn["region"].any() and not drawn["mask"][2:6, 2:10].any() and not drawn["mask"][10, 12:20].any()
    assert drawn["mask"][:, 11].all()


def found(drawn: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    return decoding.boxes(drawn["region"][..., None] * 40.0 - 20, drawn["geometry"], stride=4)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(24, 60), st.integers(12, 20), st.floats(-40, 40)), min_size=1, max_size=4))
def test_decoding_the_targets_gives_the_words_back(words):
    polygons = np.stack([turned(w, h, 60 + 80 * (i % 2), 50 + 80 * (i // 2), a) for i, (w, h, a) in enumerate(words)])
    boxes, scores = found(east.maps(polygons, np.zeros(len(polygons), bool), (192, 224)))
    assert len(boxes) == len(polygons) and (scores > 0.99).all()
    for polygon in polygons:
        assert max(geometry.iou(polygon, other) for other in boxes) > 0.95


def test_boxes_begin_at_their_top_left():
    (boxes, _) = found(maps(turned(40, 20, 50, 34, 30)))
    np.testing.assert_allclose(geometry.angles(boxes), [30], atol=0.5)
    np.testing.assert_allclose(np.ravel(geometry.sides(boxes)), [40, 20], atol=0.1)


def test_boxes_are_merged_by_their_scores():
    """Of two boxes that overlap the mean is taken, 1 : 3; a third one lies apart."""
    boxes = np.stack([box(0, 0, 40, 20), box(4, 0, 44, 20), box(60, 0, 80, 20)])
    merged, weights, counts = decoding.merge(boxes, np.array([0.25, 0.75, 0.5]), 0.2)
    np.testing.assert_allclose(merged, [box(3, 0, 43, 20), box(60, 0, 80, 20)])
    np.testing.assert_allclose(weights, [1.0, 0.5])
    np.testing.assert_array_equal(counts, [2, 1])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.1, 0.2, 0.5, 0.8]))
def test_neighbours_that_are_not_measured_overlap_enough(seed, overlap):
    """Merging two boxes makes one exactly if their intersection over union is enough, however near they are."""
    rng = np.random.default_rng(seed)
    box = turned(rng.uniform(8, 80), rng.uniform(8, 30), 100, 100, rng.uniform(-45, 45))
    pair = np.stack([box, box + rng.uniform(-1, 1, (4, 2)) * rng.uniform(0, 12)]).astype("float64")
    merged, _, _ = decoding.merge(pair, np.ones(2), overlap)
    assert (len(merged) == 1) == (geometry.iou(*pair) > overlap)


def test_nothing_is_found_where_nothing_is_likely():
    boxes, scores = decoding.boxes(np.full((4, 4, 1), -3.0), np.ones((4, 4, 5)), stride=4)
    assert boxes.shape == (0, 4, 2) and scores.shape == (0,)


def test_the_loss_by_hand():
    """One pixel of text: right 10 × 10, found 10 × 20 turned by 60°. IoU (100 + 1) / (200 + 1)."""
    target = {"region": np.zeros((1, 2, 2)), "mask": np.ones((1, 2, 2)), "geometry": np.zeros((1, 2, 2, 5))}
    target["region"][0, 0, 0], target["geometry"][0, 0, 0] = 1, [5, 5, 5, 5, 0]
    outputs = {"logits": np.zeros((1, 2, 2, 1), "float32"), "geometry": np.ones((1, 2, 2, 5), "float32")}
    outputs["geometry"][0, 0, 0] = [5, 10, 5, 10, math.pi / 3]
    expected = math.log(2) - math.log(101 / 201) + 10 * 0.5
    assert np.asarray(east.loss(target, outputs)) == pytest.approx([expected], rel=1e-5)
