"""Steps of strips to texts, and words to lines, by TensorFlow's own operations: what `zoo.charset`, `zoo.reading.join`
and `zoo.geometry.rows` do.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from zoo.language import NEVER

# --- texts -----------------------------------------------------------------------------------------------------------


class Steps(NamedTuple):
    """What a recognizer says of strips.

    Attributes:
        best, score, blank: (S, T) the likeliest class of each step, its probability, and that of the blank.
        classes, logs: (S, T, k) the likeliest characters, and the logarithms of their probabilities.
    """

    best: tf.Tensor
    score: tf.Tensor
    blank: tf.Tensor
    classes: tf.Tensor
    logs: tf.Tensor

    @staticmethod
    def specs(length: int, tried: int) -> tuple[tuple[tf.DType, ...], tuple[list[int | None], ...]]:
        """The types and shapes of the fields, of `length` steps."""
        each, deep = [None, length], [None, length, tried]
        return (tf.int32, tf.float32, tf.float32, tf.int32, tf.float32), (each, each, each, deep, deep)


class Characters(NamedTuple):
    """Characters (M,) of all owners, one after the other: class, score, and whose each is."""

    best: tf.Tensor
    score: tf.Tensor
    owner: tf.Tensor


def steps(logits: tf.Tensor, blank: int, length: int, tried: int = 0) -> Steps:
    """The steps of logits (S, T, K), filled up with blanks to `length`; of each the `tried` likeliest characters."""
    probability = tf.nn.softmax(logits)
    best = tf.argmax(logits, -1, tf.int32)
    logs, classes = tf.math.top_k(tf.nn.log_softmax(logits)[..., :blank], tried)
    more = [[0, 0], [0, length - tf.shape(logits)[1]]]
    return Steps(
        tf.pad(best, more, constant_values=blank),
        tf.pad(tf.reduce_max(probability, -1), more, constant_values=1.0),
        tf.pad(probability[..., blank], more, constant_values=1.0),
        tf.pad(classes, [*more, [0, 0]]),
        tf.pad(logs, [*more, [0, 0]], constant_values=NEVER),
    )


def cuts(blank: tf.Tensor, owners: tf.Tensor, starts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The first step of each strip that counts, and the one after the last: (S,) int32 both.

    As `zoo.reading.join`: of two windows of the same owner one gives over to the next within their overlap, between two
    steps that both call blank most surely. Three windows never overlap in the steps where that may be.

    Args:
        blank: (S, T) probabilities of the blank.
        owners: (S,) whose window each is, those of an owner one after the other.
        starts: (S,) first step of each.
    """
    length = blank.shape[1]
    shared = tf.clip_by_value(starts[:-1] + length - starts[1:], 1, length)  # other owners share nothing
    place = tf.range(length)[None]
    first = tf.gather(blank[:-1], tf.minimum(length - shared[:, None] + place, length - 1), batch_dims=1)
    sure = first * blank[1:]  # by steps of the overlap
    pairs = sure[:, :-1] * sure[:, 1:]
    margin = shared // 4
    last = tf.maximum(margin + 1, shared - 1 - margin)
    allowed = (place[:, :-1] >= margin[:, None]) & (place[:, :-1] < last[:, None])
    cut = tf.argmax(tf.where(allowed, pairs, -tf.ones_like(pairs)), 1, tf.int32) + 1
    joined = owners[:-1] == owners[1:]
    begin = tf.where(joined, cut, 0)
    end = tf.where(joined, starts[1:] - starts[:-1] + cut, length)
    return tf.concat([[0], begin], 0)[: tf.size(owners)], tf.concat([end, [length]], 0)[-tf.size(owners) :]


def texts(
    found: Steps, owners: tf.Tensor, count: tf.Tensor, low: tf.Tensor, high: tf.Tensor, letters: str, ctc: bool
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The text (N,) string of each owner, the product (N,) of its characters' scores, and their number (N,) int32.

    Args:
        low, high: (S,) the steps of each strip that count.
        letters: the alphabet.
        ctc: repeats and blanks are dropped; else the text ends at the first class that is no character.
    """
    return written(characters(found, owners, low, high, len(letters), ctc), count, letters)


def characters(found: Steps, owners: tf.Tensor, low: tf.Tensor, high: tf.Tensor, blank: int, ctc: bool) -> Characters:
    """The characters of all owners; see `texts`."""
    length = tf.shape(found.best)[1]
    place = tf.range(length)[None]
    counts = (place >= low[:, None]) & (place < high[:, None])
    if not ctc:
        counts &= tf.cumsum(tf.cast(found.best >= blank, tf.int32), 1) == 0
    best = tf.boolean_mask(found.best, counts)
    score = tf.boolean_mask(found.score, counts)
    owner = tf.boolean_mask(tf.repeat(owners[:, None], length, 1), counts)
    if ctc:  # each run of one class is a character, with the highest score in it
        new = tf.concat([[True], (best[1:] != best[:-1]) | (owner[1:] != owner[:-1])], 0)[: tf.size(best)]
        run = tf.cumsum(tf.cast(new, tf.int32)) - 1
        score = tf.math.segment_max(score, run)
        best, owner = tf.boolean_mask(best, new), tf.boolean_mask(owner, new)
        kept = best < blank
        best, owner, score = (tf.boolean_mask(values, kept) for values in (best, owner, score))
    return Characters(best, score, owner)


def written(found: Characters, count: tf.Tensor, letters: str) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Text, product of the scores, and number of the characters of each of `count` owners."""
    text = tf.strings.unsorted_segment_join(
        tf.gather(tf.constant([letter.encode() for letter in letters]), found.best), found.owner, count
    )
    product = tf.math.unsorted_segment_prod(found.score, found.owner, count)
    return text, product, tf.math.unsorted_segment_sum(tf.ones_like(found.owner), found.owner, count)


# --- lines -----------------------------------------------------------------------------------------------------------


def lines(boxes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The order (N,) int32 in which words (N, 4, 2) are read, and in that order the line of each, from 0.

    Lines are those of `zoo.geometry.rows`, from the top; columns of running text are not taken apart.
    """
    level = _upright(tf.cast(boxes, tf.float64))
    order = _lexsort([level[:, 1], level[:, 0]])
    words = tf.gather(level, order)
    line = _rows(words)
    count = tf.reduce_max(tf.concat([line, [-1]], 0)) + 1
    middle = (words[:, 1] + words[:, 3]) / 2
    heights = _medians(middle, line, count)
    left = tf.math.unsorted_segment_min(words[:, 0], line, count)
    ranks = inverse(_lexsort([left, heights]))
    line = tf.gather(ranks, line)
    sequence = tf.argsort(line, stable=True)
    return tf.gather(order, sequence), tf.gather(line, sequence)


def _lexsort(keys: list[tf.Tensor]) -> tf.Tensor:
    """The order by the last of the keys, then by the one before it, as `numpy.lexsort`."""
    order = tf.range(tf.size(keys[0]))
    for key in keys:
        order = tf.gather(order, tf.argsort(tf.gather(key, order), stable=True))
    return order


def inverse(order: tf.Tensor) -> tf.Tensor:
    """The place in an order of each that it orders."""
    return tf.tensor_scatter_nd_update(tf.zeros_like(order), order[:, None], tf.range(tf.size(order)))


def _medians(values: tf.Tensor, owners: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """(N,) median of each owner's values; each has one at least."""
    order = _lexsort([values, owners])
    ordered = tf.gather(values, order)
    sizes = tf.math.unsorted_segment_sum(tf.ones_like(owners), owners, count)
    starts = tf.cumsum(sizes, exclusive=True)
    return (tf.gather(ordered, starts + (sizes - 1) // 2) + tf.gather(ordered, starts + sizes // 2)) / 2


def _upright(boxes: tf.Tensor) -> tf.Tensor:
    """(N, 4) left, top, right, bottom of boxes after the page is turned so that most of its text is level."""
    edges = tf.roll(boxes, -1, 1) - boxes
    top = edges[:, 0] - edges[:, 2]
    turn = tf.atan2(top[:, 1], top[:, 0])
    lengths = tf.norm(edges, axis=2)
    width, height = (lengths[:, 0] + lengths[:, 2]) / 2, (lengths[:, 1] + lengths[:, 3]) / 2
    weight = tf.maximum(width - height, 0.01 * width)  # long words tell more
    mean = tf.atan2(tf.reduce_sum(weight * tf.sin(turn)), tf.reduce_sum(weight * tf.cos(turn)))
    rest = tf.math.floormod(turn - mean + np.pi, 2 * np.pi) - np.pi
    level = mean + _weighted_median(rest, weight)
    cosine, sine = tf.cos(level), tf.sin(level)
    x, y = tf.unstack(tf.reduce_mean(boxes, 1), axis=1)
    centres = tf.stack([x * cosine + y * sine, y * cosine - x * sine], 1)
    across = tf.abs(tf.cos(turn - level)) >= 0.5**0.5
    half = tf.stack([tf.where(across, width, height), tf.where(across, height, width)], 1) / 2
    return tf.concat([centres - half, centres + half], 1)


def _weighted_median(values: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    order = tf.argsort(values, stable=True)
    ordered = tf.concat([tf.gather(values, order), [0.0]], 0)  # one more, for a page without words
    total = tf.cumsum(tf.gather(weights, order))
    half = tf.reduce_sum(weights) / 2
    return ordered[tf.reduce_sum(tf.cast(total < half, tf.int32))]


def _rows(words: tf.Tensor) -> tf.Tensor:
    """(N,) int32 row of each of words (N, 4), given from the left: that whose last word it overlaps most in height."""
    count = tf.shape(words)[0]

    def put(
        index: tf.Tensor, rows: tf.Tensor, found: tf.TensorArray, last: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.TensorArray, tf.Tensor]:
        word = words[index]
        common = tf.minimum(word[3], last[:, 3]) - tf.maximum(word[1], last[:, 1])
        height, own = last[:, 3] - last[:, 1], word[3] - word[1]
        low, high = tf.minimum(height, own), tf.maximum(height, own)
        fits = (common > 0.5 * low) & (high < 3 * low) & (word[0] > (last[:, 0] + last[:, 2]) / 2)
        fits &= tf.range(count) < rows
        share = tf.where(fits, common / tf.maximum(high, 1e-6), -tf.ones_like(common))
        row = tf.where(tf.reduce_any(fits), tf.argmax(share, output_type=tf.int32), rows)
        last = tf.tensor_scatter_nd_update(last, row[None, None], word[None])
        return index + 1, tf.maximum(rows, row + 1), found.write(index, row), last

    found = tf.TensorArray(tf.int32, count, element_shape=())
    state = (tf.constant(0), tf.constant(0), found, tf.zeros_like(words))
    return tf.while_loop(lambda index, *_: index < count, put, state)[2].stack()
