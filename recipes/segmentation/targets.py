"""What a segmenter learns from: pages at one size with the class of each pixel."""

from __future__ import annotations

import cv2
import numpy as np

from recipes.data.documents import LABELS, Regions

BACKGROUND = "background"
NAMES = (BACKGROUND, *LABELS)  # of the classes


def fitted(page: Regions, size: tuple[int, int]) -> Regions:
    """The page as large as `size` lets it be, aspect kept, at the top left of black; classes stay whole numbers."""
    factor = min(size[0] / page.image.shape[0], size[1] / page.image.shape[1])
    height, width = (max(1, round(side * factor)) for side in page.image.shape[:2])
    result = Regions(np.zeros((*size, 3), np.uint8), np.zeros(size, np.uint8))
    result.image[:height, :width] = cv2.resize(page.image, (width, height), interpolation=cv2.INTER_AREA)
    result.classes[:height, :width] = cv2.resize(page.classes, (width, height), interpolation=cv2.INTER_NEAREST)
    return result


def merged(classes: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """Classes by their places in `names`: what has no name of its own there is text, if it is anything.

    Raises:
        ValueError: the names do not begin with the background and the text.
    """
    if names[:2] != NAMES[:2] or set(names) - set(NAMES):
        raise ValueError(f"classes are {', '.join(NAMES)}, or the first two and some others, not {', '.join(names)}")
    places = np.array([names.index(name) if name in names else 1 for name in NAMES], np.uint8)
    return places[classes]
