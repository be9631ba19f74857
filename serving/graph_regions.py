"""Boxes out of a detector's map, by TensorFlow's own operations: what `zoo.geometry.polygons` does with OpenCV.

    probability (H, W) ─► runs of text pixels ─► joined to regions by pointer jumping ─► score, angle, extent ─► boxes

A region is made of runs, not of pixels: runs are some hundred times fewer. Regions have eight neighbours for a pixel.
The smallest rectangle is sought over angles, from degree to degree and then finer.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from serving.graph_bands import median
from zoo.geometry import AFTER, COARSE, FINE, LABELS, LEVEL, MOST, OFF, SLANTED, STRAIGHT, TELLING


class Runs(NamedTuple):
    """The text pixels of a map, as runs along its rows from the top left.

    Attributes:
        rows, firsts, lasts: (R,) int32 row, first and last column of each.
        numbers: (H, W) int32: the run on which a pixel lies, -1 where it is no text.
    """

    rows: tf.Tensor
    firsts: tf.Tensor
    lasts: tf.Tensor
    numbers: tf.Tensor


def runs(mask: tf.Tensor) -> Runs:
    """The runs of a mask (H, W) bool."""
    edge = tf.pad(mask, [[0, 0], [1, 1]])
    begins, ends = mask & ~edge[:, :-2], mask & ~edge[:, 2:]
    numbers = tf.reshape(tf.cumsum(tf.cast(tf.reshape(begins, [-1]), tf.int32)), tf.shape(mask)) - 1
    starts = tf.cast(tf.where(begins), tf.int32)
    lasts = tf.cast(tf.where(ends)[:, 1], tf.int32)
    return Runs(starts[:, 0], starts[:, 1], lasts, tf.where(mask, numbers, -1))


def regions(found: Runs) -> tf.Tensor:
    """(R,) int32 region of each run, counted from 0 in the order of their first runs.

    Two runs touch where a pixel at the beginning of one has the other above or below it, or diagonally so.
    """
    count = tf.size(found.rows)
    padded = tf.pad(found.numbers, [[1, 1], [1, 1]], constant_values=-1)
    around = [(y, x) for y in (0, 2) for x in (0, 1, 2)]
    places = [tf.stack([found.rows + y, found.firsts + x], 1) for y, x in around]
    others = tf.concat([tf.gather_nd(padded, place) for place in places], 0)
    ones = tf.tile(tf.range(count), [len(around)])
    kept = others >= 0
    one, other = tf.boolean_mask(ones, kept), tf.boolean_mask(others, kept)

    def apart(labels: tf.Tensor) -> tf.Tensor:
        return tf.reduce_any(tf.gather(labels, one) != tf.gather(labels, other))

    def join(labels: tf.Tensor) -> tuple[tf.Tensor]:
        first, second = tf.gather(labels, one), tf.gather(labels, other)
        low, high = tf.minimum(first, second), tf.maximum(first, second)
        labels = tf.tensor_scatter_nd_min(labels, high[:, None], low)
        for _ in range(3):  # pointers jump to the pointers' aims
            labels = tf.gather(labels, labels)
        return (labels,)

    (labels,) = tf.while_loop(apart, join, (tf.range(count),))
    (labels,) = tf.while_loop(  # runs that nothing joined any more may still point to a pointer
        lambda x: tf.reduce_any(tf.gather(x, x) != x), lambda x: (tf.gather(x, x),), (labels,)
    )
    roots = tf.cast(labels == tf.range(count), tf.int32)
    return tf.gather(tf.cumsum(roots) - 1, labels)


def boxes(
    probability: tf.Tensor,
    *,
    threshold: float = 0.3,
    box_threshold: float = 0.1,
    unclip: float = 1.5,
    shrunk: float | None = None,
    min_size: float = 2,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Boxes (N, 4, 2) float32 in pixels of the map (H, W) float32, and their scores (N,).

    The arguments are those of `zoo.geometry.polygons`.
    """
    mask = probability >= threshold
    found = runs(mask)
    owners = regions(found)
    count = tf.reduce_max(tf.concat([owners, [-1]], 0)) + 1
    of_runs = tf.math.segment_sum(
        tf.cast(tf.boolean_mask(probability, mask), tf.float64), tf.boolean_mask(found.numbers, mask)
    )
    pixels = tf.cast(found.lasts - found.firsts + 1, tf.float64)
    scores = _sums(of_runs, owners, count) / tf.maximum(_sums(pixels, owners, count), 1)
    width = _most(found.lasts, owners, count) + _most(-found.firsts, owners, count) + 1
    height = _most(found.rows, owners, count) + _most(-found.rows, owners, count) + 1
    small = tf.cast(tf.minimum(width, height), tf.float32) < min_size
    keep = (scores >= box_threshold) & ~small
    places = tf.cumsum(tf.cast(keep, tf.int32)) - 1
    used = tf.gather(keep, owners)
    ends = [tf.boolean_mask(tf.stack([x, found.rows], 1), used) for x in (found.firsts, found.lasts)]
    corners = tf.cast(tf.concat(ends, 0), tf.float64)  # each end of each run: the hull's corners are among them
    of_corners = tf.tile(tf.boolean_mask(tf.gather(places, owners), used), [2])
    kept = tf.boolean_mask(scores, keep)
    grown = _rectangles(corners, of_corners, tf.size(kept), unclip, shrunk)
    limit = tf.cast(tf.reverse(tf.shape(probability), [0]), tf.float32)
    return tf.clip_by_value(grown, 0.0, limit), tf.cast(kept, tf.float32)


def _sums(values: tf.Tensor, owners: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    return tf.math.unsorted_segment_sum(values, owners, count)


def _most(values: tf.Tensor, owners: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    return tf.math.unsorted_segment_max(values, owners, count)


def _spans(points: tf.Tensor, owners: tf.Tensor, count: tf.Tensor, degrees: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Lengths along the angles, and across them, of each owner's points: (N, K) both.

    Args:
        points: (P, 2).
        degrees: (K,) the same for all, or (N, K).
    """
    radians = degrees * (np.pi / 180)
    if len(degrees.shape) == 2:
        radians = tf.gather(radians, owners)
    x, y = points[:, :1], points[:, 1:]
    cosine, sine = tf.cos(radians), tf.sin(radians)
    both = tf.concat([x * cosine + y * sine, y * cosine - x * sine], 1)
    spans = _most(both, owners, count) + _most(-both, owners, count)
    along, across = tf.split(spans, 2, 1)
    return along, across


def _smallest(points: tf.Tensor, owners: tf.Tensor, count: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Degrees in [-45, 45) of each owner's smallest rectangle, and its lengths along and across: (N,) each."""
    coarse = tf.constant(np.arange(-45, 45, COARSE))
    along, across = _spans(points, owners, count, coarse)
    best = tf.gather(coarse, tf.argmin(_areas(along, across, coarse[None]), 1))
    fine = best[:, None] + np.arange(-COARSE + FINE, COARSE, FINE)[None]
    along, across = _spans(points, owners, count, fine)
    chosen = tf.argmin(_areas(along, across, fine), 1)
    pick = [tf.gather(values, chosen, batch_dims=1) for values in (fine, along, across)]
    return pick[0], pick[1], pick[2]


def _settled(points: tf.Tensor, owners: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Degrees by which each owner's box is turned, (N,), as `zoo.geometry` settles them."""
    turns, along, across = _smallest(points, owners, count)
    lengths = tf.stack([along, across], 1) + 1
    telling = tf.reduce_max(lengths, 1) > TELLING * tf.reduce_min(lengths, 1)
    known = tf.boolean_mask(turns, telling)
    usual = median(known)
    along, across = _spans(points, owners, count, tf.stack([usual, tf.zeros_like(usual)]))
    areas = (along + 1) * (across + 1)
    level = tf.reduce_mean(tf.cast(tf.abs(known) < STRAIGHT, tf.float64))
    unsettled = (tf.size(known) < MOST) | (level >= LEVEL)
    usual = tf.where(unsettled & (areas[:, 1] < areas[:, 0]), tf.zeros_like(usual), usual)
    middles = (_most(points, owners, count) - _most(-points, owners, count)) / 2
    continued = _continued(middles, turns, lengths, ~telling)
    turns = tf.where(telling, turns, tf.where(tf.math.is_nan(continued), usual, continued))
    return tf.where((tf.abs(turns) < STRAIGHT) | ~tf.reduce_any(telling), tf.zeros_like(turns), turns)


def _continued(middles: tf.Tensor, turns: tf.Tensor, lengths: tf.Tensor, short: tf.Tensor) -> tf.Tensor:
    """Degrees (N,) of short regions around middles (N, 2) that a slanted label goes on in; NaN of others."""
    labels = tf.where(~short & (tf.abs(turns) > SLANTED))[:, 0]
    labels = labels[: tf.where(tf.size(labels) <= LABELS, LABELS, 0)]
    ends, lengths, degrees = (tf.gather(values, labels) for values in (middles, lengths, turns))
    degrees += tf.where(lengths[:, 0] >= lengths[:, 1], tf.zeros_like(degrees), -90 * tf.sign(degrees))
    cosine, sine = tf.cos(degrees * (np.pi / 180)), tf.sin(degrees * (np.pi / 180))
    x, y = tf.unstack(middles[:, None] - ends, axis=2)  # (N, L) both
    thick = tf.reduce_min(lengths, 1)
    gaps = (tf.abs(x * cosine + y * sine) - tf.reduce_max(lengths, 1) / 2) / thick
    beside = short[:, None] & (gaps < AFTER) & (tf.abs(y * cosine - x * sine) < OFF * thick)
    gaps = tf.where(beside, gaps, tf.constant(np.inf, tf.float64))
    # One label more, which is none, since there may be none at all.
    nearest = tf.argmin(tf.concat([gaps, tf.fill([tf.size(turns), 1], tf.constant(np.inf, tf.float64))], 1), 1)
    degrees = tf.gather(tf.concat([degrees, [np.nan]], 0), nearest)
    return tf.where(tf.reduce_any(beside, 1), degrees, tf.constant(np.nan, tf.float64))


def _areas(along: tf.Tensor, across: tf.Tensor, degrees: tf.Tensor) -> tf.Tensor:
    """Areas, of equal ones that nearest to upright slightly the least."""
    return along * across + 1e-6 * tf.abs(degrees)


def _rectangles(
    points: tf.Tensor, owners: tf.Tensor, count: tf.Tensor, unclip: float, shrunk: float | None
) -> tf.Tensor:
    """The grown rectangle of each owner's points: (N, 4, 2) float32."""
    turns = _settled(points, owners, count)
    radians = turns * (np.pi / 180)
    cosine, sine = tf.cos(radians), tf.sin(radians)
    c, s = tf.gather(cosine, owners), tf.gather(sine, owners)
    level = tf.stack([points[:, 0] * c + points[:, 1] * s, points[:, 1] * c - points[:, 0] * s], 1)
    low, high = -_most(-level, owners, count) - 0.5, _most(level, owners, count) + 0.5  # to the edges of pixels
    width, height = tf.unstack(high - low, axis=1)
    distance = _growth(width, height, unclip, shrunk)[:, None]
    low, high = low - distance, high + distance
    x = tf.stack([low[:, 0], high[:, 0], high[:, 0], low[:, 0]], 1)
    y = tf.stack([low[:, 1], low[:, 1], high[:, 1], high[:, 1]], 1)
    c, s = cosine[:, None], sine[:, None]
    return tf.cast(tf.stack([x * c - y * s, x * s + y * c], 2) + 0.5, tf.float32)


def _growth(width: tf.Tensor, height: tf.Tensor, unclip: float, shrunk: float | None) -> tf.Tensor:
    """As `zoo.geometry.growth`, or with `shrunk` as `zoo.geometry.regrowth`."""
    if shrunk is None:
        return unclip * width * height / tf.maximum(2 * (width + height), 1e-6)
    k = 1 - shrunk**2
    linear = (1 - k) * (width + height)
    return (tf.sqrt(linear**2 + (8 - 4 * k) * k * width * height) - linear) / (8 - 4 * k)
