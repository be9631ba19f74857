"""Words that run upwards or downwards beside level ones, looked at once more where they are level.

    boxes of a page ─► high ones, fewer than wide ones ─► the part of the page around them, turned ─► wide ones there
                    ─► in place of those that they cover

A detector that has seen little but level print finds pieces of the label of an axis, or signs beside it; on the turned
page it finds its words. `serving.graph_upwards` does the same in TensorFlow.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from zoo import geometry

TALL = 1.5  # height over width from which a box may hold text that runs upwards or downwards
LONG, HIGH = 1.3, 0.7  # median heights of wide boxes that such text is long and high at least
ACROSS, ALONG = 2.0, 3.0  # around it, in its median height and length
BEHIND, ASIDE, AS_HIGH = 1.0, 0.4, 1.6  # heights from a wide box to a short word of its line, and how high that may be
WORD = 2.2  # width over height that one word of a part has at least
COVERED = 0.5  # part of a box above which another covers it
LEVEL = 0.3  # the same, of a wide box that is level: what covers it is no word
TOUCHED, WITHIN = 0.05, 0.7  # the same, of letters: one lies within a word, or hardly in it; lines of text cross it
NARROW, FAR = 1.2, 6.0  # but in line with words, so many heights away, if none is wider than so many times its height
LINKS = 3  # of a line: so many words one after the other that are so far from each other


class Part(NamedTuple):
    """A part of a page, in its pixels; the median height of text that runs upwards in it, and of level text."""

    left: int
    top: int
    right: int
    bottom: int
    height: float
    usual: float


def part(boxes: np.ndarray, size: tuple[int, int]) -> Part | None:
    """The part of a page of (height, width) to look at turned, by the boxes (N, 4, 2) that were found; None of most."""
    level, tall, usual = _kinds(boxes)
    if not 0 < tall.sum() < level.sum():
        return None
    wide, high = geometry.sides(boxes[tall])
    margin = np.array([ACROSS * np.median(wide), ALONG * np.median(high)])
    middle, x = boxes[..., 0].mean(1)[:, None], boxes[tall, :, 0]
    near = ((x.min(1) <= middle) & (middle <= x.max(1))).any(1)
    lines = boxes[~level & near]  # high boxes, and what is no level word above or below them
    left, top = np.floor(lines.min((0, 1)) - margin).clip(0).astype(int).tolist()
    right, bottom = np.ceil(lines.max((0, 1)) + margin).clip(0, size[::-1]).astype(int).tolist()
    return Part(left, top, right, bottom, float(np.median(wide)), usual)


def widened(part: Part, size: tuple[int, int], pixels: float) -> Part:
    """The whole page of (height, width) in place of a part of it, if it has no more pixels than that: other lines may
    run upwards that no high box tells."""
    return part._replace(left=0, top=0, right=size[1], bottom=size[0]) if math.prod(size) <= pixels else part


def words(boxes: np.ndarray, usual: float) -> np.ndarray:
    """(N,) bool: which boxes (N, 4, 2) of a turned part are words that are level there: wide ones about as high as
    those of the page usually are, and short ones beside these in their lines."""
    wide, high = geometry.sides(boxes)
    long = (wide > TALL * high) & (high > HIGH * usual)
    return long | _in_line(boxes, 0, high, long, BEHIND)


def taken(boxes: np.ndarray, words: np.ndarray) -> np.ndarray:
    """(M,) bool: which words (M, 4, 2) of a turned part stand for the boxes (N, 4, 2) that they cover, all in pixels of
    the page: those that are plainly words, or where high boxes were, and others in line with them. None does unless
    some are each. What is level and lies in one is a word itself, or one of its letters, where it is in line with
    others, or both plainly a word and where a high box was, and no level word lies across it."""
    level, tall, _ = _kinds(boxes)
    inside, (wide, high) = _inside(boxes, words), geometry.sides(words)
    within, instead = inside[level], np.any(inside[tall] > COVERED, 0)
    free, plain = ~np.any(within > LEVEL, 0), wide > WORD * high
    if not ((free & plain).any() and (free & instead).any()):
        return np.zeros(len(words), bool)
    broad = geometry.sides(boxes[level])[0][:, None] > NARROW * high  # than a letter of the word
    letters = ~np.any((within > LEVEL) & broad, 0) & (wide > high)
    whole = ~np.any((within > TOUCHED) & (broad | (within < WITHIN)), 0)
    found = (free & (plain | instead)) | (whole & plain & instead)
    for _ in range(LINKS):
        found = (free | letters) & _in_line(words, 1, high, found, FAR)
    return found


def covered(boxes: np.ndarray, words: np.ndarray) -> np.ndarray:
    """(N,) bool: which boxes (N, 4, 2) lie in one of the words (M, 4, 2) for the most part."""
    return np.any(_inside(boxes, words) > COVERED, axis=1)


def _kinds(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """(N,) bool each: which boxes (N, 4, 2) are wide, and which may hold text that runs upwards or downwards beside
    these; and the median height of the wide ones."""
    wide, high = geometry.sides(boxes)
    level = wide > TALL * high
    usual = float(np.median(high[level])) if level.any() else math.inf
    return level, (high > TALL * wide) & (high > LONG * usual) & (wide > HIGH * usual), usual


def _in_line(boxes: np.ndarray, axis: int, high: np.ndarray, others: np.ndarray, reach: float) -> np.ndarray:
    """(N,) bool: which boxes (N, 4, 2) stand in a line with one of the `others` (N,) bool among them, which runs along
    an axis: not further than so many heights away, and not much higher, all by the other's height."""
    along, middle = boxes[..., axis], boxes[..., 1 - axis].mean(1)
    first, last, size = along.min(1), along.max(1), high[others]
    gap = np.maximum(first[:, None] - last[others], first[others] - last[:, None])
    aside = np.abs(middle[:, None] - middle[others])
    return np.any((gap < reach * size) & (aside < ASIDE * size) & (high[:, None] < AS_HIGH * size), axis=1)


def _inside(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(N, M): the part of each box (N, 4, 2) that lies in each other one (M, 4, 2), all taken as upright."""
    low, high = np.maximum(boxes.min(1)[:, None], others.min(1)), np.minimum(boxes.max(1)[:, None], others.max(1))
    area = np.prod(boxes.max(1) - boxes.min(1), 1)
    return np.prod((high - low).clip(0), 2) / np.maximum(area, 1e-6)[:, None]
