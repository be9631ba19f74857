"""Pieces of words put together, and words taken apart, by TensorFlow's own operations.

As `zoo.joining` does it, whose names these are.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from serving.graph_language import Table
from zoo.joining import AFTER, BEFORE, DIGIT, LETTER, MARK, OVERLAP, PARALLEL, POINTS, TWICE, UPON, advance, kind


def joined(
    table: Table, pairs: tuple[tf.Tensor, tf.Tensor, tf.Tensor], words: tuple[tf.Tensor, ...]
) -> tuple[tf.Tensor, ...]:
    """Words put together, and (N,) bool whether each is still one.

    Args:
        table: of the language.
        pairs: of `neighbours`, by their places in what follows.
        words: polygons (N, 4, 2) from the top left of their texts, texts, scores, and scores of the detector (N,).
    """
    polygons, texts, scores, sure = words
    left, right, overlap = pairs
    both, fits = together(table, tf.gather(texts, left), tf.gather(texts, right), overlap)
    left, right, both = (tf.boolean_mask(values, fits) for values in (left, right, both))
    ends = tf.scatter_nd(right[:, None], tf.ones_like(right), tf.shape(texts)) > 0
    begins = ~tf.gather(ends, left)  # a third piece stays by itself
    left, right, both = (tf.boolean_mask(values, begins) for values in (left, right, both))

    places, put = left[:, None], tf.tensor_scatter_nd_update
    one, other = tf.gather(polygons, left), tf.gather(polygons, right)
    scores, sure = (
        put(values, places, tf.minimum(tf.gather(values, left), tf.gather(values, right))) for values in (scores, sure)
    )
    kept = tf.scatter_nd(right[:, None], tf.ones_like(right), tf.shape(texts)) == 0
    return put(polygons, places, around(one, other)), put(texts, places, both), scores, sure, kept


def neighbours(boxes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Pairs of boxes (N, 4, 2) of which the second goes on where the first ends: (P,) each, and their overlap."""
    along, down = boxes[:, 1] - boxes[:, 0], boxes[:, 3] - boxes[:, 0]
    high = tf.norm(down, axis=1)
    along /= tf.maximum(tf.norm(along, axis=1, keepdims=True), 1e-6)
    down /= tf.maximum(high, 1e-6)[:, None]
    middles = tf.reduce_mean(boxes, 1)

    def of(corner: int) -> tf.Tensor:
        return tf.matmul(along, boxes[:, corner], transpose_b=True)  # of all boxes, along each

    begin, end = tf.minimum(of(0), of(3)), tf.maximum(of(1), of(2))
    own_begin, own_end = (tf.linalg.diag_part(values)[:, None] for values in (begin, end))
    height = tf.maximum(high[None], high[:, None])
    overlap = (own_end - begin) / height
    across = tf.matmul(down, middles, transpose_b=True)
    aside = tf.abs(across - tf.linalg.diag_part(across)[:, None])
    fits = (
        (overlap > OVERLAP)
        & (overlap < UPON)
        & (aside < height / 2)
        & (tf.matmul(along, along, transpose_b=True) > PARALLEL)
    )
    fits &= (begin > own_begin) & (end > own_end)
    overlap = tf.where(fits, overlap, tf.zeros_like(overlap))
    most = fits & (overlap == tf.reduce_max(overlap, 1, keepdims=True))
    most &= overlap == tf.reduce_max(overlap, 0, keepdims=True)
    pairs = tf.where(most)
    first, second = tf.unstack(tf.cast(pairs, tf.int32), axis=1)
    return first, second, tf.gather_nd(overlap, pairs)


def together(table: Table, left: tf.Tensor, right: tf.Tensor, overlap: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """What pieces (P,) say as one word, and (P,) bool whether they are one."""
    known = _Characters(table)
    last, first = known.at(left, -1), known.at(right, 0)
    ahead, after = (tf.gather(known.kinds, character) for character in (last, first))
    both, once = left + right, left + tf.strings.substr(right, 1, 1 << 20, unit="UTF8_CHAR")
    same = tf.gather(known.folded, last) == tf.gather(known.folded, first)

    of_left, of_right, of_both, of_once = tf.split(known.total(tf.concat([left, right, both, once], 0)), 4)
    letters = (ahead == LETTER) & (after == LETTER)
    digits = (ahead == DIGIT) & (after == DIGIT)
    numbers = known.among(last, POINTS) & (after == DIGIT)
    numbers &= tf.gather(known.kinds, known.at(left, -2)) == DIGIT
    marks = (ahead == MARK) | (after == MARK)
    marks &= known.among(last, BEFORE) | known.among(first, AFTER) | numbers
    doubled = same & tf.where(letters, of_once >= of_both, ~digits | (overlap > TWICE))
    better = tf.where(doubled, of_once, of_both) > of_left + of_right
    return tf.where(doubled, once, both), (letters & better) | digits | marks


def around(one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """(N, 4, 2): the boxes around two (N, 4, 2) each, in the direction of the wider one."""
    widths = [tf.norm(box[:, 1] - box[:, 0], axis=1) for box in (one, other)]
    wider = tf.where((widths[0] >= widths[1])[:, None, None], one, other)
    along = wider[:, 1] - wider[:, 0]
    along /= tf.maximum(tf.norm(along, axis=1, keepdims=True), 1e-6)
    axes = tf.stack([along, tf.stack([-along[:, 1], along[:, 0]], 1)], 1)
    corners = tf.matmul(tf.concat([one, other], 1), axes, transpose_b=True)
    x0, y0 = tf.unstack(tf.reduce_min(corners, 1), axis=1)
    x1, y1 = tf.unstack(tf.reduce_max(corners, 1), axis=1)
    rectangle = tf.stack([x0, y0, x1, y0, x1, y1, x0, y1], 1)
    return tf.matmul(tf.reshape(rectangle, [-1, 4, 2]), axes)


def parted(letters: str, words: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, ...]:
    """What `joined` gives but for the last, one for each word of the texts, and (M,) int32 of which text each is.

    Args:
        letters: the alphabet.
        words: polygons (N, 4, 2) from the top left of their texts, texts, scores, and scores of the detector (N,).
    """
    polygons, texts, scores, sure = words
    points = tf.strings.unicode_decode(texts, "UTF-8").to_tensor(ord(" "))
    points = tf.pad(points, [[0, 0], [0, 1]], constant_values=ord(" "))  # a space after each text
    inside = points != ord(" ")
    before = tf.pad(inside, [[0, 0], [1, 0]])[:, :-1]
    begin = tf.where(inside & ~before)
    end = tf.where(before & ~inside)

    widths = np.ones(max(map(ord, letters), default=0) + 1, "float64")
    widths[list(map(ord, letters))] = list(map(advance, letters))
    own = tf.sequence_mask(tf.strings.length(texts, unit="UTF8_CHAR"), tf.shape(points)[1])
    ends = tf.cumsum(tf.where(own, tf.gather(widths, points), 0), 1, exclusive=True)
    ends /= tf.maximum(ends[:, -1:], 1e-6)
    start, stop = (tf.cast(tf.gather_nd(ends, place), tf.float32)[:, None] for place in (begin, end))

    owner, length = tf.cast(begin[:, 0], tf.int32), tf.cast(end[:, 1] - begin[:, 1], tf.float32)
    count = tf.reduce_sum(tf.cast(inside, tf.float32), 1)
    a, b, c, d = tf.unstack(tf.gather(polygons, owner), axis=1)
    cut = tf.stack([a + start * (b - a), a + stop * (b - a), d + stop * (c - d), d + start * (c - d)], 1)
    part = tf.cast(begin[:, 1], tf.int32), tf.cast(end[:, 1] - begin[:, 1], tf.int32)
    said = tf.strings.substr(tf.gather(texts, owner), *part, unit="UTF8_CHAR")
    score = tf.gather(scores, owner) ** (length / tf.gather(count, owner))
    return cut, said, score, tf.gather(sure, owner), owner


class _Characters:
    """The characters of a recognizer by their code points: kinds, numbers that are alike for both cases, columns."""

    def __init__(self, table: Table):
        self.table = table
        size = max(map(ord, table.letters), default=0) + 1
        folds = {fold: number for number, fold in enumerate(sorted({c.casefold() for c in table.letters}))}
        kinds, folded, columns = np.full(size, MARK), np.full(size, -1), np.full(size, table.end)
        for character, column in zip(table.letters, table.columns.tolist(), strict=False):  # the blank has one, too
            kinds[ord(character)], columns[ord(character)] = kind(character), column
            folded[ord(character)] = folds[character.casefold()]
        self.kinds, self.folded, self.columns = (tf.constant(x, tf.int32) for x in (kinds, folded, columns))

    def at(self, texts: tf.Tensor, place: int) -> tf.Tensor:
        """(N,) code points at a place of texts; at -2 the first one's where there are no two."""
        points, length = self._points(texts)
        index = tf.maximum(length + place, 0) if place < 0 else tf.fill(tf.shape(length), place)
        return tf.gather(points, index, batch_dims=1)

    def among(self, points: tf.Tensor, characters: str) -> tf.Tensor:
        """Whether code points (N,) are those of some characters."""
        return tf.reduce_any(points[:, None] == tf.constant([ord(c) for c in characters])[None], 1)

    def total(self, texts: tf.Tensor) -> tf.Tensor:
        """(N,) as `zoo.language.Language.total`."""
        points, length = self._points(texts)
        columns = tf.where(points < 0, self.table.end, tf.gather(self.columns, tf.maximum(points, 0)))

        def step(place: tf.Tensor, state: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, ...]:
            gain, state = self.table.look(state, columns[:, place])
            return place + 1, state, total + tf.where(place <= length, gain, tf.zeros_like(gain))

        start = (tf.constant(0), tf.zeros_like(length), tf.zeros(tf.shape(length)))
        return tf.while_loop(lambda place, *_: place < tf.shape(columns)[1], step, start)[2]

    def _points(self, texts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """(N, T + 1) code points, -1 after a text's end, and (N,) T of each."""
        points = tf.strings.unicode_decode(texts, "UTF-8").to_tensor(-1)
        return tf.pad(points, [[0, 0], [0, 1]], constant_values=-1), tf.strings.length(texts, unit="UTF8_CHAR")
