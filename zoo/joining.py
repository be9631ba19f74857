"""Pieces of words that were found apart, put together again, and words that were found together, taken apart.

    boxes ─► pairs that run into each other along a line ─► what they say as one word ─► fewer boxes, longer texts
    texts with spaces ─► their words, each with its part of the box

Words stand apart on paper. Boxes that run into each other are mostly pieces of one word, cut where its letters stand
wide or one is faint. Letters are put together where the language gains by it, digits always, marks where they cling to
a word. `serving.graph_joining` does the same in TensorFlow.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from zoo import geometry
from zoo.charset import Reading
from zoo.language import Language

OVERLAP = 0.08  # from which boxes run into each other, parts of the greater height
UPON = 1.0  # from which they lie upon each other, and neither goes on
TWICE = 0.3  # from which both have seen the digit at which they meet
PARALLEL = 0.97  # least cosine between the directions of their texts
BEFORE, AFTER = "(\"'-/[", ",.:;!?)'\"-/%]"  # marks that cling to what follows, and to what came before
POINTS = ".,"  # marks that cling to digits on both sides
ROWS = 128  # boxes that are compared with all at once

MARK, DIGIT, LETTER = range(3)
NARROW, WIDE = frozenset("iljI1.,:;'!|`()[]{}ftr-\"/\\ "), frozenset("mwMW@%&ŒÆœæ—")  # characters beside others


def kind(character: str) -> int:
    """Whether a character is a letter, a digit, or anything else."""
    return LETTER if character.isalpha() else DIGIT if character.isdecimal() else MARK


def joined(
    boxes: np.ndarray, scores: np.ndarray, readings: Sequence[Reading], language: Language
) -> tuple[np.ndarray, np.ndarray, list[Reading]]:
    """The boxes (N, 4, 2) of a page from the top left of their texts, their scores (N,), and readings, put together.

    A word of two pieces is as sure as the less sure one. What is empty stays as it is, and a third piece by itself.
    """
    texts = [reading.text for reading in readings]
    said = np.flatnonzero([bool(text) for text in texts])
    left, right, overlap = neighbours(boxes[said])
    found = {
        int(said[i]): (int(said[j]), text)
        for i, j, most in zip(left, right, overlap, strict=True)
        if (text := together(texts[said[i]], texts[said[j]], float(most), language)) is not None
    }
    ends = {j for j, _ in found.values()}
    boxes, scores, result, gone = boxes.copy(), scores.copy(), list(readings), set()
    for i, (j, text) in found.items():
        if i in ends:
            continue
        first, second = readings[i], readings[j]
        both = first.characters + second.characters[len(first.text) + len(second.text) - len(text) :]
        result[i] = Reading(text, min(first.score, second.score), both)
        boxes[i], scores[i] = around(boxes[i], boxes[j]), min(scores[i], scores[j])
        gone.add(j)
    kept = [i for i in range(len(result)) if i not in gone]
    return boxes[kept], scores[kept], [result[i] for i in kept]


def neighbours(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of boxes (N, 4, 2) of which the second goes on where the first ends: (P,) each, and their overlap.

    The overlap is along the first one's text, in parts of the greater height; of several pairs that hold a box as
    first, or as second, that which overlaps most.
    """
    boxes = boxes.astype("float32")
    along, down = boxes[:, 1] - boxes[:, 0], boxes[:, 3] - boxes[:, 0]
    high = np.linalg.norm(down, axis=1)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-6)
    down /= np.maximum(high, 1e-6)[:, None]
    middles = boxes.mean(1)
    parts = []
    for start in range(0, len(boxes), ROWS):
        of = slice(start, start + ROWS)
        ends = np.einsum("npc,mc->mnp", boxes, along[of])  # of all boxes' corners, along each of these rows
        begin, end = ends[..., [0, 3]].min(2), ends[..., [1, 2]].max(2)
        row = np.arange(len(ends))
        own = row, row + start
        height = np.maximum(high[None], high[of, None])
        overlap = (end[own][:, None] - begin) / height
        aside = np.abs((middles @ down[of].T).T - (middles[of] * down[of]).sum(1)[:, None])
        fits = (overlap > OVERLAP) & (overlap < UPON) & (aside < height / 2) & (along[of] @ along.T > PARALLEL)
        fits &= (begin > begin[own][:, None]) & (end > end[own][:, None])
        first, second = np.nonzero(fits)
        parts.append((first + start, second, overlap[first, second]))
    if not parts:
        return np.zeros(0, int), np.zeros(0, int), np.zeros(0, "float32")
    first, second, overlap = (np.concatenate(values) for values in zip(*parts, strict=True))
    best = np.zeros((2, len(boxes)), "float32")
    np.maximum.at(best[0], first, overlap)
    np.maximum.at(best[1], second, overlap)
    most = (overlap == best[0][first]) & (overlap == best[1][second])
    return first[most], second[most], overlap[most]


def together(left: str, right: str, overlap: float, language: Language) -> str | None:
    """What two pieces say as one word; None if they are two. A character that both have seen is there once."""
    last, first = left[-1], right[0]
    kinds = kind(last), kind(first)
    both, once = left + right, left + right[1:]
    same = last.casefold() == first.casefold()
    if kinds == (LETTER, LETTER):
        text = once if same and language.total(once) >= language.total(both) else both
        return text if language.total(text) > language.total(left) + language.total(right) else None
    if kinds == (DIGIT, DIGIT):
        return once if same and overlap > TWICE else both
    numbers = last in POINTS and kinds[1] == DIGIT and kind(left[-2:][0]) == DIGIT
    if MARK in kinds and (last in BEFORE or first in AFTER or numbers):
        return once if same else both
    return None


def around(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(4, 2): the box around two (4, 2), in the direction of the wider one."""
    widths = [np.linalg.norm(box[1] - box[0]) for box in (one, other)]
    wider = (one if widths[0] >= widths[1] else other).astype("float64")
    along = (wider[1] - wider[0]) / max(np.linalg.norm(wider[1] - wider[0]), 1e-6)
    axes = np.array([along, [-along[1], along[0]]])
    corners = np.concatenate([one, other]) @ axes.T
    (x0, y0), (x1, y1) = corners.min(0), corners.max(0)
    return (np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]) @ axes).astype(one.dtype)


def advance(character: str) -> float:
    """How wide a character is in print, an ordinary small letter being 1."""
    return 0.55 if character in NARROW else 1.45 if character in WIDE else 1.15 if character.isupper() else 1.0


def parted(
    boxes: np.ndarray, scores: np.ndarray, readings: Sequence[Reading]
) -> tuple[np.ndarray, np.ndarray, list[Reading]]:
    """Boxes (N, 4, 2) from the top left of their texts, their scores (N,), and readings, one for each word.

    A text with spaces is several words. Each has that part of the box which its characters should take, and that part
    of the reading's score, as a product, which is its share of the characters.
    """
    if not any(" " in reading.text for reading in readings):
        return boxes, scores, list(readings)
    parts = [part for i, reading in enumerate(readings) for part in _words(i, reading)]
    owners = np.array([i for i, *_ in parts], int)
    start, stop = (np.array([part[side] for part in parts], "float32").reshape(-1, 1) for side in (2, 3))
    return geometry.part(boxes[owners], start, stop), scores[owners], [reading for _, reading, *_ in parts]


def _words(owner: int, reading: Reading) -> list[tuple[int, Reading, float, float]]:
    """The words of a reading, with its number, and where each begins and ends in parts of the box's width."""
    if " " not in reading.text:
        return [(owner, reading, 0.0, 1.0)]
    ends = np.cumsum([0.0, *map(advance, reading.text)])
    ends, count = ends / ends[-1], len(reading.text.replace(" ", ""))
    words = []
    for found in re.finditer("[^ ]+", reading.text):
        first, last = found.span()
        score = reading.score ** ((last - first) / count)
        word = Reading(found[0], score, reading.characters[first:last])
        words.append((owner, word, float(ends[first]), float(ends[last])))
    return words
