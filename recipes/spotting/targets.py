"""What a spotter learns from besides the detector's maps: the words of a crop, and the characters at its pixels."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from recipes.data import datasets
from recipes.data.pages import Page
from recipes.detection.targets import pixels
from recipes.recognition.targets import align
from zoo.charset import Charset
from zoo.reading import columns
from zoo.spotting.ocrnet import HEIGHT

STRIDE = 4  # pixels for one of the map of characters
UNKNOWN = -1
CUT = 0.25  # heights at either end of a word that its box may lack: half of a usual character
UNIT = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)


class Word(NamedTuple):
    """What is to be read, a word or neighbours: its quadrilateral (4, 2), text, the middles of its characters (L, 2) or
    (0, 2), and its number on the page."""

    quad: np.ndarray
    text: str
    middles: np.ndarray
    number: int = 0


def words(page: Page, charset: Charset, longest: int, smallest: float = 6.0) -> list[Word]:
    """The words that lie within a page and can be learnt from.

    Args:
        page: with texts.
        charset: that has all of their characters, or plain ones for them.
        longest: characters at most.
        smallest: pixels of their sides at least.
    """
    limit = np.array(page.image.shape[1::-1])
    none = np.zeros((0, 2), np.float32)
    found = []
    for index, (quad, skipped, text) in enumerate(zip(page.polygons, page.ignore, page.texts, strict=True)):
        inside = (quad > -2).all() and (quad < limit + 2).all()
        large = np.linalg.norm(np.roll(quad, -1, 0) - quad, axis=1).min() >= smallest
        text = charset.typed(text)
        if inside and large and not skipped and 0 < len(text) <= longest and charset.plain(text) == text:
            found.append(Word(quad, text, page.middles[index] if page.middles else none, index))
    return found


def spans(found: Sequence[Word], longest: int) -> list[Word]:
    """Each two words (`words`) that stand beside each other in a line, as one of at most `longest` characters."""
    pairs = []
    for left, right in itertools.pairwise(found):
        text = f"{left.text} {right.text}"
        if right.number != left.number + 1 or len(text) > longest or not datasets.beside(left.quad, right.quad):
            continue
        middles = np.zeros((0, 2), np.float32)
        if len(left.middles) and len(right.middles):
            space = (left.quad[[1, 2]].mean(0) + right.quad[[0, 3]].mean(0)) / 2
            middles = np.concatenate([left.middles, space[None], right.middles])
        pairs.append(Word(datasets.spanned(left.quad, right.quad), text, middles, left.number))
    return pairs


def wide(words: Sequence[Word], widest: int) -> np.ndarray:
    """(N,) int: columns of the views of words, `widest` at most."""
    return columns(np.reshape([word.quad for word in words], (-1, 4, 2)).astype(np.float32), HEIGHT, widest)


def moved(quad: np.ndarray, error: np.ndarray) -> np.ndarray:
    """A quadrilateral (4, 2) whose corners are off by `error` (4, 2), in heights: along its upper edge, and down."""
    along, down = _frame(quad)
    height = np.linalg.norm(quad[3] - quad[0])
    return (quad + height * (error[:, :1] * along + error[:, 1:] * down)).astype(np.float32)


def error(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """How the corners of one quadrilateral are off those of another, as `moved` takes it."""
    along, down = _frame(true)
    height = max(float(np.linalg.norm(true[3] - true[0])), 1e-3)
    difference = (found - true) / height
    return np.stack([difference @ along, difference @ down], 1).astype(np.float32)


def whole(error: np.ndarray) -> bool:
    """Whether a quadrilateral that is so far off a word's (`error`) holds all of it, but for `CUT` at either end."""
    return bool(error[[0, 3], 0].max() <= CUT and error[[1, 2], 0].min() >= -CUT)


def _frame(quad: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors (2,) along the upper edge, and at a right angle to it."""
    along = (quad[1] - quad[0]) / max(float(np.linalg.norm(quad[1] - quad[0])), 1e-6)
    return along, np.array([-along[1], along[0]], np.float32)


def strips(chosen: Sequence[Word], quads: Sequence[np.ndarray], charset: Charset, count: int, widest: int) -> dict:
    """The words of a crop, `count` of them; what is missing has length 0.

    Args:
        chosen: at most `count`.
        quads: where they are looked for: their own quadrilaterals, or others.
        charset: of the ids.
        widest: columns of a view at most.

    Returns:
        "words" (N, 4, 2) and "columns" (N, widest) float32, which the network is told; "ids" (N, longest) int32, padded
        with the blank, "length" (N,) int32; "frames" (N, widest / 2) int32 and "aligned" (N,) float32, as
        `recipes.losses.frames` takes them.
    """
    labels = [charset.encode(word.text) for word in chosen]
    longest = max([2, *map(len, labels)])
    result = {
        "words": np.zeros((count, 4, 2), np.float32),
        "columns": np.zeros((count, widest), np.float32),
        "ids": np.full((count, longest), charset.blank, np.int32),
        "length": np.zeros(count, np.int32),
        "frames": np.full((count, widest // 2), charset.blank, np.int32),
        "aligned": np.zeros(count, np.float32),
    }
    wanted = columns(np.reshape(quads, (-1, 4, 2)).astype(np.float32), HEIGHT, widest)
    for row, (word, quad, label, width) in enumerate(zip(chosen, quads, labels, wanted, strict=True)):
        result["words"][row] = quad
        result["columns"][row, :width] = 1
        result["ids"][row, : len(label)] = label
        result["length"][row] = len(label)
        if len(word.middles):
            across = cv2.perspectiveTransform(word.middles[None], cv2.getPerspectiveTransform(quad, UNIT))[0, :, 0]
            result["aligned"][row] = align(across * width // 2, label, result["frames"][row])
    return result


def characters(page: Page, charset: Charset) -> np.ndarray:
    """(H/4, W/4) int32: at the middle of each character its id, elsewhere the blank, `UNKNOWN` in words of which no
    middles are known."""
    height, width = (side // STRIDE for side in page.image.shape[:2])
    result = np.full((height, width), charset.blank, np.int32)
    for index, (quad, skipped) in enumerate(zip(page.polygons, page.ignore, strict=True)):
        text = page.texts[index] if page.texts else ""
        middles = page.middles[index] if page.middles else np.zeros((0, 2), np.float32)
        if skipped or not len(middles) or charset.plain(text) != text:
            cv2.fillPoly(result, [pixels(quad / STRIDE)], UNKNOWN)
            continue
        for (x, y), label in zip(middles // STRIDE, charset.encode(text), strict=True):
            if 0 <= y < height and 0 <= x < width:
                result[int(y), int(x)] = label
    return result
