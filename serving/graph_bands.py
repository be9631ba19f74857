"""Bands of a page, which are looked at where its text is too small for one look, and parts of a long page: what
`zoo.bands` does with NumPy."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from zoo.bands import LONG, MARGIN, OVERLAP, PART, STRAY


class Bands(NamedTuple):
    """How a page is cut into bands.

    Attributes:
        count: of them.
        left, top, right, bottom: () int32 the part of the page that holds text, in its pixels.
        unit: () float64 the median height of a box.
        middles: (N + 1,) float64 heights on the page at which boxes lie, ascending; the last is infinite.
    """

    count: tf.Tensor
    left: tf.Tensor
    top: tf.Tensor
    right: tf.Tensor
    bottom: tf.Tensor
    unit: tf.Tensor
    middles: tf.Tensor


class Parts(NamedTuple):
    """How a long page is cut along its longer side, in its pixels.

    Attributes:
        count: of parts; 1 where the page is not long.
        starts: (count,) int32 where each begins.
        length: of each, () int32.
        edges: (count + 1,) float64 between which boxes count in each.
    """

    count: tf.Tensor
    starts: tf.Tensor
    length: tf.Tensor
    edges: tf.Tensor


def parts(size: tf.Tensor) -> Parts:
    """The parts of a page of a size (2,) int32; see `zoo.bands.parts`."""
    long, short = tf.reduce_max(size), tf.reduce_min(size)
    whole = tf.cast(long, tf.float64) <= tf.maximum(LONG * tf.cast(short, tf.float64), 1.5 * PART)
    length = tf.where(whole, long, tf.maximum(2 * short, PART))
    shared = length // 4
    count = tf.where(whole, 1, -((shared - long) // (length - shared)))  # rounded up
    starts = tf.cast(tf.range(count) * (long - length), tf.float64) / tf.cast(tf.maximum(count - 1, 1), tf.float64)
    starts = tf.round(starts)  # halves to the even number, as Python
    cuts = (starts[:-1] + tf.cast(length, tf.float64) + starts[1:]) / 2
    infinite = tf.constant([float("inf")], tf.float64)
    return Parts(count, tf.cast(starts, tf.int32), length, tf.concat([-infinite, cuts, infinite], 0))


def height(boxes: tf.Tensor) -> tf.Tensor:
    """As `zoo.bands.height`: () float32 of boxes (N, 4, 2); infinite where there is none."""
    return median(tf.norm(boxes[:, 3] - boxes[:, 0], axis=1))


def median(values: tf.Tensor) -> tf.Tensor:
    """The median of values (N,); infinite where there is none."""
    count, filled = tf.size(values), tf.concat([tf.sort(values), [float("inf")]], 0)
    return (filled[tf.maximum(count - 1, 0) // 2] + filled[count // 2]) / 2


def bands(boxes: tf.Tensor, size: tf.Tensor, factor: tf.Tensor, room: int) -> Bands:
    """The bands that hold the text of a page of a size (2,) int32; see `zoo.bands.bands`."""
    unit = tf.cast(height(boxes), tf.float64)
    exact = tf.cast(boxes, tf.float64)
    first = tf.math.floor(tf.reduce_min(exact, (0, 1)) - MARGIN * unit)
    last = tf.math.ceil(tf.reduce_max(exact, (0, 1)) + MARGIN * unit)
    first = tf.maximum(tf.cast(first, tf.int32), 0)
    last = tf.minimum(tf.cast(last, tf.int32), tf.reverse(size, [0]))
    area = tf.cast(tf.reduce_prod(last - first), tf.float64)
    count = tf.maximum(tf.cast(tf.math.ceil(area * factor**2 / room), tf.int32), 1)
    middles = tf.concat([tf.sort(tf.reduce_mean(exact[..., 1], 1)), tf.constant([float("inf")], tf.float64)], 0)
    return Bands(count, first[0], first[1], last[0], last[1], unit, middles)


def rows(page: Bands, number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Of one of the bands the rows that are looked at, from and to () int32, and what of them counts () float64."""
    top, bottom = tf.cast(page.top, tf.float64), tf.cast(page.bottom, tf.float64)
    low = tf.where(number > 0, _cut(page, number), top)
    high = tf.where(number + 1 < page.count, _cut(page, number + 1), bottom + 1)
    begin = tf.maximum(page.top, tf.cast(tf.math.floor(low - OVERLAP * page.unit), tf.int32))
    end = tf.minimum(page.bottom, tf.cast(tf.math.ceil(high + OVERLAP * page.unit), tf.int32))
    return begin, end, low, high


def _cut(page: Bands, number: tf.Tensor) -> tf.Tensor:
    """Where band `number` begins: where the gap between boxes is widest around where bands would be equal."""
    step = tf.cast(page.bottom - page.top, tf.float64) / tf.cast(page.count, tf.float64)
    even = tf.cast(page.top, tf.float64) + tf.cast(number, tf.float64) * step
    near = tf.abs(page.middles - even) <= STRAY * step
    gaps = tf.where(near[1:] & near[:-1], page.middles[1:] - page.middles[:-1], -1.0)
    place = tf.argmax(gaps, output_type=tf.int32)
    return tf.where(gaps[place] >= 0, (page.middles[place] + page.middles[place + 1]) / 2, even)
