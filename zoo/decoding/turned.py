"""Regions from networks that give turned boxes with a probability for each class: LW-DETR's."""

from __future__ import annotations

import numpy as np

from zoo.decoding.nms import suppress
from zoo.decoding.regions import sigmoid

FINE = 4096  # into which shares are multiplied where overlaps are measured: these are counted in parts of a pixel


def regions(
    logits: np.ndarray, boxes: np.ndarray, *, threshold: float = 0.5, overlap: float = 0.5, count: int = 300
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Polygons (N, 4, 2) in shares of the picture's sides, scores (N,) and classes (N,), the best first.

    A box may be of several classes. Of those of one class that overlap, the best stays.

    Args:
        logits: (Q, K).
        boxes: (Q, 6) centre, width and height in shares of the picture's sides, sine and cosine of the turn.
        threshold: a region is more probable than this.
        overlap: intersection over union above which two of one class are one.
        count: pairs of box and class that are looked at, at most, the best ones.
    """
    scores = np.where(np.isfinite(boxes).all(1)[:, None], sigmoid(logits), 0).ravel()
    best = np.argsort(-scores, kind="stable")[:count]
    best = best[scores[best] > threshold]
    polygons, scores, classes = corners(boxes[best // logits.shape[1]]), scores[best], best % logits.shape[1]
    kept: list[int] = []
    for kind in np.unique(classes):
        (own,) = np.nonzero(classes == kind)
        kept += own[suppress(FINE * polygons[own], scores[own], overlap)].tolist()
    kept = sorted(kept)
    return polygons[kept].clip(0, 1), scores[kept].astype("float32"), classes[kept]


def corners(boxes: np.ndarray) -> np.ndarray:
    """(N, 4, 2) float32 corners of turned boxes (N, 6), clockwise from the one nearest to the top left."""
    (x, y, width, height), angle = boxes.T[:4], np.arctan2(boxes[:, 4], boxes[:, 5])
    along = np.stack([np.cos(angle), np.sin(angle)], -1) * width[:, None] / 2
    across = np.stack([-np.sin(angle), np.cos(angle)], -1) * height[:, None] / 2
    around = np.stack([-along - across, along - across, along + across, across - along], 1)
    around = np.stack([x, y], -1)[:, None] + around
    first = around.sum(2).argmin(1)[:, None]
    order = (first + np.arange(4)) % 4
    return np.take_along_axis(around, order[..., None], 1).astype("float32")
