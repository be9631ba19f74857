"""Boxes from one map of text regions: what most detectors give."""

from __future__ import annotations

import numpy as np

from zoo import geometry


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Probabilities of logits, without overflow."""
    return 0.5 + 0.5 * np.tanh(0.5 * logits.astype("float32"))


def boxes(
    logits: np.ndarray,
    *,
    stride: float = 1,
    threshold: float = 0.3,
    box_threshold: float = 0.1,
    unclip: float = 1.5,
    shrunk: float | None = None,
    min_size: float = 2,
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (N, 4, 2) in pixels of the network's input, and scores (N,): the connected regions, grown outwards.

    Args:
        logits: (h, w, 1), that a pixel is text.
        stride: pixels of the input for one of the map.
        threshold, box_threshold, unclip, shrunk, min_size: as `geometry.polygons` takes them.
    """
    found, scores = geometry.polygons(
        sigmoid(logits[:, :, 0]),
        threshold=threshold, box_threshold=box_threshold, unclip=unclip, shrunk=shrunk, min_size=min_size,
    )  # fmt: skip
    return found * stride, scores
