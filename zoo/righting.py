"""How a page lies: by a few degrees, told by its boxes; by how many quarter turns, told by how it reads.

What tells of quarter turns are characters that are surely read, for each box.

On pages of print an upright page has two to five of them, one that is upside down at most about one and a half. One
that lies on its side has words that run upwards, or downwards, or, where its lines are taken for columns of single
signs, about a half, or hardly a box. A page that reads well is thus known to be upright for nothing; only one that does
not is looked at again, and little of it at that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from zoo import geometry, image
from zoo.charset import Reading

Find = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
Recognize = Callable[[Sequence[np.ndarray]], Sequence[Reading]]

WELL = 2.0  # sure characters for each box from which a page is upright
ASIDE = 0.8  # below it a page may lie on its side
CLEARLY = 2.0  # so many times as many sure characters another way up must have
ENOUGH = 12.0  # sure characters that it must have at that: of little text, less tells nothing
FEW, WIDE, LEVEL = 30, 1.5, 0.6  # boxes, width over height, and the share of so wide ones: see `_plainly_level`
FEWEST = 8  # boxes by which it is told that a page is upside down, or would read well on its side
WIDEST = 12  # boxes that are read upside down to compare
SAMPLE = 16  # boxes that are read on a page that may lie on its side
ASKEW = 6.0  # degrees by which a page is levelled before it is read
LEAST, TOGETHER, MOST = 6, 4.0, 0.6  # boxes that tell of that, of which such a share is less than so many degrees apart
LARGER = 4  # times as many pixels a page may have when it is level
BAND = 4  # of a page that may lie on its side, a band of this part of its longer side's length is looked at


def slant(boxes: np.ndarray, size: Sequence[int]) -> float:
    """Degrees in (-45, 45) by which a page of (height, width) is turned clockwise, by its boxes (N, 4, 2): most long
    ones are, and few of all are level, as what stands beside slanted names below a chart's axis is. 0 of others, and of
    one so long that it would take too many pixels level."""
    wide, high = geometry.sides(boxes)
    turns = (geometry.angles(boxes) + 45) % 90 - 45
    long = turns[np.maximum(wide, high) > geometry.TELLING * np.minimum(wide, high)]
    if len(long) < LEAST:
        return 0.0
    usual = float(np.median(long))
    agreed, level = np.mean(np.abs(long - usual) < TOGETHER), np.mean(np.abs(turns) < geometry.STRAIGHT)
    if abs(usual) < ASKEW or agreed < MOST or level >= geometry.LEVEL:
        return 0.0
    return usual if math.prod(image.level_size(size, usual)) < LARGER * math.prod(size) else 0.0


def sure(readings: Sequence[Reading]) -> float:
    """Characters that are surely read: each word's count, by what the picture alone gives them."""
    return float(sum(math.prod(reading.characters) * len(reading.text) for reading in readings))


def misread(
    pixels: np.ndarray, boxes: np.ndarray, readings: Sequence[Reading], find: Find, recognize: Recognize
) -> int:
    """By how many quarter turns against the clock a page lies that was read as if it were upright: 0 to 3.

    Args:
        pixels: (H, W, 3) uint8, the page as it was read.
        boxes: (N, 4, 2) float32, what was found.
        readings: of these.
        find: from pixels to boxes and scores.
        recognize: from crops to readings.
    """
    level, up, down = running(boxes, readings)
    if max(up, down) > max(ENOUGH, CLEARLY * level):
        return 1 if up > down else 3
    each = level / max(1, len(boxes))
    if each >= WELL:
        return 0
    if each < ASIDE and not _plainly_level(boxes):
        band = _band(np.rot90(pixels, 1))
        others, _ = find(band)
        count = min(len(others), SAMPLE) if len(others) >= FEWEST else 0
        others = others[np.linspace(0, len(others), count, endpoint=False).astype(int)]
        crops = [image.crop(band, box) for box in others]
        both = recognize([*crops, *(np.rot90(crop, 2) for crop in crops)])
        there, over = sure(both[:count]), sure(both[count:])
        if max(there, over) > max(ENOUGH, len(others) * max(ASIDE, CLEARLY * each)):
            return 3 if there > over else 1
    return 2 if len(boxes) >= FEWEST and _upside_down(pixels, boxes, readings, recognize) else 0


def _plainly_level(boxes: np.ndarray) -> bool:
    """True of few boxes that are mostly wide: on a page on its side words are high, or taken for many single signs."""
    wide, high = geometry.sides(boxes)
    return 0 < len(boxes) < FEW and float(np.mean(wide > WIDE * high)) > LEVEL


def running(boxes: np.ndarray, readings: Sequence[Reading]) -> tuple[float, float, float]:
    """Characters that are surely read of texts that run level, upwards and downwards; boxes begin where texts do."""
    x, y = (boxes[:, 1] - boxes[:, 0]).T
    level = np.abs(x) >= np.abs(y)
    each = np.array([sure([reading]) for reading in readings])
    return float(each[level].sum()), float(each[~level & (y < 0)].sum()), float(each[~level & (y > 0)].sum())


def _upside_down(pixels: np.ndarray, boxes: np.ndarray, readings: Sequence[Reading], recognize: Recognize) -> bool:
    """True if the widest words clearly read better turned by a half."""
    widest = np.argsort(-geometry.sides(boxes)[0], kind="stable")[:WIDEST]
    turned = recognize([np.rot90(image.crop(pixels, boxes[i]), 2) for i in widest])
    return sure(turned) > max(ENOUGH, CLEARLY * sure([readings[i] for i in widest]))


def _band(pixels: np.ndarray) -> np.ndarray:
    """The middle of a page along its longer side: as long, and a part as wide."""
    height, width = pixels.shape[:2]
    side = max(1, max(height, width) // BAND)
    if width >= height:
        start = max(0, (height - side) // 2)
        return np.ascontiguousarray(pixels[start : start + side])
    start = max(0, (width - side) // 2)
    return np.ascontiguousarray(pixels[:, start : start + side])
