"""Boxes from networks that give boxes: those that are sure enough."""

from __future__ import annotations

import numpy as np

from zoo.decoding.regions import sigmoid


def boxes(
    logits: np.ndarray, corners: np.ndarray, *, threshold: float = 0.5, min_size: float = 2
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (N, 4, 2) in pixels of the network's input, and scores (N,), the best first.

    Args:
        logits: (M,), that there is a word.
        corners: (M, 4) left, top, right, bottom in pixels of the input.
        threshold: probability from which a box counts.
        min_size: both sides of a box have this many pixels.
    """
    scores = sigmoid(logits)
    sides = corners[:, 2:] - corners[:, :2]
    kept = np.flatnonzero((scores >= threshold) & (sides.min(1) >= min_size))
    kept = kept[np.argsort(-scores[kept], kind="stable")]
    around = corners[kept][:, [0, 1, 2, 1, 2, 3, 0, 3]]  # clockwise from the top left
    return around.reshape(-1, 4, 2).astype("float32"), scores[kept].astype("float32")
