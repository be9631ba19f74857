"""Which language each page is in, and letters that it lacks made less likely, by TensorFlow's own operations, as
`zoo.alphabets` does.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from serving import graph_text
from zoo.alphabets import LOST, MOST, NEVER, OFTEN, SURELY, Alphabets

MORE = 4  # classes of each step beside those that a language tries: some of these may become less likely


def lowered(
    alphabets: Alphabets, found: graph_text.Steps, owners: tf.Tensor, low: tf.Tensor, high: tf.Tensor, pages: tf.Tensor
) -> tf.Tensor:
    """(P, K) float32: by how much the logarithm of each class is to be lowered on each page.

    Args:
        owners: (S,) whose each strip is.
        low, high: (S,) the steps of each strip that count.
        pages: (N,) int32, ascending: the page of each owner.
    """
    count = tf.reduce_max(tf.concat([pages, [-1]], 0)) + 1
    steps, lacking = tf.shape(found.best)[1], tf.constant(alphabets.lacking)
    place = tf.range(steps)[None]
    told = (place >= low[:, None]) & (place < high[:, None]) & tf.gather(tf.constant(alphabets.marked), found.best)
    page = tf.boolean_mask(tf.repeat(tf.gather(pages, owners)[:, None], steps, 1), told)
    best, blank, classes, logs = (
        tf.boolean_mask(values, told) for values in (found.best, found.blank, found.classes, found.logs)
    )
    without = tf.where(tf.gather(tf.transpose(lacking), classes), NEVER, logs[..., None])  # (M, k, A)
    without = tf.maximum(tf.reduce_max(without, 1), tf.math.log(blank)[:, None])
    ahead = tf.reduce_max(logs, 1)[:, None] - without
    lost = tf.math.unsorted_segment_sum(tf.minimum(ahead, LOST), page, count) + alphabets.sizes
    chosen = tf.argmin(lost, 1, tf.int32)
    lacks = tf.gather(lacking, chosen)  # (P, K)
    foreign = tf.gather_nd(lacks, tf.stack([page, best], 1))
    margin = tf.minimum(tf.gather(ahead, tf.gather(chosen, page), batch_dims=1), MOST)
    cell = page * len(alphabets.marked) + best
    cell, margin = tf.boolean_mask(cell, foreign), tf.boolean_mask(margin, foreign)
    number, total = (
        tf.reshape(tf.math.unsorted_segment_sum(values, cell, tf.size(lacks)), tf.shape(lacks))
        for values in (tf.ones_like(margin), margin)
    )
    return tf.where(lacks & ~((number >= OFTEN) & (total >= SURELY * number)), np.float32(LOST), 0.0)


def native(found: graph_text.Steps, lowered: tf.Tensor, tried: int) -> graph_text.Steps:
    """Steps in which letters are as likely as they are on their page, with the `tried` likeliest characters of each.

    Args:
        lowered: (S, K) by how much the logarithm of each class is lowered in each strip.
    """
    lost = tf.gather(lowered, found.classes, batch_dims=1)
    left = 1 - tf.reduce_sum(tf.exp(found.logs) * (1 - tf.exp(-lost)), -1)
    logs, order = tf.math.top_k(found.logs - lost - tf.math.log(left)[..., None], tried)
    classes, blank = tf.gather(found.classes, order, batch_dims=2), found.blank / left
    likeliest = tf.exp(logs[..., 0])
    best = tf.where(likeliest > blank, classes[..., 0], tf.shape(lowered)[1] - 1)
    return graph_text.Steps(best, tf.maximum(likeliest, blank), blank, classes, logs)
