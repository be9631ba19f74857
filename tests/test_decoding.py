"""What a detector hands to the decoding of its card, and what that may be."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest

from zoo import decoding, geometry
from zoo.decoding import cells, ctpn, east, regions, turned
from zoo.decoding.nms import suppress
from zoo.reading import Detector


def fake(scores, vectors, *, stride, least=0.5, factor=1.0):
    """A decoding: a box of one pixel for each place of a map whose score is enough, moved by the vector there."""
    y, x = np.nonzero(scores[..., 0] >= least)
    corner = np.stack([x, y], 1) + vectors[y, x] * factor
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    return (corner[:, None] + square) * stride, scores[y, x, 0]


def test_the_signature_says_what_is_needed():
    assert decoding.outputs(fake) == ("scores", "vectors")
    assert decoding.options(fake) == {"least", "factor"} and decoding.strided(fake)
    assert decoding.needed({}) == ("logits",)
    assert decoding.options(regions.boxes) == {"threshold", "box_threshold", "unclip", "shrunk", "min_size"}


def test_a_detector_decodes_several_outputs_of_another_stride():
    """A page of 100 × 200 in an input of 32 × 64, of which the last rows are padding; maps at stride 4 are 8 × 16."""
    seen = {}

    def run(batch):
        seen["batch"] = batch.shape
        scores = np.zeros((1, 8, 16, 1), "float32")
        scores[0, 2, 3], scores[0, 5, 0] = 0.9, 0.4
        vectors = np.zeros((1, 8, 16, 2), "float32")
        vectors[0, 2, 3] = (1, 0)
        return {"vectors": vectors, "scores": scores, "unused": np.zeros(1)}

    page = np.zeros((100, 200, 3), "uint8")
    boxes, scores = Detector(run, size=(64, 64), multiple=32, decode=fake, factor=2.0)(page)
    assert seen["batch"] == (1, 32, 64, 3)
    x, y = 5 * 4 * 200 / 64, 2 * 4 * 100 / 32
    width, height = 4 * 200 / 64, 4 * 100 / 32
    np.testing.assert_allclose(boxes, [[[x, y], [x + width, y], [x + width, y + height], [x, y + height]]], rtol=1e-5)
    np.testing.assert_allclose(scores, [0.9], rtol=1e-6)


def test_what_lies_beyond_the_page_is_cut_off():
    shapes = []

    def look(logits, numbers):
        shapes.extend([logits.shape, numbers.shape])
        return np.zeros((0, 4, 2), "float32"), np.zeros(0, "float32")

    def run(batch):
        return {"logits": np.zeros((1, 16, 16, 2)), "numbers": np.zeros((1, 7, 4))}

    boxes, _ = Detector(run, size=(64, 64), multiple=64, decode=look)(np.zeros((30, 64, 3), "uint8"))
    assert shapes == [(8, 16, 2), (7, 4)] and boxes.shape == (0, 4, 2)


def test_a_decoding_is_found_by_its_name_or_refused():
    assert decoding.find("zoo.decoding.regions:boxes") is regions.boxes
    for name in ("os:system", "zoo.decoding.regions:_boxes", "zoo.decoding.regions", "zoo.decodings.x:boxes"):
        with pytest.raises(ValueError, match="is not of the form 'zoo.decoding.MODULE:FUNCTION'"):
            decoding.find(name)
    for name in ("zoo.decoding.nowhere:boxes", "zoo.decoding.regions:circles"):
        with pytest.raises(ValueError, match="there is no"):
            decoding.find(name)


def test_an_option_that_the_decoding_does_not_take_is_refused():
    with pytest.raises(TypeError, match="without unclip; options are: factor, least"):
        Detector(lambda batch: {}, decode=fake, unclip=1.5)


# ---------------------------------------------------------------- whatever the maps hold

LARGE = 8.0  # a logit of which nobody doubts


def boxes_at(rng: np.random.Generator, count: int, room: float) -> np.ndarray:
    """Turned boxes (count, 4, 2) of words, some of them large, within `room` pixels."""
    sizes = rng.uniform(4, 20, (count, 2)) * np.where(rng.random((count, 1)) < 0.1, 8, 1)
    places, turns = rng.uniform(0, room, (count, 2)), rng.uniform(-40, 40, count)
    return np.stack([cv2.boxPoints((p, s, t)) for p, s, t in zip(places, sizes, turns, strict=True)])


@pytest.mark.parametrize("overlap", [0.0, 0.2, 0.5])
@pytest.mark.parametrize("room", [60, 400])
def test_suppression_is_that_of_a_plain_loop(room, overlap):
    rng = np.random.default_rng(room)
    boxes, scores = boxes_at(rng, 150, room), rng.random(150).round(2)
    expected: list[int] = []
    for index in np.argsort(-scores, kind="stable").tolist():
        if all(geometry.iou(boxes[other], boxes[index]) <= overlap for other in expected):
            expected.append(index)
    assert suppress(boxes, scores, overlap) == expected and len(expected) < 150
    assert suppress(np.zeros((0, 4, 2)), np.zeros(0), overlap) == []


def test_of_thousands_of_small_boxes_all_that_lie_apart_are_kept():
    corners = np.stack(np.meshgrid(np.arange(100), np.arange(100)), -1).reshape(-1, 1, 2) * 4.0
    boxes = corners + np.array([[0, 0], [3, 0], [3, 3], [0, 3]])
    assert len(suppress(boxes, np.arange(10000.0), 0.2)) == 10000


@pytest.mark.parametrize("distances", [(10, 60, 10, 60), (1.9, 1.9, 1.9, 1.9)], ids=["words", "pixels"])
def test_east_where_all_is_text(distances):
    geometry_ = np.tile(np.array([*distances, 0], "float32"), (128, 128, 1))
    found, scores = east.boxes(np.full((128, 128, 1), LARGE), geometry_, stride=4)
    assert np.isfinite(found).all() and (scores > 0.99).all() and len(found) > 20


@pytest.mark.parametrize("seed", range(3))
def test_neighbours_of_a_line_are_those_of_a_plain_loop(seed):
    rng = np.random.default_rng(seed)
    column, top = np.sort(rng.integers(0, 12, 80)), rng.uniform(0, 60, 80).round(1)
    pieces = ctpn.Proposals(column, top, top + rng.uniform(8, 30, 80).round(1), rng.normal(size=80), rng.random(80))
    kept = ctpn.unique(pieces, 0.2)
    assert kept.tolist() == [i for part in range(12) for i in best_of_column(pieces, part, 0.2)] and len(kept) < 80
    pieces = ctpn.Proposals(*(values[kept] for values in pieces))
    best = {step: [neighbour(pieces, i, step, 3, 0.6) for i in range(len(kept))] for step in (1, -1)}
    followed = {(i, j) for i, j in enumerate(best[1]) if j is not None and best[-1][j] == i}
    lines = ctpn.chains(pieces, 3, 0.6)
    assert {pair for line in lines for pair in pairwise(line)} == followed and len(followed) > 10
    assert sorted(i for line in lines for i in line) == list(range(len(kept)))


def common(pieces: ctpn.Proposals, i: int, j: int) -> float:
    return max(min(pieces.bottom[i], pieces.bottom[j]) - max(pieces.top[i], pieces.top[j]), 0)


def best_of_column(pieces: ctpn.Proposals, column: int, suppression: float) -> list[int]:
    best: list[int] = []
    high = pieces.bottom - pieces.top
    for i in sorted(np.flatnonzero(pieces.column == column).tolist(), key=lambda i: -pieces.score[i]):
        shared = {j: common(pieces, i, j) for j in best}
        if all(c <= suppression * (high[i] + high[j] - c) for j, c in shared.items()):
            best.append(i)
    return best


def neighbour(pieces: ctpn.Proposals, i: int, step: int, reach: int, overlap: float) -> int | None:
    high = pieces.bottom - pieces.top
    for distance in range(1, reach + 1):
        others = np.flatnonzero(pieces.column == pieces.column[i] + step * distance).tolist()
        shared = {j: common(pieces, i, j) for j in others}
        fits = [j for j, c in shared.items() if c >= overlap * min(high[i], high[j]) and c >= max(high[i], high[j]) / 2]
        if fits:
            return max(fits, key=lambda j: pieces.score[j])
    return None


def test_ctpn_where_all_is_text():
    """Of the anchors of a column those remain that hardly overlap, and none is counted twice."""
    nothing = np.zeros((48, 48, 20), "float32")
    found, scores = ctpn.boxes(np.full((48, 48, 10), LARGE), nothing, nothing[..., :10], stride=16, gap=1e300)
    assert len(found) > 40 and (scores > 0.99).all()
    np.testing.assert_allclose(found[:, 1, 0] - found[:, 0, 0], 48 * 16, atol=17)


def test_a_point_lies_within_a_cell_as_opencv_has_it():
    rng = np.random.default_rng(0)
    for _ in range(200):
        outline, points = rng.integers(0, 6, (4, 2)).astype("float32"), rng.integers(0, 6, (20, 2)).astype("float32")
        expected = [cv2.pointPolygonTest(outline, point.tolist(), False) > 0 for point in points]
        np.testing.assert_array_equal(cells.within(outline, points), expected)


def maps_of_cells(side: int, seed: int = 0) -> list[np.ndarray]:
    """Offset, corners, centres, logical and span of TableCenterNet, (side, side, …), of cells near each pixel."""
    rng = np.random.default_rng(seed)
    corners = np.tile(np.array([1.5, 1.5, -1.5, 1.5, -1.5, -1.5, 1.5, -1.5], "float32"), (side, side, 1))
    offset, logical = rng.normal(size=(2, side, side, 2)).astype("float32")
    noise = rng.normal(size=(2, side, side, 8)).astype("float32") / 4
    return [offset / 10, corners + noise[0], corners + noise[1], np.abs(logical) + 1, np.ones((side, side, 2))]


def plainly_moved(cell, points, around, said, logical, near):
    """What `cells._moved` gives, by one peak after the other."""
    result, known, moves = cell.copy(), np.full((4, 2), np.nan, "float32"), 0
    for index in near:
        inside = [cv2.pointPolygonTest(cell.astype("float32"), p.tolist(), False) > 0 for p in around[index]]
        distance = ((cell - points[index]) ** 2).sum(1)
        nearest = int(distance.argmin())
        before = ((cell[nearest] - result[nearest]) ** 2).sum()
        if any(inside) and (np.isnan(known[nearest, 0]) or before >= distance[nearest]):
            result[nearest], known[nearest], moves = points[index], said[index], moves + 1
    for corner in np.flatnonzero(np.isnan(known[:, 0])):
        column, row = result[corner].clip(0, np.array(logical.shape[1::-1]) - 1).astype(int)
        known[corner] = logical[row, column]
    return result, known, moves


@pytest.mark.parametrize("seed", range(3))
def test_corners_move_as_by_a_plain_loop(seed, monkeypatch):
    logits = np.random.default_rng(seed).normal(size=(24, 30, 2)).astype("float32")
    given = [values[:24] for values in maps_of_cells(30, seed)]
    found = cells.table(logits, *given)
    monkeypatch.setattr(cells, "_moved", plainly_moved)
    for ours, theirs in zip(found, cells.table(logits, *given), strict=True):
        assert len(ours) > 20
        np.testing.assert_array_equal(ours, theirs)


def test_a_page_that_is_all_cells():
    found, scores, places = cells.table(np.full((256, 256, 2), LARGE), *maps_of_cells(256))
    assert len(found) == len(scores) == len(places) == 3000 and np.isfinite(found).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("likely", [LARGE, np.nan, np.inf])
def test_what_is_no_number_is_no_box(value, likely):
    """Boxes of a network that has gone astray are left out; its maps and what it says of places end in no traceback."""

    def given(*shape):
        return np.full(shape, value, "float32")

    logits = np.full((16, 16, 10), likely, "float32")
    for found in (
        east.boxes(logits[..., :1], given(16, 16, 5), stride=4),
        ctpn.boxes(logits, given(16, 16, 20), given(16, 16, 10), stride=16),
        turned.regions(logits[0], given(16, 6)),
        cells.boxes(logits[..., :2], given(16, 16, 2), given(16, 16, 8)),
        cells.table(logits[..., :2], *(given(16, 16, n) for n in (2, 8, 8, 2, 2))),
    ):
        assert all(len(values) == 0 for values in found)
    flat = np.zeros((16, 16, 8), "float32")
    found, _, places = cells.table(logits[..., :2], flat[..., :2], flat, flat, given(16, 16, 2), given(16, 16, 2))
    assert np.isfinite(found).all() and (places >= 0).all()
