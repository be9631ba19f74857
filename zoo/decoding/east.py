"""Boxes from EAST's maps: a rectangle for each pixel of text, the near ones made one. Zhou et al. 2017,
https://arxiv.org/abs/1704.03155, sections 3.3.2 and 3.6.
"""

from __future__ import annotations

import numpy as np

from zoo.decoding.nms import suppress
from zoo.decoding.regions import sigmoid
from zoo.geometry import iou, sides


def boxes(
    logits: np.ndarray,
    geometry: np.ndarray,
    *,
    stride: float = 4,
    threshold: float = 0.8,
    overlap: float = 0.2,
    min_size: float = 2,
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (N, 4, 2) in pixels of the network's input, and scores (N,): the mean probability of their pixels.

    Args:
        logits: (h, w, 1), that a pixel is text.
        geometry: (h, w, 5): distances to the upper, right, lower and left side of its rectangle in pixels of the input,
            and the angle by which it is turned clockwise, in radians.
        stride: pixels of the input for one of the maps.
        threshold: probability from which a pixel counts.
        overlap: intersection over union above which two rectangles are one word.
        min_size: both sides of a box have this many pixels.
    """
    probability = sigmoid(logits[..., 0])
    text = (probability >= threshold) & np.isfinite(geometry).all(-1)
    rows, columns = np.nonzero(text)  # row by row: merging wants neighbours next to each other
    centres = (np.stack([columns, rows], 1) + 0.5) * stride
    found, weights, counts = merge(rectangles(centres, geometry[rows, columns]), probability[rows, columns], overlap)
    large = np.minimum(*sides(found)) >= min_size
    found, weights, counts = found[large], weights[large], counts[large]
    kept = suppress(found, weights, overlap)
    return found[kept].astype("float32"), (weights / counts)[kept].astype("float32")


def rectangles(points: np.ndarray, geometry: np.ndarray) -> np.ndarray:
    """(N, 4, 2) corners of the rectangles in which points (N, 2) lie, by the geometry (N, 5) that `boxes` describes."""
    top, right, bottom, left, angle = geometry.T.astype("float64")
    x, y = np.stack([-left, right, right, -left], 1), np.stack([-top, -top, bottom, bottom], 1)
    cosine, sine = np.cos(angle)[:, None], np.sin(angle)[:, None]
    return points[:, None] + np.stack([x * cosine - y * sine, x * sine + y * cosine], -1)


def merge(boxes: np.ndarray, scores: np.ndarray, overlap: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes (M, 4, 2) with the sums (M,) of their scores and how many each was made of (M,).

    Each box (N, 4, 2) that overlaps the one made last is merged into it, weighted by its score; else it begins another.
    """
    # Sides of w moved by at most f·w leave (1 - 2f)² of (1 + 2f)² in common: most neighbours need not be measured.
    root = overlap**0.5
    near = (1 - root) / (2 + 2 * root) * np.minimum(*sides(boxes)) / 2**0.5
    merged: list[np.ndarray] = []
    weights: list[float] = []
    counts: list[int] = []
    for box, score, reach in zip(boxes, scores.tolist(), near.tolist(), strict=True):
        if merged and (np.abs(merged[-1] - box).max() < reach or iou(merged[-1], box) > overlap):
            total = weights[-1] + score
            merged[-1] = (merged[-1] * weights[-1] + box * score) / total
            weights[-1], counts[-1] = total, counts[-1] + 1
        else:
            merged.append(box)
            weights.append(score)
            counts.append(1)
    return np.array(merged).reshape(-1, 4, 2), np.array(weights), np.array(counts)
