"""Cells of a table from TableCenterNet's maps: peaks of centres, and where the corners of each lie.

Xiao and Yang 2025, https://arxiv.org/abs/2504.17522, section 3.3, without the second look for corners.
"""

from __future__ import annotations

import cv2
import numpy as np


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

    Args:
        logits: (h, w, 2), of centres and of corners.
        offset: (h, w, 2): how far right and down of a pixel its peak lies, in pixels of the map.
        corners: (h, w, 8): how far left and up of a centre each of the corners lies, in pixels of the map.
        stride: pixels of the network's input for one of the map.
        threshold: probability from which a peak is a cell.
        count: cells at most, the surest ones.
    """
    score = 1 / (1 + np.exp(-logits[..., 0].astype("float32")))
    peak = score == cv2.dilate(score, np.ones((3, 3), np.uint8))  # the highest of its neighbours
    rows, columns = np.nonzero(peak & (score >= threshold))
    best = np.argsort(-score[rows, columns], kind="stable")[:count]
    rows, columns = rows[best], columns[best]
    centres = np.stack([columns, rows], 1) + offset[rows, columns]
    polygons = centres[:, None] - corners[rows, columns].reshape(-1, 4, 2)
    return (polygons * stride).astype("float32"), score[rows, columns]
