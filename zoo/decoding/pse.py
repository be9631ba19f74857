"""Words from kernels of several sizes, by progressive scale expansion. Wang et al. 2019,
https://arxiv.org/abs/1903.12473, section 3.2.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from zoo.decoding.regions import sigmoid
from zoo.geometry import rectangles


def boxes(
    logits: np.ndarray,
    *,
    stride: float = 1,
    threshold: float = 0.5,
    box_threshold: float = 0.6,
    min_area: int = 4,
    min_size: float = 2,
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (N, 4, 2) in pixels of the network's input, and scores (N,): the mean probability of text in each.

    Args:
        logits: (h, w, n), that a pixel lies in the kernel of a word, from the smallest kernel to the whole word.
        stride: pixels of the input for one of the map.
        threshold: probability from which a pixel belongs to a kernel.
        box_threshold: of the scores.
        min_area: pixels of the smallest kernel of a word.
        min_size: both sides of a word have this many pixels of the map.
    """
    probability = sigmoid(logits)
    text = probability[..., -1]
    masks = (probability >= threshold) & (text >= threshold)[..., None]
    _, first, stats, _ = cv2.connectedComponentsWithStats(masks[..., 0].astype("uint8"), connectivity=4)
    large = stats[:, cv2.CC_STAT_AREA] >= min_area
    labels = expand(np.where(large[first], first, 0), [masks[..., i] for i in range(1, masks.shape[-1])])
    rows, columns = np.nonzero(labels)
    if not len(rows):
        return np.zeros((0, 4, 2), "float32"), np.zeros(0, "float32")
    owner = labels[rows, columns]
    order = np.argsort(owner, kind="stable")
    _, starts = np.unique(owner[order], return_index=True)
    points = np.split(np.stack([columns, rows], 1)[order].astype("int32"), starts[1:])
    scores = np.add.reduceat(text[rows, columns][order], starts) / np.diff([*starts, len(rows)])
    kept = [i for i, part in enumerate(points) if np.ptp(part, 0).min() + 1 >= min_size and scores[i] >= box_threshold]
    return rectangles([points[i] for i in kept]) * stride, scores[kept].astype("float32")


def expand(labels: np.ndarray, masks: Sequence[np.ndarray]) -> np.ndarray:
    """(h, w) labels grown into each mask (h, w) bool in turn, pixel by pixel; of two words the first to come stays.

    Breadth first: all pixels of a ring at once, in the order in which a queue would hand them out.
    """
    height, width = labels.shape
    wide = np.zeros((height + 2, width + 2), labels.dtype)  # a border that no mask holds
    wide[1:-1, 1:-1] = labels
    flat = wide.ravel()
    around = np.array([-(width + 2), 1, width + 2, -1])  # above, right, below, left
    for mask in masks:
        free = np.zeros(wide.shape, bool)
        free[1:-1, 1:-1] = mask
        free = free.ravel() & (flat == 0)
        front = np.flatnonzero(flat)
        while len(front):
            reached = (front[:, None] + around).ravel()
            owners = np.repeat(flat[front], len(around))
            open_, owners = reached[free[reached]], owners[free[reached]]
            front, first = np.unique(open_, return_index=True)
            order = np.argsort(first)
            front, first = front[order], first[order]
            flat[front] = owners[first]
            free[front] = False
    return flat.reshape(wide.shape)[1:-1, 1:-1]
