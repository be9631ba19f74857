"""CTPN: targets worked by hand, and what decoding makes of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.detection import ctpn_vgg16 as ctpn
from recipes.detection import task
from zoo import geometry
from zoo.decoding import ctpn as decoding
from zoo.detection.ctpn import ANCHORS


def box(x0, y0, x1, y1) -> np.ndarray:
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], "float32")


def maps(*polygons, ignore=None, size=(128, 192)):
    return ctpn.maps(np.stack(polygons), np.array(ignore or [False] * len(polygons)), size)


def found(drawn: dict[str, np.ndarray], **options) -> tuple[np.ndarray, np.ndarray]:
    return decoding.boxes(drawn["text"] * 20 - 10, drawn["vertical"], drawn["side"], stride=16, **options)


def test_the_anchors_are_those_of_the_paper():
    assert decoding.HEIGHTS[0] == 11 and decoding.HEIGHTS[-1] == 273 and len(decoding.HEIGHTS) == ANCHORS == 10
    ratios = np.divide(decoding.HEIGHTS[:-1], decoding.HEIGHTS[1:])
    np.testing.assert_allclose(ratios, 0.7, atol=0.04)


def test_targets_of_a_line():
    """(20, 40) to (90, 56): it covers a half of columns 1 to 5. The anchor of 16 in row 2 reaches from 32 to 48, in row
    3 from 48 to 64: each has 8 of 24 pixels in common; that of 32 in row 2 from 24 to 56, with 16 of 32."""
    drawn = maps(box(20, 40, 90, 56))
    columns, top, bottom = ctpn.pieces(box(20, 40, 90, 56), 12)
    np.testing.assert_array_equal(columns, [1, 2, 3, 4, 5])
    np.testing.assert_array_equal([top, bottom], [[40] * 5, [56] * 5])
    overlap = ctpn.overlaps(top, bottom, 8)
    assert decoding.HEIGHTS[1:4] == (16, 22, 32)
    assert overlap[2, 0, 1] == pytest.approx(8 / 24) and overlap[2, 0, 3] == pytest.approx(16 / 32)
    text = drawn["text"]
    assert set(np.nonzero(text)[1]) == {1, 2, 3, 4, 5} and not text[0].any()
    row, _, kind = (int(index[0]) for index in np.nonzero(text))
    assert overlap[row, 0, kind] == overlap[:, 0].max()
    anchor = decoding.HEIGHTS[kind]
    expected = [(48 - (row + 0.5) * 16) / anchor, math.log(16 / anchor)]
    np.testing.assert_allclose(drawn["vertical"].reshape(8, 12, 10, 2)[row, 3, kind], expected, rtol=1e-5)
    np.testing.assert_allclose(drawn["side"][row, [1, 2, 4, 5], kind], [-0.25, -1.25, 1.125, 0.125], rtol=1e-5)
    np.testing.assert_array_equal(drawn["side_mask"][row, 1:6, kind], [1, 1, 0, 1, 1])


def test_anchors_that_nearly_fit_do_not_count():
    drawn = maps(box(16, 32, 96, 64))  # the anchor of 32 in rows 2 and 3 has 24 of 40 pixels in common: 0.6
    assert decoding.HEIGHTS[3] == 32
    best = drawn["text"].sum()
    assert best >= 5 and (drawn["mask"][drawn["text"] == 1] == 1).all()
    nearly = ctpn.overlaps(np.array([32.0]), np.array([64.0]), 8)[:, 0]
    for row, kind in np.argwhere((nearly >= 0.5) & (nearly <= 0.7) & (drawn["text"][:, 3] == 0)):
        assert drawn["mask"][row, 3, kind] == 0
    for row, kind in np.argwhere(nearly < 0.5):
        assert drawn["mask"][row, 3, kind] == 1


def test_illegible_and_narrow_places_are_masked_out():
    drawn = maps(box(16, 32, 96, 64), box(112, 32, 176, 34), ignore=[True, False])
    assert not drawn["text"].any() and not drawn["mask"][2:4, 1:6, :4].any() and not drawn["mask"][1:2, 7:11, 3:].any()
    assert drawn["mask"][:, 6].all()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(40, 150), st.integers(14, 40), st.floats(-0.08, 0.08)), min_size=1, max_size=3))
def test_decoding_the_targets_gives_the_lines_back(lines):
    polygons = []
    for index, (width, height, slope) in enumerate(lines):
        line = box(21, 30 + 70 * index, 21 + width, 30 + 70 * index + height)
        line[:, 1] += slope * (line[:, 0] - 21)
        polygons.append(line)
    boxes, scores = found(maps(*polygons, size=(256, 192)))
    assert len(boxes) == len(polygons) and (scores > 0.99).all()
    for polygon in polygons:
        assert max(geometry.iou(polygon, other) for other in boxes) > 0.95


def test_pieces_of_one_line_need_not_touch():
    """Two lines with 16 pixels in between are one where so wide a gap is allowed."""
    drawn = maps(box(16, 32, 64, 56), box(80, 32, 144, 56))
    np.testing.assert_allclose(found(drawn)[0], [box(16, 32, 144, 56)], atol=1e-3)
    apart, _ = found(drawn, gap=8)
    np.testing.assert_allclose(
        apart[np.argsort(apart[:, 0, 0])], [box(16, 32, 64, 56), box(80, 32, 144, 56)], atol=1e-3
    )


def test_of_proposals_in_a_column_the_best_stays():
    column = np.array([3, 3, 3, 4])
    top, bottom = np.array([10.0, 12, 40, 10]), np.array([30.0, 32, 60, 30])
    pieces = decoding.Proposals(column, top, bottom, np.zeros(4), np.array([0.8, 0.9, 0.7, 0.6]))
    np.testing.assert_array_equal(sorted(decoding.unique(pieces, 0.2)), [1, 2, 3])


def test_neighbours_must_prefer_each_other():
    """The piece in column 1 prefers the better of two in column 2; the other one begins a line of its own."""
    column, score = np.array([1, 2, 2]), np.array([0.9, 0.8, 0.95])
    top, bottom = np.array([10.0, 8, 13]), np.array([30.0, 28, 33])
    pieces = decoding.Proposals(column, top, bottom, np.zeros(3), score)
    assert sorted(map(sorted, decoding.chains(pieces, 1, 0.7))) == [[0, 2], [1]]


def test_words_are_joined_into_lines():
    polygons = np.stack([box(10, 10, 50, 30), box(60, 12, 90, 30), box(150, 10, 180, 30), box(10, 60, 40, 70)])
    page = task.Page(np.zeros((100, 200, 3), "uint8"), polygons, np.array([False, False, False, True]))
    lines = ctpn.joined(page)
    np.testing.assert_array_equal(lines.ignore, [False, False, True])
    np.testing.assert_allclose(lines.polygons[0][:, 0], [10, 90, 90, 10], atol=0.5)
    np.testing.assert_allclose(lines.polygons[0][:, 1], [10, 10, 30, 30], atol=2)
    np.testing.assert_allclose(lines.polygons[1:], polygons[2:], atol=1e-4)


def test_nothing_is_found_where_nothing_is_likely():
    boxes, scores = decoding.boxes(np.full((4, 4, 10), -3.0), np.ones((4, 4, 20)), np.ones((4, 4, 10)), stride=16)
    assert boxes.shape == (0, 4, 2) and scores.shape == (0,)


def test_the_loss_by_hand():
    """One anchor of text, missed by (0.5, 2) in height and by 1 at its side; no background counts."""
    drawn = {key: np.zeros((1, 1, 1, 10)) for key in ("text", "mask", "side", "side_mask")} | {
        "vertical": np.zeros((1, 1, 1, 20))
    }
    drawn["text"][..., 4] = drawn["mask"][..., 4] = drawn["side_mask"][..., 4] = 1
    drawn["vertical"][..., 8:10] = (0.5, 2)
    outputs = {
        key: np.zeros((1, 1, 1, size), "float32") for key, size in (("logits", 10), ("vertical", 20), ("side", 10))
    }
    outputs["side"][..., 4] = 1
    expected = math.log(2) / 2 + (0.125 + 1.5) + 2 * 0.5
    assert np.asarray(ctpn.loss(drawn, outputs)) == pytest.approx([expected], rel=1e-5)
