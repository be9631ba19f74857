"""Bands of a page, which are looked at one after the other where its text is too small for one look.

    boxes of a first look → the part of the page that holds them → cuts between its lines → bands, which overlap

A detector sees a page fitted into a square; fine print is then a few pixels high, and words run into each other. Seen
from closer the page has more pixels than the network should hold at once, so it is cut into bands of about as many as
the first look had, or as a card says. `serving.graph_bands` cuts the same bands in TensorFlow.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np

MOST = 2.0  # times as close as at first, where a card says nothing else
MARGIN = 4.0  # around the boxes of the first look, in their heights
OVERLAP = 2.0  # of bands, in the same, above and below
LONG, PART = 3.0, 2048  # length over width from which a page is looked at in parts; pixels of a part at least
STRAY = 0.25  # how far a cut may lie from where bands would be equal, parts of a band


class Band(NamedTuple):
    """A part of a page, in its pixels.

    Attributes:
        left, top, right, bottom: what is looked at.
        low, high: what of it counts: boxes whose middle is not above the first, and above the second.
    """

    left: int
    top: int
    right: int
    bottom: int
    low: float
    high: float


class Part(NamedTuple):
    """A part of a long page, along its longer side, in its pixels: what is looked at, and what of it counts."""

    start: int
    stop: int
    low: float
    high: float


def parts(size: tuple[int, int]) -> list[Part]:
    """The parts in which a page of (height, width) is looked at: one, unless it is long beyond measure.

    They overlap by a quarter, and boxes count in the part in whose share their middles lie.
    """
    long, short = max(size), min(size)
    length = max(2 * short, PART)
    if long <= max(LONG * short, 1.5 * PART):
        return [Part(0, long, -math.inf, math.inf)]
    count = math.ceil((long - length // 4) / (length - length // 4))
    starts = [round(number * (long - length) / (count - 1)) for number in range(count)]
    cuts = [(before + length + after) / 2 for before, after in itertools.pairwise(starts)]
    edges = [-math.inf, *cuts, math.inf]
    return [Part(start, start + length, *share) for start, share in zip(starts, itertools.pairwise(edges), strict=True)]


def height(boxes: np.ndarray) -> float:
    """The median height of boxes (N, 4, 2) whose corners go clockwise from the top left; N is 1 at least."""
    return float(np.median(np.linalg.norm(boxes[:, 3] - boxes[:, 0], axis=1)))


def middles(boxes: np.ndarray) -> np.ndarray:
    """(N,) float64 how far down the middle of each box (N, 4, 2) lies."""
    return boxes[..., 1].astype(float).mean(1)


def bands(boxes: np.ndarray, size: tuple[int, int], factor: float, room: int) -> list[Band]:
    """The bands that hold the text of a page, from above.

    Args:
        boxes: (N, 4, 2) of a first look, one at least, in pixels of the page.
        size: of the page, height and width.
        factor: by which a band is enlarged to be looked at.
        room: pixels that an enlarged band may have, but for overlaps.
    """
    unit = height(boxes)
    left, top = (max(0, math.floor(side - MARGIN * unit)) for side in boxes.min((0, 1)).tolist())
    right, bottom = (
        min(limit, math.ceil(side + MARGIN * unit))
        for limit, side in zip(size[::-1], boxes.max((0, 1)).tolist(), strict=True)
    )
    count = max(1, math.ceil((right - left) * (bottom - top) * factor**2 / room))
    ordered, step = np.sort(middles(boxes)), (bottom - top) / count
    cuts = [_between(ordered, top + number * step, STRAY * step) for number in range(1, count)]
    edges = [float(top), *cuts, float(bottom) + 1]
    return [
        Band(
            left,
            max(top, math.floor(low - OVERLAP * unit)),
            right,
            min(bottom, math.ceil(high + OVERLAP * unit)),
            low,
            high,
        )
        for low, high in itertools.pairwise(edges)
    ]


def _between(ordered: np.ndarray, cut: float, stray: float) -> float:
    """Where the gap between sorted middles of boxes is widest around a cut, which has it where there are none."""
    near = ordered[np.abs(ordered - cut) <= stray]
    if len(near) < 2:
        return cut
    place = int(np.diff(near).argmax())
    return float((near[place] + near[place + 1]) / 2)
