"""Pieces of words that were found apart, put together again, and words that were found together, taken apart.

    boxes ─► those that run into each other along a line ─► a box around both, read beside them ─► whole words
    texts with spaces ─► their words, each with its part of the box
    letters far apart in a line, as in headings ─► words

Words stand apart on paper. Of boxes that run into each other many are pieces of one word, cut where its letters stand
wide or one is faint, and many are two words in tight print. A recognizer that knows spaces tells them apart, since it
sees both at once. `serving.graph_joining` does the same in TensorFlow.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from zoo import geometry
from zoo.charset import Reading
from zoo.geometry import SLANTED
from zoo.upwards import TALL

OVERLAP = 0.02  # above which boxes run into each other, parts of the greater height
GAP = 0.5  # between boxes of texts that are not level, which are cut more often, in the same
LEVEL = 0.95  # least cosine between the direction of a level text and a page's rows
UPON = 1.0  # from which they lie upon each other, and neither goes on
PARALLEL = 0.97  # least cosine between the directions of their texts
SURE = 0.8  # least score of a whole word, that it stands for its pieces
LONGEST = 32  # characters of a piece that two readings may have in common
ROWS = 128  # boxes that are compared with all at once

APART = 1.0  # greater heights between the letters of a word at most
SPACED = 0.65  # heights from which a usual character is wide where letters are spaced
TURNED = 0.9  # least cosine between the directions of letters, whose boxes hardly tell it
MORE = 0.3  # heights that words are further apart than letters in the mean
LEAST = 4  # letters of a line that are far apart, at least
FIGURES = "1|058"  # what single letters are taken for
CAPITALS, SMALL = "IIOSB", "llosg"

NARROW, WIDE = frozenset("iljI1.,:;'!|`()[]{}ftr-\"/\\ "), frozenset("mwMW@%&ŒÆœæ—")  # characters beside others


def candidates(boxes: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What is to be read of a page: its boxes, and those around two of them that may be pieces of one word.

    Args:
        boxes: (N, 4, 2) from the top left of their texts.
        scores: (N,) of the detector.

    Returns:
        boxes (N + P, 4, 2), scores (N + P,), of two the less, and halves (N + P, 2) int: the places of the two that a
        box is around; -1 of those that were found.
    """
    along = lengthwise(boxes)
    halves = np.stack(neighbours(along), 1)
    first, second = halves.T
    whole = around(along[first], along[second])
    halves = np.concatenate([np.full((len(boxes), 2), -1), halves])
    scores = np.concatenate([scores, np.minimum(scores[first], scores[second])])
    return np.concatenate([boxes, whole]), scores, halves


def joined(
    boxes: np.ndarray, scores: np.ndarray, readings: Sequence[Reading], halves: np.ndarray
) -> tuple[np.ndarray, np.ndarray, list[Reading]]:
    """The words of a page, by what was read of each of its candidates: boxes (M, 4, 2), scores (M,), readings.

    Two pieces are one word if together they are surely read without a space. A third one is a part of it if the second
    and it are, too, and what is read of these begins as the word ends: of "Descr", "ipt", "ion" there are "Descript"
    and "iption". A fourth piece stays by itself.

    Args:
        boxes, scores, halves: of the candidates, as `candidates` has them.
        readings: of each.
    """
    chosen, onward = kept(readings, halves)
    boxes, scores, words = boxes.copy(), scores.copy(), list(readings)
    for place in np.flatnonzero(onward >= 0).tolist():
        begun, rest = readings[place], readings[onward[place]]
        common = overlap(begun.text, rest.text)
        characters = begun.characters + rest.characters[common:]
        words[place] = Reading(begun.text + rest.text[common:], min(begun.score, rest.score), characters)
        boxes[place] = around(boxes[place][None], boxes[onward[place]][None])[0]
        scores[place] = min(scores[place], scores[onward[place]])
    places = np.flatnonzero(chosen)
    return boxes[places], scores[places], [words[place] for place in places]


def kept(readings: Sequence[Reading], halves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N + P,) bool: which of the candidates are words; and (N + P,) int: the pair by which a word goes on, or -1."""
    whole = halves[:, 0] >= 0
    whole &= np.array([bool(r.text) and " " not in r.text and r.score >= SURE for r in readings], bool)
    begun_by = np.full(len(halves), -1)
    begun_by[halves[whole, 0]] = np.flatnonzero(whole)
    words = whole & ~np.isin(halves[:, 0], halves[whole, 1])
    onward = np.where(words, begun_by[halves[:, 1]], -1)
    for word in np.flatnonzero(onward >= 0).tolist():
        if not overlap(readings[word].text, readings[onward[word]].text):
            onward[word] = -1
    result = halves[:, 0] < 0
    result[halves[words].ravel()] = False
    result[halves[onward[onward >= 0]].ravel()] = False
    return result | words, onward


def overlap(text: str, rest: str) -> int:
    """Characters with which a text ends, and the rest of it begins, at most `LONGEST`."""
    most = min(len(text), len(rest), LONGEST)
    return next((count for count in range(most, 0, -1) if text.endswith(rest[:count])), 0)


def lengthwise(boxes: np.ndarray) -> np.ndarray:
    """Boxes (N, 4, 2), slanted ones from where text begins that runs to the right along their longer side.

    At 45 degrees chance tells which side of a label is its upper one, and a turned page shows the other end first.
    """
    (wide, high), degrees = geometry.sides(boxes), geometry.angles(boxes)
    tall = (high > TALL * wide) & (np.abs(degrees) > SLANTED)
    turns = np.where(tall, np.sign(degrees).astype(int), 2 * (np.abs(degrees) > 90 + SLANTED))
    return boxes[np.arange(len(boxes))[:, None], (np.arange(4) - turns[:, None]) % 4]


def neighbours(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of boxes (N, 4, 2) of which the second goes on where the first ends: (P,) places of each.

    They overlap along the first one's text, or stand close if that is not level; of several pairs that hold a box as
    first, or as second, there is that which overlaps most, in parts of the greater height.
    """
    parts, least = [], np.where(_level(boxes), OVERLAP, -GAP)[:, None]
    for start in range(0, len(boxes), ROWS):
        rows = np.arange(start, min(start + ROWS, len(boxes)))
        overlap, line = _beside(boxes, rows)
        first, second = np.nonzero((overlap > least[rows]) & (overlap < UPON) & (line > PARALLEL))
        parts.append((first + start, second, overlap[first, second]))
    if not parts:
        return np.zeros(0, int), np.zeros(0, int)
    first, second, overlap = (np.concatenate(values) for values in zip(*parts, strict=True))
    best = np.full((2, len(boxes)), -np.inf, "float32")
    np.maximum.at(best[0], first, overlap)
    np.maximum.at(best[1], second, overlap)
    most = (overlap == best[0][first]) & (overlap == best[1][second])
    return first[most], second[most]


def _level(boxes: np.ndarray) -> np.ndarray:
    """(N,) bool: whether the texts of boxes (N, 4, 2) run along a page's rows."""
    along = boxes[:, 1] - boxes[:, 0]
    return np.abs(along[:, 0]) >= LEVEL * np.linalg.norm(along, axis=1)


def _beside(boxes: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(R, N) float32: how far each box (N, 4, 2) overlaps those of `rows` (R,) along their texts, in parts of the
    greater height; and the cosine between the directions of both, -1 where it is not in their line, or not after them.
    """
    boxes = boxes.astype("float32")
    along, down = boxes[:, 1] - boxes[:, 0], boxes[:, 3] - boxes[:, 0]
    high = np.linalg.norm(down, axis=1)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-6)
    down /= np.maximum(high, 1e-6)[:, None]
    middles = boxes.mean(1)
    ends = np.einsum("npc,mc->mnp", boxes, along[rows])  # of all boxes' corners, along each of these rows
    begin, end = ends[..., [0, 3]].min(2), ends[..., [1, 2]].max(2)
    own = np.arange(len(rows)), rows
    height = np.maximum(high[None], high[rows, None])
    aside = np.abs((middles @ down[rows].T).T - (middles[rows] * down[rows]).sum(1)[:, None])
    after = (aside < height / 2) & (begin > begin[own][:, None]) & (end > end[own][:, None])
    return (end[own][:, None] - begin) / height, np.where(after, along[rows] @ along.T, -1)


def around(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(P, 4, 2): the boxes around two (P, 4, 2) each, in the direction of the wider one."""
    widths = [np.linalg.norm(box[:, 1] - box[:, 0], axis=1) for box in (one, other)]
    wider = np.where((widths[0] >= widths[1])[:, None, None], one, other).astype("float64")
    along = wider[:, 1] - wider[:, 0]
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-6)
    axes = np.stack([along, np.stack([-along[:, 1], along[:, 0]], 1)], 1)
    corners = np.concatenate([one, other], 1) @ axes.transpose(0, 2, 1)
    (x0, y0), (x1, y1) = corners.min(1).T, corners.max(1).T
    return (np.stack([x0, y0, x1, y0, x1, y1, x0, y1], 1).reshape(-1, 4, 2) @ axes).astype(one.dtype)


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


def closed_up(
    boxes: np.ndarray, scores: np.ndarray, readings: Sequence[Reading]
) -> tuple[np.ndarray, np.ndarray, list[Reading]]:
    """Words, those among them whose letters stand far apart, as in headings, each in one: boxes, scores, readings.

    Letters follow each other in a line, with nothing between them, most of them found one by one. They are parted where
    they stand clearly further apart than in the mean of their line. A word's score is the geometric mean of its pieces'
    by their characters; figures that look like letters are letters, all of them capitals where most are.

    Args:
        boxes: (N, 4, 2) from the top left of their texts.
        scores: (N,) of the detector.
        readings: N, without spaces.
    """
    pieces = np.array([i for i, reading in enumerate(readings) if _spaced(boxes[i], reading.text)], int)
    if len(pieces) < LEAST / 2:
        return boxes, scores, list(readings)
    before, gaps = _before(boxes, pieces)
    roots, _ = _chains(before)
    texts = [readings[piece].text for piece in pieces]
    long = np.array([len(text) for text in texts])
    letters = np.array([sum(map(str.isalpha, text)) for text in texts])
    linked = before >= 0

    def of_chain(values: np.ndarray) -> np.ndarray:
        return np.bincount(roots, values, len(roots))[roots]

    one_by_one = 2 * of_chain(long == 1) >= np.maximum(of_chain(np.ones(len(roots))), LEAST)
    whole = one_by_one & (of_chain(long) >= LEAST) & (3 * of_chain(letters) >= 2 * of_chain(long))
    usual = of_chain(gaps * linked) / np.maximum(of_chain(linked), 1)
    roots, places = _chains(np.where(whole & (gaps <= usual + MORE), before, -1))
    order = np.lexsort((places, roots))
    words = np.split(pieces[order], np.flatnonzero(np.diff(roots[order])) + 1)
    words = [word for word in words if len(word) > 1]
    boxes, scores, result = boxes.copy(), scores.copy(), list(readings)
    kept = np.ones(len(boxes), bool)
    for word in words:
        kept[word[1:]] = False
        boxes[word[0]] = _around_all(boxes[word])
        scores[word[0]] = scores[word].min()
        result[word[0]] = _whole([readings[piece] for piece in word])
    places = np.flatnonzero(kept)
    return boxes[places], scores[places], [result[place] for place in places]


def _spaced(box: np.ndarray, text: str) -> bool:
    """Whether a box may hold spaced letters: one, or some that are wide for their height."""
    if not text or not all(character.isalpha() or character in FIGURES for character in text):
        return False
    wide, high = np.linalg.norm(box[1] - box[0]), np.linalg.norm(box[3] - box[0])
    return len(text) == 1 or bool(wide >= SPACED * high * sum(map(advance, text)))


def _before(boxes: np.ndarray, pieces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each piece (M,) the place of that before it, -1 where there is none; and how far they are apart, in heights.

    Nothing stands between them: a piece is before another if of all boxes (N, 4, 2) that is the next.
    """
    overlap, line = _beside(boxes, pieces)
    overlap = np.where((line > TURNED) & (overlap > -APART) & (overlap < UPON / 2), overlap, -np.inf)
    following, most = overlap.argmax(1), overlap.max(1)
    place = np.full(len(boxes), -1)
    place[pieces] = np.arange(len(pieces))
    after = np.where(most > -np.inf, place[following], -1)
    pairs = np.full((len(pieces), len(pieces)), -np.inf, "float32")
    pairs[after >= 0, after[after >= 0]] = most[after >= 0]
    nearest = pairs.max(0)
    linked = nearest > -np.inf
    return np.where(linked, pairs.argmax(0), -1), np.where(linked, -nearest, 0)


def _chains(before: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(M,) the first of each one's chain, and its place there, by the one before it, -1 where there is none."""
    roots = np.where(before >= 0, before, np.arange(len(before)))
    places = (before >= 0).astype(int)
    for _ in range(len(before).bit_length()):  # pointers jump to the pointers' aims
        roots, places = roots[roots], places + places[roots]
    return roots, places


def _around_all(boxes: np.ndarray) -> np.ndarray:
    """(4, 2): the box around several, in the direction from the middle of the first to that of the last."""
    along = (boxes[-1].mean(0) - boxes[0].mean(0)).astype("float64")
    along /= max(float(np.linalg.norm(along)), 1e-6)
    axes = np.stack([along, [-along[1], along[0]]])
    corners = boxes.reshape(-1, 2) @ axes.T
    (x0, y0), (x1, y1) = corners.min(0), corners.max(0)
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]) @ axes


def _whole(pieces: Sequence[Reading]) -> Reading:
    """The reading of spaced letters by those of its pieces."""
    text = "".join(piece.text for piece in pieces)
    capitals = 2 * sum(map(str.isupper, text)) > sum(map(str.isalpha, text))
    text = text.translate(str.maketrans(FIGURES, CAPITALS if capitals else SMALL))
    if capitals:
        text = "".join(c.upper() if len(c.upper()) == 1 else c for c in text)
    logs = sum(len(piece.text) * np.log(max(piece.score, 1e-30)) for piece in pieces)
    return Reading(text, float(np.exp(logs / len(text))), sum((piece.characters for piece in pieces), ()))
