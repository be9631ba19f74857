"""Pieces of words put together, and words taken apart, by TensorFlow's own operations.

As `zoo.joining` does it, whose names these are.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from zoo import joining
from zoo.geometry import SLANTED
from zoo.joining import FIGURES, GAP, LEAST, LEVEL, LONGEST, OVERLAP, PARALLEL, SURE, UPON, advance
from zoo.upwards import TALL


def candidates(boxes: tf.Tensor, scores: tf.Tensor, letters: str) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Boxes (N + P, 4, 2), scores (N + P,) and halves (N + P, 2) int32 of what is to be read of a page.

    Args:
        boxes: (N, 4, 2) from the top left of their texts.
        scores: (N,) of the detector.
        letters: of the alphabet; without a space P is 0.
    """
    found = tf.fill([tf.shape(boxes)[0], 2], -1)
    if " " not in letters:
        return boxes, scores, found
    halves = neighbours(lengthwise(boxes))
    first, second = tf.unstack(halves, axis=1)
    less = tf.minimum(tf.gather(scores, first), tf.gather(scores, second))
    return with_pairs(boxes, halves), tf.concat([scores, less], 0), tf.concat([found, halves], 0)


def with_pairs(boxes: tf.Tensor, pairs: tf.Tensor) -> tf.Tensor:
    """(N + P, 4, 2): boxes (N, 4, 2), and those around pairs (P, 2) of them."""
    along = lengthwise(boxes)
    first, second = (tf.gather(along, side) for side in tf.unstack(pairs, axis=1))
    return tf.concat([boxes, around(first, second)], 0)


def lengthwise(boxes: tf.Tensor) -> tf.Tensor:
    """Boxes (N, 4, 2), slanted ones from where text begins that runs to the right along their longer side."""
    edges = tf.norm(tf.roll(boxes, -1, 1) - boxes, axis=2)
    along = (boxes[:, 1] - boxes[:, 0]) + (boxes[:, 2] - boxes[:, 3])
    degrees = tf.atan2(along[:, 1], along[:, 0]) * (180 / math.pi)
    tall = (edges[:, 1] + edges[:, 3] > TALL * (edges[:, 0] + edges[:, 2])) & (tf.abs(degrees) > SLANTED)
    back = 2 * tf.cast(tf.abs(degrees) > 90 + SLANTED, tf.int32)
    turns = tf.where(tall, tf.cast(tf.sign(degrees), tf.int32), back)
    return tf.gather(boxes, (tf.range(4) - turns[:, None]) % 4, axis=1, batch_dims=1)


def joined(
    polygons: tf.Tensor, texts: tf.Tensor, scores: tf.Tensor, sure: tf.Tensor, halves: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """The candidates, those that go on in a third piece together with it, and (N + P,) bool: which of them are words.

    Args:
        polygons, texts, scores, sure: (N + P, 4, 2), (N + P,) each; `sure` of the detector.
        halves: (N + P, 2).
    """
    chosen, onward = kept(texts, scores, halves)
    words = tf.where(onward >= 0)
    first, second = words[:, 0], tf.boolean_mask(onward, onward >= 0)
    begun, rest = tf.gather(texts, first), tf.gather(texts, second)
    common = overlap(begun, rest)
    further = tf.strings.substr(rest, common, tf.strings.length(rest, unit="UTF8_CHAR") - common, unit="UTF8_CHAR")
    whole = tf.strings.join([begun, further])
    polygons = tf.tensor_scatter_nd_update(
        polygons, words, around(tf.gather(polygons, first), tf.gather(polygons, second))
    )
    scores, sure = (
        tf.tensor_scatter_nd_update(x, words, tf.minimum(tf.gather(x, first), tf.gather(x, second)))
        for x in (scores, sure)
    )
    return polygons, tf.tensor_scatter_nd_update(texts, words, whole), scores, sure, chosen


def kept(texts: tf.Tensor, scores: tf.Tensor, halves: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """(N + P,) bool: which of the candidates are words; and (N + P,) int32: the pair by which one goes on, or -1."""
    whole = (halves[:, 0] >= 0) & (scores >= SURE)
    whole &= (tf.strings.length(texts) > 0) & ~tf.strings.regex_full_match(texts, "(?s).* .*")
    ends = _among(tf.boolean_mask(halves[:, 1], whole), tf.shape(texts))
    words = whole & ~tf.gather(ends, tf.maximum(halves[:, 0], 0))
    none = tf.fill(tf.shape(texts), -1)
    pairs = tf.cast(tf.where(whole), tf.int32)
    begun_by = tf.tensor_scatter_nd_update(none, tf.gather(halves[:, 0], pairs), pairs[:, 0])
    onward = tf.where(words, tf.gather(begun_by, tf.maximum(halves[:, 1], 0)), none)
    further = tf.cast(tf.where(onward >= 0), tf.int32)
    places = tf.gather(onward, further[:, 0])
    common = overlap(tf.gather(texts, further[:, 0]), tf.gather(texts, places))
    onward = tf.tensor_scatter_nd_update(onward, further, tf.where(common > 0, places, -1))
    joint = words | _among(tf.boolean_mask(onward, onward >= 0), tf.shape(texts))
    pieces = _among(tf.reshape(tf.boolean_mask(halves, joint), [-1]), tf.shape(texts))
    return (halves[:, 0] < 0) & ~pieces | words, onward


def overlap(texts: tf.Tensor, rests: tf.Tensor) -> tf.Tensor:
    """(N,) int32: characters with which a text ends, and the rest of it begins."""
    counts = tf.range(1, LONGEST + 1)[None] + tf.zeros_like(tf.strings.length(texts))[:, None]  # (N, LONGEST)
    long = tf.strings.length(texts, unit="UTF8_CHAR")[:, None] - counts
    fits = (long >= 0) & (tf.strings.length(rests, unit="UTF8_CHAR")[:, None] >= counts)
    ends, begins = (tf.repeat(x[:, None], LONGEST, 1) for x in (texts, rests))
    ends = tf.strings.substr(ends, tf.maximum(long, 0), counts, unit="UTF8_CHAR")
    begins = tf.strings.substr(begins, tf.zeros_like(counts), counts, unit="UTF8_CHAR")
    return tf.reduce_max(tf.where(fits & (ends == begins), counts, 0), 1)


def _among(places: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    """Bool of a shape (1,): whether each place is among those given."""
    return tf.scatter_nd(places[:, None], tf.ones_like(places), shape) > 0


def neighbours(boxes: tf.Tensor) -> tf.Tensor:
    """(P, 2) int32: pairs of boxes (N, 4, 2) of which the second goes on where the first ends."""
    overlap, line = _beside(boxes, tf.range(tf.shape(boxes)[0]))
    along = boxes[:, 1] - boxes[:, 0]
    least = tf.where(tf.abs(along[:, 0]) >= LEVEL * tf.norm(along, axis=1), OVERLAP, -GAP)[:, None]
    fits = (overlap > least) & (overlap < UPON) & (line > PARALLEL)
    overlap = tf.where(fits, overlap, tf.fill(tf.shape(overlap), -math.inf))
    most = fits & (overlap == tf.reduce_max(overlap, 1, keepdims=True))
    most &= overlap == tf.reduce_max(overlap, 0, keepdims=True)
    return tf.cast(tf.where(most), tf.int32)


def _beside(boxes: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """(R, N): how far each box overlaps those of `rows` (R,) along their texts, in parts of the greater height; and the
    cosine between the directions of both, -1 where it is not in their line, or not after them."""
    along, down = boxes[:, 1] - boxes[:, 0], boxes[:, 3] - boxes[:, 0]
    high = tf.norm(down, axis=1)
    along /= tf.maximum(tf.norm(along, axis=1, keepdims=True), 1e-6)
    down /= tf.maximum(high, 1e-6)[:, None]
    middles = tf.reduce_mean(boxes, 1)
    of_rows, across = tf.gather(along, rows), tf.matmul(tf.gather(down, rows), middles, transpose_b=True)

    def of(corner: int) -> tf.Tensor:
        return tf.matmul(of_rows, boxes[:, corner], transpose_b=True)  # of all boxes, along each

    begin, end = tf.minimum(of(0), of(3)), tf.maximum(of(1), of(2))
    own_begin, own_end, own = (tf.gather(values, rows, batch_dims=1)[:, None] for values in (begin, end, across))
    height = tf.maximum(high[None], tf.gather(high, rows)[:, None])
    after = (tf.abs(across - own) < height / 2) & (begin > own_begin) & (end > own_end)
    line = tf.matmul(of_rows, along, transpose_b=True)
    return (own_end - begin) / height, tf.where(after, line, -tf.ones_like(line))


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

    widths = _by_letter(letters, advance, 1.0)
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


def _by_letter(letters: str, value: Callable[[str], float], other: float) -> np.ndarray:
    """A value of each letter by its code point; `other` of those between."""
    table = np.full(max(map(ord, letters), default=0) + 1, other)
    table[list(map(ord, letters))] = list(map(value, letters))
    return table


def closed_up(letters: str, pages: tf.Tensor, words: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, ...]:
    """Pages and words, those whose letters stand far apart in one.

    Args:
        letters: the alphabet.
        pages: (N,) int32 whose each word is.
        words: polygons (N, 4, 2) from the top left of their texts, texts without spaces, scores, and scores of the
            detector (N,).
    """
    pieces = tf.cast(tf.where(_spaced(letters, *words[:2]))[:, 0], tf.int32)
    return tf.cond(
        2 * tf.size(pieces) < LEAST, lambda: (pages, *words), lambda: _closed_up(letters, pieces, pages, *words)
    )


def _closed_up(letters: str, pieces: tf.Tensor, *words: tf.Tensor) -> tuple[tf.Tensor, ...]:
    pages, polygons, texts, scores, sure = words
    count = tf.size(pieces)
    before, gaps = _before(polygons, pages, pieces)
    linked, (roots, _) = before >= 0, _chains(before)
    said = tf.gather(texts, pieces)
    long = tf.strings.length(said, unit="UTF8_CHAR")

    def of_chain(values: tf.Tensor) -> tf.Tensor:
        return tf.gather(tf.math.unsorted_segment_sum(values, roots, count), roots)

    singles, every = of_chain(tf.cast(long == 1, tf.int32)), of_chain(tf.ones_like(long))
    whole = (2 * singles >= tf.maximum(every, LEAST)) & (of_chain(long) >= LEAST)
    whole &= 3 * of_chain(_counted(letters, str.isalpha, said)) >= 2 * of_chain(long)
    links = tf.cast(linked, gaps.dtype)
    usual = of_chain(gaps * links) / tf.maximum(of_chain(links), 1)
    roots, places = _chains(tf.where(whole & (gaps <= usual + joining.MORE), before, -1))

    order = tf.argsort(roots * count + places)
    owners, said, long = (tf.gather(values, order) for values in (roots, said, long))  # in the order of texts
    logs = tf.cast(long, scores.dtype) * tf.math.log(tf.maximum(tf.gather(scores, tf.gather(pieces, order)), 1e-30))
    length = tf.cast(tf.math.unsorted_segment_sum(long, owners, count), scores.dtype)
    score = tf.exp(tf.math.unsorted_segment_sum(logs, owners, count) / tf.maximum(length, 1))
    text = _typed(letters, tf.strings.unsorted_segment_join(said, owners, count))
    least = tf.math.unsorted_segment_min(tf.gather(sure, pieces), roots, count)
    box = _around_all(tf.gather(polygons, pieces), roots, order)

    several = tf.math.unsorted_segment_sum(tf.ones_like(roots), roots, count) > 1
    first = tf.boolean_mask(pieces, several)[:, None]
    fields = zip((polygons, texts, scores, sure), (box, text, score, least), strict=True)
    done = [tf.tensor_scatter_nd_update(old, first, tf.boolean_mask(new, several)) for old, new in fields]
    further = tf.boolean_mask(pieces, roots != tf.range(count))
    kept = ~_among(further, tf.shape(texts))
    return tuple(tf.boolean_mask(values, kept) for values in (pages, *done))


def _spaced(letters: str, polygons: tf.Tensor, texts: tf.Tensor) -> tf.Tensor:
    """(N,) bool: whether a box may hold spaced letters: one, or some that are wide for their height."""
    long = tf.strings.length(texts, unit="UTF8_CHAR")
    alone = _counted(letters, lambda c: c.isalpha() or c in FIGURES, texts) == long
    wide, high = (tf.norm(polygons[:, side] - polygons[:, 0], axis=1) for side in (1, 3))
    usual = _counted(letters, advance, texts, tf.float32)
    return (long > 0) & alone & ((long == 1) | (wide >= joining.SPACED * high * usual))


def _counted(letters: str, value: Callable[[str], float], texts: tf.Tensor, kind: tf.DType = tf.int32) -> tf.Tensor:
    """(N,): the sum of what each text's letters count."""
    points = tf.strings.unicode_decode(texts, "UTF-8")
    table = tf.constant(_by_letter(letters, value, 0.0), kind)
    return tf.reduce_sum(tf.RaggedTensor.from_row_splits(tf.gather(table, points.values), points.row_splits), 1)


def _before(boxes: tf.Tensor, pages: tf.Tensor, pieces: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Of each piece (M,) the place of that before it, -1 where there is none; and their distance in heights."""
    count, none = tf.size(pieces), -np.inf
    overlap, line = _beside(boxes, pieces)
    fits = (line > joining.TURNED) & (overlap > -joining.APART) & (overlap < UPON / 2)
    fits &= tf.gather(pages, pieces)[:, None] == pages[None]
    overlap = tf.where(fits, overlap, none)
    following, most = tf.argmax(overlap, 1), tf.reduce_max(overlap, 1)
    place = tf.tensor_scatter_nd_update(tf.fill(tf.shape(pages), -1), pieces[:, None], tf.range(count))
    after = tf.where(most > none, tf.gather(place, following), -1)
    linked = tf.where(after >= 0)
    pairs = tf.stack([tf.cast(linked[:, 0], tf.int32), tf.boolean_mask(after, after >= 0)], 1)
    pairs = tf.tensor_scatter_nd_update(tf.fill([count, count], none), pairs, tf.gather(most, linked[:, 0]))
    nearest = tf.reduce_max(pairs, 0)
    before = tf.where(nearest > none, tf.argmax(pairs, 0, tf.int32), -1)
    return before, tf.where(nearest > none, -nearest, 0.0)


def _chains(before: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """(M,) the first of each one's chain, and its place there, by the one before it, -1 where there is none."""
    start = tf.where(before >= 0, before, tf.range(tf.size(before))), tf.cast(before >= 0, tf.int32)

    def jump(roots: tf.Tensor, places: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.gather(roots, roots), places + tf.gather(places, roots)

    return tf.while_loop(lambda roots, _: tf.reduce_any(tf.gather(roots, roots) != roots), jump, start)


def _around_all(boxes: tf.Tensor, roots: tf.Tensor, order: tf.Tensor) -> tf.Tensor:
    """(M, 4, 2): the box around those of each root, from the middle of the first to that of the last in the order."""
    count, middles = tf.size(roots), tf.reduce_mean(boxes, 1)
    last = tf.math.unsorted_segment_max(tf.range(count), tf.gather(roots, order), count)
    along = tf.gather(middles, tf.gather(order, tf.maximum(last, 0))) - middles
    along /= tf.maximum(tf.norm(along, axis=1, keepdims=True), 1e-6)
    axes = tf.stack([along, tf.stack([-along[:, 1], along[:, 0]], 1)], 1)
    corners = tf.matmul(boxes, tf.gather(axes, roots), transpose_b=True)
    low = tf.math.unsorted_segment_min(tf.reduce_min(corners, 1), roots, count)
    high = tf.math.unsorted_segment_max(tf.reduce_max(corners, 1), roots, count)
    (x0, y0), (x1, y1) = (tf.unstack(values, axis=1) for values in (low, high))
    return tf.matmul(tf.reshape(tf.stack([x0, y0, x1, y0, x1, y1, x0, y1], 1), [-1, 4, 2]), axes)


def _typed(letters: str, texts: tf.Tensor) -> tf.Tensor:
    """The texts with letters in place of figures that look like them, all of them capitals where most are."""
    capitals = 2 * _counted(letters, str.isupper, texts) > _counted(letters, str.isalpha, texts)

    def written(figures: str, upper: bool) -> tf.Tensor:
        known = dict(zip(FIGURES, figures, strict=True))

        def code(letter: str) -> float:
            letter = known.get(letter, letter)
            return ord(letter.upper() if upper and len(letter.upper()) == 1 else letter)

        table = _by_letter(letters, code, 0).astype("int32")
        points = tf.strings.unicode_decode(texts, "UTF-8")
        points = tf.RaggedTensor.from_row_splits(tf.gather(table, points.values), points.row_splits)
        return tf.strings.unicode_encode(points, "UTF-8")

    return tf.where(capitals, written(joining.CAPITALS, True), written(joining.SMALL, False))
