"""Pieces of words put together, and words taken apart, by TensorFlow's own operations.

As `zoo.joining` does it, whose names these are.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from zoo.joining import LONGEST, OVERLAP, PARALLEL, SURE, UPON, advance


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
    halves = neighbours(boxes)
    first, second = tf.unstack(halves, axis=1)
    less = tf.minimum(tf.gather(scores, first), tf.gather(scores, second))
    return with_pairs(boxes, halves), tf.concat([scores, less], 0), tf.concat([found, halves], 0)


def with_pairs(boxes: tf.Tensor, pairs: tf.Tensor) -> tf.Tensor:
    """(N + P, 4, 2): boxes (N, 4, 2), and those around pairs (P, 2) of them."""
    first, second = (tf.gather(boxes, side) for side in tf.unstack(pairs, axis=1))
    return tf.concat([boxes, around(first, second)], 0)


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
    return tf.cast(tf.where(most), tf.int32)


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
