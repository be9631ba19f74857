"""Scores in [0, 1]: of boxes and of text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from zoo import geometry


def overlaps(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """(N, M) intersection over union of polygons (N, 4, 2) and (M, 4, 2)."""
    result = np.zeros((len(found), len(true)))
    if not result.size:
        return result
    low, high = found.min(1), found.max(1)
    for column, polygon in enumerate(true):
        near = (low < polygon.max(0)).all(1) & (high > polygon.min(0)).all(1)
        for row in np.flatnonzero(near):
            result[row, column] = geometry.iou(found[row], polygon)
    return result


def matches(found: np.ndarray, true: np.ndarray, ignore: np.ndarray, least: float = 0.5) -> tuple[int, int, int]:
    """How many boxes match, were found, and are true; each is matched once, at an overlap of at least `least`.

    Args:
        found: (N, 4, 2).
        true: (M, 4, 2).
        ignore: (M,) bool: these count neither way, nor does an unmatched box that lies on one of them.
        least: intersection over union.
    """
    iou = overlaps(found, true)
    rows, columns = linear_sum_assignment(np.where(iou >= least, iou, 0), maximize=True)
    pairs = [(row, column) for row, column in zip(rows, columns, strict=True) if iou[row, column] >= least]
    right = sum(not ignore[column] for _, column in pairs)
    matched = {row for row, _ in pairs}
    dropped = sum(bool(ignore[column]) for _, column in pairs)
    hidden = [row for row in range(len(found)) if row not in matched and _covered(found[row], true[ignore])]
    return right, len(found) - dropped - len(hidden), int((~ignore).sum())


def _covered(polygon: np.ndarray, others: np.ndarray) -> bool:
    """Whether more than half of the polygon's area lies in one of the others."""
    area = geometry.area(polygon)
    for other in others:
        iou = geometry.iou(polygon, other)
        both = iou * (area + geometry.area(other)) / (1 + iou)
        if both > area / 2:
            return True
    return False


def hmean(right: int, found: int, true: int) -> dict[str, float]:
    """Precision, recall and their harmonic mean; 1 where there is nothing to find and nothing was found."""
    precision = right / found if found else float(not true)
    recall = right / true if true else 1.0
    return {"precision": precision, "recall": recall, "hmean": 2 * precision * recall / max(precision + recall, 1e-12)}


def edits(read: str, true: str) -> int:
    """The least number of characters to insert, delete or replace (Levenshtein)."""
    row = list(range(len(true) + 1))
    for i, a in enumerate(read, 1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(true, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return row[-1]


def cer(read: Sequence[str], true: Sequence[str]) -> float:
    """Character error rate: edits over characters of the truth, summed over the texts."""
    return sum(map(edits, read, true)) / max(1, sum(map(len, true)))
