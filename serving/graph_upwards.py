"""Words that run upwards or downwards, looked for on a turned part of a page: what `zoo.upwards` does with NumPy."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from serving.graph_bands import median
from serving.graph_strips import sides
from zoo.upwards import (
    ACROSS,
    ALONG,
    AS_HIGH,
    ASIDE,
    BEHIND,
    COVERED,
    FAR,
    HIGH,
    LEVEL,
    LINKS,
    LONG,
    NARROW,
    TALL,
    TOUCHED,
    WITHIN,
    WORD,
)


class Part(NamedTuple):
    """A part of a page, in its pixels, () int32, if there are such words; see `zoo.upwards.Part`."""

    some: tf.Tensor
    left: tf.Tensor
    top: tf.Tensor
    right: tf.Tensor
    bottom: tf.Tensor
    height: tf.Tensor
    usual: tf.Tensor


def part(boxes: tf.Tensor, size: tf.Tensor) -> Part:
    """The part of a page of a size (2,) int32 to look at turned, by its boxes (N, 4, 2)."""
    level, tall, usual = _kinds(boxes)
    count = tf.math.count_nonzero(tall)
    some = (count > 0) & (count < tf.math.count_nonzero(level))
    wide, high = sides(tf.boolean_mask(boxes, tall))
    margin = tf.stack([ACROSS * median(wide), ALONG * median(high)])
    middle, x = tf.reduce_mean(boxes[..., 0], 1)[:, None], tf.boolean_mask(boxes[..., 0], tall)
    near = tf.reduce_any((tf.reduce_min(x, 1) <= middle) & (middle <= tf.reduce_max(x, 1)), 1)
    lines = tf.boolean_mask(boxes, near & ~level)
    first = tf.math.floor(tf.reduce_min(lines, (0, 1)) - margin)
    last = tf.math.ceil(tf.reduce_max(lines, (0, 1)) + margin)
    limit = tf.cast(tf.reverse(size, [0]), tf.float32)
    first, last = (tf.cast(tf.clip_by_value(x, 0.0, limit), tf.int32) for x in (first, last))
    return Part(some, first[0], first[1], last[0], last[1], median(wide), usual)


def widened(part: Part, size: tf.Tensor, pixels: tf.Tensor) -> Part:
    """The whole page of a size (2,) int32 in place of a part of it, if it has at most so many pixels, () float64."""
    whole = tf.cast(tf.reduce_prod(size), tf.float64) <= pixels
    sides = {"left": 0, "top": 0, "right": size[1], "bottom": size[0]}
    return part._replace(**{name: tf.where(whole, side, getattr(part, name)) for name, side in sides.items()})


def words(boxes: tf.Tensor, usual: tf.Tensor) -> tf.Tensor:
    """(N,) bool: which boxes (N, 4, 2) of a turned part are words that are level there."""
    wide, high = sides(boxes)
    long = (wide > TALL * high) & (high > HIGH * usual)
    return long | _in_line(boxes, 0, high, long, BEHIND)


def taken(boxes: tf.Tensor, words: tf.Tensor) -> tf.Tensor:
    """(M,) bool: which words (M, 4, 2) of a turned part stand for the boxes (N, 4, 2) of the page that they cover."""
    level, tall, _ = _kinds(boxes)
    inside, (wide, high) = _inside(boxes, words), sides(words)
    within = tf.where(level[:, None], inside, 0.0)
    free, plain = ~tf.reduce_any(within > LEVEL, 0), wide > WORD * high
    instead = tf.reduce_any((inside > COVERED) & tall[:, None], 0)
    some = tf.reduce_any(free & plain) & tf.reduce_any(free & instead)
    broad = sides(boxes)[0][:, None] > NARROW * high
    letters = ~tf.reduce_any((within > LEVEL) & broad, 0) & (wide > high)
    whole = ~tf.reduce_any((within > TOUCHED) & (broad | (within < WITHIN)), 0)
    found = some & ((free & (plain | instead)) | (whole & plain & instead))
    for _ in range(LINKS):
        found = (free | letters) & _in_line(words, 1, high, found, FAR)
    return found


def covered(boxes: tf.Tensor, words: tf.Tensor) -> tf.Tensor:
    """(N,) bool: which boxes (N, 4, 2) lie in one of the words (M, 4, 2) for the most part."""
    return tf.reduce_any(_inside(boxes, words) > COVERED, 1)


def turned(points: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Points (…, 2) of a picture so wide where they are after a quarter turn against the clock."""
    return tf.stack([points[..., 1], tf.cast(width, points.dtype) - points[..., 0]], -1)


def _kinds(boxes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    wide, high = sides(boxes)
    level = wide > TALL * high
    usual = median(tf.boolean_mask(high, level))
    return level, (high > TALL * wide) & (high > LONG * usual) & (wide > HIGH * usual), usual


def _in_line(boxes: tf.Tensor, axis: int, high: tf.Tensor, others: tf.Tensor, reach: float) -> tf.Tensor:
    along, middle = boxes[..., axis], tf.reduce_mean(boxes[..., 1 - axis], 1)
    first, last = tf.reduce_min(along, 1), tf.reduce_max(along, 1)
    gap = tf.maximum(first[:, None] - last, first - last[:, None])
    aside = tf.abs(middle[:, None] - middle)
    near = (gap < reach * high) & (aside < ASIDE * high) & (high[:, None] < AS_HIGH * high)
    return tf.reduce_any(near & others, 1)


def _inside(boxes: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
    low = tf.maximum(tf.reduce_min(boxes, 1)[:, None], tf.reduce_min(others, 1))
    high = tf.minimum(tf.reduce_max(boxes, 1)[:, None], tf.reduce_max(others, 1))
    area = tf.reduce_prod(tf.reduce_max(boxes, 1) - tf.reduce_min(boxes, 1), 1)
    return tf.reduce_prod(tf.maximum(high - low, 0.0), 2) / tf.maximum(area, 1e-6)[:, None]
