"""PSENet: targets worked by hand, expansion against a queue, and what decoding makes of the targets."""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from recipes.detection import psenet_resnet50 as psenet
from zoo import geometry
from zoo.decoding import pse


def box(x0, y0, x1, y1) -> np.ndarray:
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], "float32")


def test_ratios_rise_from_a_half_to_the_whole():
    np.testing.assert_allclose(psenet.ratios(3), [0.5, 0.75, 1])
    np.testing.assert_allclose(psenet.ratios(7), np.linspace(0.5, 1, 7))


def test_kernels_of_a_rectangle():
    """80 × 40: area / perimeter is 40/3; with r = 0.5 the sides move by 40/3 · 0.75 = 10, with 0.75 by 5.83."""
    drawn = psenet.maps(box(10.5, 10.5, 90.5, 50.5)[None], np.array([False]), (64, 100), 3)["kernels"]
    for index, (x0, y0, x1, y1) in enumerate([(20, 20, 80, 40), (16, 16, 84, 44), (10, 10, 90, 50)]):
        expected = np.zeros((64, 100))
        expected[y0 : y1 + 1, x0 : x1 + 1] = 1  # the pixels through whose centres the outline runs, too
        np.testing.assert_array_equal(drawn[..., index], expected)
    assert (np.diff(drawn.astype(int), axis=-1) >= 0).all()


def test_what_cannot_be_learnt_is_masked_out():
    drawn = psenet.maps(np.stack([box(5, 5, 25, 15), box(30, 30, 50, 32)]), np.array([True, False]), (50, 60))
    assert not drawn["kernels"].any() and not drawn["mask"][6:14, 6:24].any() and not drawn["mask"][30, 31:49].any()
    assert drawn["mask"][:, 27:29].all()


def queued(labels: np.ndarray, masks: list[np.ndarray]) -> np.ndarray:
    """The algorithm of the paper as it is written there, with a queue."""
    labels = labels.copy()
    for mask in masks:
        queue = deque(zip(*np.nonzero(labels), strict=True))
        while queue:
            y, x = queue.popleft()
            for row, column in ((y - 1, x), (y, x + 1), (y + 1, x), (y, x - 1)):
                inside = 0 <= row < labels.shape[0] and 0 <= column < labels.shape[1]
                if inside and mask[row, column] and not labels[row, column]:
                    labels[row, column] = labels[y, x]
                    queue.append((row, column))
    return labels


@settings(max_examples=80, deadline=None)
@given(arrays(np.int8, (9, 11), elements=st.sampled_from([0, 0, 0, 1, 1, 2, 3])), st.integers(0, 99))
def test_expansion_is_that_of_a_queue(levels, seed):
    """Nested random masks: the numbers are the smallest kernel of each pixel, 0 none."""
    smallest = (levels == 3).astype("uint8")
    _, labels = cv2.connectedComponents(smallest, connectivity=4)
    masks = [levels >= 2, levels >= 1]
    np.testing.assert_array_equal(pse.expand(labels, masks), queued(labels, masks))


def test_words_that_touch_stay_apart():
    """One region of text with two kernels: the border is where both arrive at the same time."""
    text, kernel = np.zeros((9, 20), bool), np.zeros((9, 20), bool)
    text[1:8, 1:19] = True
    kernel[3:6, 3:7], kernel[3:6, 13:17] = True, True
    logits = np.where(np.stack([kernel, text], -1), 9.0, -9.0)
    boxes, scores = pse.boxes(logits, stride=1)
    np.testing.assert_allclose(boxes[np.argsort(boxes[:, 0, 0])], [box(1, 1, 10, 8), box(10, 1, 19, 8)])
    assert (scores > 0.99).all()
    far, _ = pse.boxes(logits, stride=4)
    np.testing.assert_allclose(far, boxes * 4)


def test_small_kernels_and_unsure_words_are_left_out():
    logits = np.full((12, 12, 2), -9.0)
    logits[2:8, 2:8, 1], logits[4, 4:7, 0] = 9.0, 9.0
    assert len(pse.boxes(logits, stride=1)[0]) == 0
    assert len(pse.boxes(logits, stride=1, min_area=3)[0]) == 1
    logits[2:8, 2:8, 1] = 0.2  # a probability of 0.55
    assert len(pse.boxes(logits, stride=1, min_area=3)[0]) == 0
    assert len(pse.boxes(logits, stride=1, min_area=3, box_threshold=0.5)[0]) == 1


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(66, 90), st.integers(14, 22), st.floats(-40, 40)), min_size=1, max_size=4))
def test_decoding_the_targets_gives_the_words_back(words):
    polygons = np.stack([
        cv2.boxPoints(((70 + 110 * (i % 2), 60 + 110 * (i // 2)), (w, h), a))[[1, 2, 3, 0]]
        for i, (w, h, a) in enumerate(words)
    ])  # fmt: skip
    drawn = psenet.maps(polygons, np.zeros(len(words), bool), (230, 250))
    boxes, scores = pse.boxes(drawn["kernels"] * 20.0 - 10, stride=1)
    assert len(boxes) == len(words) and (scores > 0.99).all()
    for polygon in polygons:
        assert max(geometry.iou(polygon, other) for other in boxes) > 0.75


def test_the_loss_of_what_is_known_is_nothing():
    drawn = psenet.maps(box(8, 8, 56, 24)[None], np.array([False]), (32, 64), 3)
    target = {key: value[None] for key, value in drawn.items()}
    sure = target["kernels"] * 40.0 - 20
    assert np.asarray(psenet.loss(target, {"logits": sure.astype("float32")})) == pytest.approx([0], abs=1e-4)
    wrong = sure.copy()
    wrong[..., 0] = -20  # the smallest of two kernels is not found: a half of 0.3 of a dice, nearly
    area = drawn["kernels"][..., 0].sum()
    expected = 0.3 / 2 * (1 - 1 / (area + 1))
    assert np.asarray(psenet.loss(target, {"logits": wrong.astype("float32")})) == pytest.approx([expected], rel=1e-3)
