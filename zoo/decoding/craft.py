"""Words from CRAFT's maps: characters that are linked. Baek et al. 2019, https://arxiv.org/abs/1904.01941,
section 3.3.
"""

from __future__ import annotations

import cv2
import numpy as np

from zoo import geometry


def boxes(
    logits: np.ndarray,
    *,
    stride: float = 2,
    threshold: float = 0.7,
    region_threshold: float = 0.4,
    link_threshold: float = 0.4,
    unclip: float = 0.5,
    min_size: float = 2,
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (N, 4, 2) in pixels of the network's input, and scores (N,): the highest region score in each.

    Args:
        logits: (h, w, 2): how near a pixel is to the middle of a character, and of the gap between two of a word; from
            0 to 1, more or less.
        stride: pixels of the input for one of the map.
        threshold: a word has a pixel whose region score is this.
        region_threshold, link_threshold: from which score of either map a pixel belongs to a word.
        unclip: a word's pixels grow by unclip · area / perimeter; 0.5 leads from a Gaussian's level of 0.4, at two
            thirds of a character's height, back to the whole of it.
        min_size: both sides of a word have this many pixels of the map before it grows.
    """
    region, link = np.clip(logits[..., 0], 0, 1), logits[..., 1]
    mask = ((region >= region_threshold) | (link >= link_threshold)).astype("uint8")
    count, labels = cv2.connectedComponents(mask, connectivity=8)
    peaks = np.zeros(count, "float32")
    np.maximum.at(peaks, labels.ravel(), region.ravel().astype("float32"))
    peaks[0] = 0  # the background
    words = peaks[labels]  # each word's pixels hold its score
    found, scores = geometry.polygons(words, threshold=threshold, box_threshold=0, unclip=unclip, min_size=min_size)
    return found * stride, scores
