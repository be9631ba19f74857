"""Cells of a table from TableCenterNet's maps: peaks of centres, their corners, and their places in rows and columns.

Xiao and Yang 2025, https://arxiv.org/abs/2504.17522, section 3.3.
"""

from __future__ import annotations

import cv2
import numpy as np

SURE = 2  # corners that peaks must have moved for a cell's score to stand
DOUBT = 0.4  # by which it is multiplied otherwise


def boxes(
    logits: np.ndarray,
    offset: np.ndarray,
    corners: np.ndarray,
    *,
    stride: float = 4,
    threshold: float = 0.3,
    count: int = 3000,
) -> tuple[np.ndarray, np.ndarray]:
    """Cells (N, 4, 2) float32 in pixels of the network's input, clockwise from the top left, and scores (N,).

    Corners lie where their centre says, without a second look for peaks of corners.

    Args:
        logits: (h, w, 2), of centres and of corners.
        offset: (h, w, 2): how far right and down of a pixel its peak lies, in pixels of the map.
        corners: (h, w, 8): how far left and up of a centre each of the corners lies, in pixels of the map.
        stride: pixels of the network's input for one of the map.
        threshold: probability from which a peak is a cell.
        count: cells at most, the surest ones.
    """
    _, cells, scores = _cells(logits, offset, corners, threshold, count)
    return (cells * stride).astype("float32"), scores


def table(
    logits: np.ndarray,
    offset: np.ndarray,
    corners: np.ndarray,
    centres: np.ndarray,
    logical: np.ndarray,
    span: np.ndarray,
    *,
    stride: float = 4,
    threshold: float = 0.3,
    corner_threshold: float = 0.3,
    count: int = 3000,
    corner_count: int = 5000,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cells as `boxes` has them, the surest first, and the first and last row and column of each (N, 4) int, from 0.

    The corners of a cell are moved to peaks of corners that say a centre lies in the cell.

    Args:
        logits, offset, corners: as for `boxes`.
        centres: (h, w, 8): how far left and up of a corner the centres of the cells around it lie.
        logical: (h, w, 2): the column and the row, from 1; cells end where the next begin.
        span: (h, w, 2): columns and rows of a centre's cell.
        stride, threshold, count: as for `boxes`.
        corner_threshold, corner_count: the same of corners.
    """
    logical, span = (np.nan_to_num(values, posinf=0, neginf=0) for values in (logical, span))
    at, cells, scores = _cells(logits, offset, corners, threshold, count)
    spots, points, _ = peaks(logits[..., 1], offset, corner_threshold, corner_count)
    around, said = _around(points, centres, spots), logical[spots]
    edges = np.concatenate([around.min(1), -around.max(1)], 1).T.copy()  # rows, which are compared quickly
    found = []
    for cell in cells:
        near = np.flatnonzero((edges <= np.concatenate([cell.max(0), -cell.min(0)])[:, None]).all(0))
        found.append(_moved(cell, points, around, said, logical, near))
    places = [place(known, span[row, column]) for (_, known, _), row, column in zip(found, *at, strict=True)]
    taken = np.array([count for _, _, count in found], int)
    scores = np.where(taken <= SURE, DOUBT * scores, scores)
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] >= threshold]
    moved = np.array([cell for cell, _, _ in found], "float32").reshape(-1, 4, 2)
    return moved[order] * stride, scores[order].astype("float32"), np.array(places, int).reshape(-1, 4)[order]


def _cells(
    logits: np.ndarray, offset: np.ndarray, corners: np.ndarray, threshold: float, count: int
) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray, np.ndarray]:
    """Rows and columns (N,) of centres, the cells (N, 4, 2) by them in pixels of the map, and scores (N,)."""
    (rows, columns), centres, scores = peaks(logits[..., 0], offset, threshold, count)
    cells = _around(centres, corners, (rows, columns))
    sure = np.isfinite(cells).all((1, 2))
    return (rows[sure], columns[sure]), cells[sure], scores[sure]


def peaks(
    logits: np.ndarray, offset: np.ndarray, threshold: float, count: int
) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray, np.ndarray]:
    """Rows and columns (N,) of a map's highest pixels among their neighbours, where these lie (N, 2), scores (N,)."""
    score = 1 / (1 + np.exp(-logits.astype("float32")))
    peak = score == cv2.dilate(score, np.ones((3, 3), np.uint8))
    rows, columns = np.nonzero(peak & (score >= threshold))
    best = np.argsort(-score[rows, columns], kind="stable")[:count]
    at = rows[best], columns[best]
    return at, np.stack(at[::-1], 1) + offset[at], score[at]


def _around(points: np.ndarray, vectors: np.ndarray, at: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """(N, 4, 2) the places from which the vectors at (N, 2) points lead to these."""
    return points[:, None] - vectors[at].reshape(-1, 4, 2)


def _moved(
    cell: np.ndarray,
    points: np.ndarray,
    around: np.ndarray,
    said: np.ndarray,
    logical: np.ndarray,
    near: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, int]:
    """A cell (4, 2) with its corners moved to peaks, their columns and rows (4, 2), how often one was moved.

    Args:
        cell: as its centre has it.
        points, around, said: peaks of corners (K, 2), the centres around each (K, 4, 2), column and row of each (K, 2).
        logical: what is said of other pixels.
        near: indices of the peaks that may say so, in their order.
    """
    result, known, moves = cell.copy(), np.full((4, 2), np.nan, "float32"), 0
    near = near[within(cell.astype("float32"), around[near].astype("float32")).any(1)]
    distance = ((cell - points[near][:, None]) ** 2).sum(2)
    nearest = distance.argmin(1)
    for corner in np.unique(nearest):
        own = near[nearest == corner]
        far = distance[nearest == corner, corner]
        better = np.r_[True, far[1:] <= np.minimum.accumulate(far)[:-1]]  # than those before
        last = own[better][-1]  # of several the nearest
        result[corner], known[corner], moves = points[last], said[last], moves + int(better.sum())
    limit = np.array(logical.shape[1::-1]) - 1
    for corner in np.flatnonzero(np.isnan(known[:, 0])):
        column, row = result[corner].clip(0, limit).astype(int)
        known[corner] = logical[row, column]
    return result, known, moves


def within(outline: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Whether points (…, 2) float32 lie within a polygon (P, 2) float32 and not on it: as OpenCV's pointPolygonTest."""
    x, y = points[..., 0, None], points[..., 1, None]
    (x0, y0), (x1, y1) = np.roll(outline, 1, 0).T, outline.T
    beside = ((y0 <= y) & (y1 <= y)) | ((y0 > y) & (y1 > y)) | ((x0 < x) & (x1 < x))
    side = (y - y0).astype("float64") * (x1 - x0) - (x - x0).astype("float64") * (y1 - y0)
    level = (y == y0) & (((x0 <= x) & (x <= x1)) | ((x1 <= x) & (x <= x0)))
    upon = np.where(beside, (y == y1) & ((x == x1) | level), side == 0)
    crossed = ~beside & (np.where(y1 < y0, -side, side) > 0)
    return ~upon.any(-1) & (crossed.sum(-1) % 2 == 1)


def place(known: np.ndarray, span: np.ndarray) -> tuple[int, int, int, int]:
    """First and last row, first and last column, from 0, of a cell by its corners' columns and rows (4, 2) and span."""
    columns, rows = known.T
    column = _extent(columns[[0, 3]], columns[[1, 2]], round(float(span[0])))
    row = _extent(rows[[0, 1]], rows[[2, 3]], round(float(span[1])))
    return (*row, *column)


def _extent(start: np.ndarray, stop: np.ndarray, span: int) -> tuple[int, int]:
    """The first and the last line, from 0: by the side whose two corners agree more, and the span."""
    span = max(1, span)
    first, end = ([max(1, round(float(value))) for value in side] for side in (start, stop))
    agreed = first[0] == first[1], end[0] == end[1]
    if agreed[0] or (not agreed[1] and abs(start[0] - start[1]) <= abs(stop[0] - stop[1])):
        begin = first[0] if agreed[0] else max(1, round(float(start.mean())))
        return begin - 1, begin + span - 2
    last = max(span + 1, end[0] if agreed[1] else round(float(stop.mean()))) - 1
    return last - span, last - 1
