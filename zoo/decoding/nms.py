"""Of boxes that mean the same word, the best one."""

from __future__ import annotations

import numpy as np

from zoo.geometry import iou


def suppress(boxes: np.ndarray, scores: np.ndarray, overlap: float) -> list[int]:
    """Indices of the boxes (N, P, 2) that no better one overlaps by more than `overlap`, from the best score down."""
    low, high = boxes.min(1), boxes.max(1)
    kept: list[int] = []
    for index in np.argsort(-scores, kind="stable").tolist():
        near = [i for i in kept if (low[i] < high[index]).all() and (low[index] < high[i]).all()]
        if all(iou(boxes[i], boxes[index]) <= overlap for i in near):
            kept.append(index)
    return kept
