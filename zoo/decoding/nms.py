"""Of boxes that mean the same word, the best one."""

from __future__ import annotations

from collections import defaultdict
from itertools import product
from math import inf

import numpy as np

from zoo.geometry import iou

CELLS = 64  # into which what is covered is divided, along each side: only boxes that share one are compared
SLACK = 1 / 64  # pixels by which the common part of two boxes may be larger than that of their limits, for rounding


def suppress(boxes: np.ndarray, scores: np.ndarray, overlap: float) -> list[int]:
    """Indices of the boxes (N, P, 2) that no better one overlaps by more than `overlap`, from the best score down."""
    cells, limits = _cells(boxes), _limits(boxes)
    kept: list[int] = []
    at: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index in np.argsort(-scores, kind="stable").tolist():
        near = {other for cell in product(*cells[index]) for other in at.get(cell, ())}
        likely = sorted([(_most(limits[other], limits[index]), other) for other in near], reverse=True)
        if all(iou(boxes[other], boxes[index]) <= overlap for most, other in likely if most > overlap):
            kept.append(index)
            for cell in product(*cells[index]):
                at[cell].append(index)
    return kept


def _limits(boxes: np.ndarray) -> list[list[float]]:
    """Left, top, right, bottom and area of each of the boxes (N, P, 2)."""
    x, y = np.moveaxis(boxes.astype("float64"), 2, 0)
    areas = np.abs((x * np.roll(y, -1, 1) - y * np.roll(x, -1, 1)).sum(1)) / 2
    return np.stack([x.min(1), y.min(1), x.max(1), y.max(1), areas], 1).tolist()


def _most(one: list[float], other: list[float]) -> float:
    """What the intersection over union of two boxes cannot exceed, by `_limits`; 0 where they do not touch."""
    width, height = min(one[2], other[2]) - max(one[0], other[0]), min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    common = (width + SLACK) * (height + SLACK)
    union = one[4] + other[4] - common
    return common / union if union > 0 else inf


def _cells(boxes: np.ndarray) -> list[tuple[range, range]]:
    """The columns and the rows of cells in which each of the boxes (N, P, 2) lies."""
    points = boxes.reshape(-1, 2)
    corner = points.min(0, initial=np.inf)
    side = np.maximum(np.max(points - corner, initial=0) / CELLS, 1e-6)
    first = ((boxes.min(1) - corner) // side).astype(int).tolist()
    last = ((boxes.max(1) - corner) // side).astype(int).tolist()
    return [(range(a, c + 1), range(b, d + 1)) for (a, b), (c, d) in zip(first, last, strict=True)]
