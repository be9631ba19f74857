"""Texts spelt as a language would where pictures leave it open, by TensorFlow's own operations, as `zoo.language` does.

steps of strips ─► texts by the best path ─► which language each page is in, and how far ─► those in doubt
               └─► steps that say something ─► beam of prefixes ─► their texts ◄──────────┘
"""

from __future__ import annotations

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from serving import graph_alphabets, graph_text
from zoo.language import (
    BLANK,
    DOUBT,
    EASED,
    FEW,
    FOREIGN,
    KNOWN,
    NATIVE,
    NEVER,
    PLAIN,
    PRIOR,
    SETTLED,
    STEP,
    SURE,
    TELLING,
    TRIED,
    WIDTH,
    Spelling,
)


class Table:
    """Languages in a graph: their tables as variables, which the graph holds once, and what they are to a recognizer.

    Args:
        spelling: of the reading path.

    Attributes:
        held: characters of each step that are kept until it is known which language their page is in.
        first, width, end: (L,) int32 of each language, where its table begins, and its columns, of which one is the end
            of a word.
        columns: (L, K) int32 of each class in each language.
        alike: (2, K - 1) int64, see `Charset.alike`: with accents, and without.
    """

    def __init__(self, spelling: Spelling):
        languages = [spelling.language(number) for number in range(len(spelling))]
        self.weight, self.letters, self.alphabets = spelling.weight, spelling.charset.characters, spelling.alphabets
        self.tried = min(TRIED, len(self.letters))
        self.held = min(TRIED + graph_alphabets.MORE, len(self.letters))
        sizes = [language.gains.size for language in languages]
        self.first = np.cumsum([0, *sizes[:-1]]).astype("int32")
        self.width = np.array([language.gains.shape[1] for language in languages], "int32")
        self.end = np.array([language.end for language in languages], "int32")
        gains = np.concatenate([np.rint(STEP * language.gains).ravel() for language in languages])
        following = np.concatenate([language.following.ravel() for language in languages])
        self.variables = [
            keras.Variable(values.astype(kind), dtype=kind, trainable=False, name=name)
            for name, values, kind in (("gains", gains, "int8"), ("following", following, "uint16"))
        ]
        blank = [[language.end] for language in languages]  # ends a word as well
        columns = [language.columns(self.letters) for language in languages]
        self.columns = np.concatenate([columns, blank], 1).astype("int32")
        self.alike = np.stack([spelling.alike, spelling.alike_abroad]).astype("int64")

    def look(self, language: tf.Tensor, state: tf.Tensor, column: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The gains of columns in states of languages, and the states that follow."""
        gains, following = (variable.value for variable in self.variables)
        place = tf.gather(self.first, language) + state * tf.gather(self.width, language) + column
        return tf.cast(tf.gather(gains, place), tf.float32) / STEP, tf.cast(tf.gather(following, place), tf.int32)


class Told(NamedTuple):
    """In which language the page of each owner is, (N,) int32, and how far, (N,) float32: see `zoo.language.Told`."""

    number: tf.Tensor
    trust: tf.Tensor

    def of(self, owners: tf.Tensor) -> Told:
        """What is told of some of the owners."""
        return Told(*(tf.gather(values, owners) for values in self))


class Said(NamedTuple):
    """The steps (M,) that say something, of all owners one after the other.

    Attributes:
        classes, logs: (M, k) the likeliest characters, and the logarithms of their probabilities.
        best: (M,) the likeliest class.
        blank: (M,) probability of the blank.
        owner: (M,) whose step it is.
    """

    classes: tf.Tensor
    logs: tf.Tensor
    best: tf.Tensor
    blank: tf.Tensor
    owner: tf.Tensor


def spelt(
    table: Table, found: graph_text.Steps, owners: tf.Tensor, low: tf.Tensor, high: tf.Tensor, told: Told
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """As `graph_text.texts`, by CTC; the score of one in doubt is its share of the beam, with those like it."""
    count = tf.size(told.number)
    letters = graph_text.characters(found, owners, low, high, len(table.letters), True)
    text, score, length = graph_text.written(letters, count, table.letters)
    said = telling(found, owners, low, high)
    doubted = (_weakest(letters, count) < SURE) | (tf.math.bincount(doubtful(said), minlength=count) > 0)
    rows = tf.cast(tf.where(doubted), tf.int32)  # (R, 1)
    labels, share = search(table, *stacked(said, rows[:, 0], count), told.of(rows[:, 0]))
    characters = tf.constant([letter.encode() for letter in table.letters] + [b""])
    texts = tf.strings.reduce_join(tf.gather(characters, tf.where(labels < 0, len(table.letters), labels)), 1)
    lengths = tf.reduce_sum(tf.cast(labels >= 0, tf.int32), 1)
    put = tf.tensor_scatter_nd_update
    return put(text, rows, texts), put(score, rows, share), put(length, rows, lengths)


def _weakest(letters: graph_text.Characters, count: tf.Tensor) -> tf.Tensor:
    """(N,) the least score of each owner's characters, 1 where there is none."""
    return tf.minimum(tf.math.unsorted_segment_min(letters.score, letters.owner, count), 1.0)


def told(
    table: Table, found: graph_text.Steps, owners: tf.Tensor, low: tf.Tensor, high: tf.Tensor, pages: tf.Tensor
) -> Told:
    """What the words that are read surely on the page of each owner tell.

    Args:
        pages: (N,) int32, ascending: the page of each owner.
    """
    letters, count = graph_text.characters(found, owners, low, high, len(table.letters), True), tf.size(pages)
    length = tf.math.unsorted_segment_sum(tf.ones_like(letters.owner), letters.owner, count)
    longest = tf.reduce_max(tf.concat([length, [0]], 0)) + 1
    place = tf.range(tf.size(letters.owner)) - tf.gather(tf.cumsum(length, exclusive=True), letters.owner)
    classes = tf.fill([count, longest], len(table.letters))  # after the text its last word ends
    classes = tf.tensor_scatter_nd_update(classes, tf.stack([letters.owner, place], 1), letters.best)
    ends = tf.constant(table.end)[:, None]
    columns = tf.where(table.columns == ends + 2, ends, table.columns)  # a space ends a word like any mark
    spoken = tf.broadcast_to(tf.range(len(table.end))[:, None], [len(table.end), count])  # (L, N)

    def step(
        place: tf.Tensor, state: tf.Tensor, word: tf.Tensor, known: tf.Tensor, total: tf.Tensor, number: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        column = tf.gather(columns, classes[:, place], axis=1)
        gain, state = table.look(spoken, state, column)
        word, ended = word + gain, column == ends
        known += tf.cast(~ended, tf.int32)
        tells = ended & (known >= TELLING)
        total += tf.where(tells, word, tf.zeros_like(word))
        number += tf.where(tells, known, tf.zeros_like(known))
        return place + 1, state, tf.where(ended, 0.0, word), tf.where(ended, 0, known), total, number

    none, nothing = tf.zeros_like(spoken), tf.zeros_like(spoken, tf.float32)
    start = (tf.constant(0), none, nothing, none, nothing, none)
    *_, total, number = tf.while_loop(lambda place, *_: place < longest, step, start)
    sure = (_weakest(letters, count) >= PLAIN) & (length > 0)
    total, number = tf.where(sure, total, nothing), tf.where(sure, tf.cast(number[0], tf.float32), nothing[0])
    most = tf.reduce_max(tf.concat([pages, [-1]], 0)) + 1
    total = tf.math.unsorted_segment_sum(tf.transpose(total), pages, most)  # (P, L)
    number = tf.math.unsorted_segment_sum(number, pages, most)
    settled = total[:, 0] >= SETTLED * number
    first, others = (KNOWN * PRIOR + total[:, :1]) / (PRIOR + number)[:, None], total[:, 1:] / (FEW + number)[:, None]
    mean = tf.maximum(tf.concat([first, others], 1), FOREIGN)
    best = tf.where(settled, 0, tf.argmax(mean, 1, tf.int32))
    mean = tf.gather(mean, best, batch_dims=1)
    return Told(best, tf.minimum((mean - FOREIGN) / (KNOWN - FOREIGN), 1.0)).of(pages)


def telling(found: graph_text.Steps, owners: tf.Tensor, low: tf.Tensor, high: tf.Tensor) -> Said:
    """The steps that count and say something: of those in a row that are surely blank the first alone."""
    steps = tf.shape(found.best)[1]
    place = tf.range(steps)[None]
    counts = (place >= low[:, None]) & (place < high[:, None])
    owner = tf.boolean_mask(tf.repeat(owners[:, None], steps, 1), counts)
    fields = (found.classes, found.logs, found.best, found.blank)
    classes, logs, best, blank = (tf.boolean_mask(values, counts) for values in fields)
    silent = blank >= BLANK
    again = tf.concat([[False], silent[:-1] & (owner[1:] == owner[:-1])], 0)[: tf.size(owner)]
    kept = ~(silent & again)
    return Said(*(tf.boolean_mask(values, kept) for values in (classes, logs, best, blank, owner)))


def doubtful(said: Said) -> tf.Tensor:
    """The owners of steps that may hold another character than the likeliest of itself, or of its neighbours."""
    best, owner = said.best, said.owner
    same = owner[1:] == owner[:-1]
    before = tf.concat([best[:1], tf.where(same, best[:-1], best[1:])], 0)
    after = tf.concat([tf.where(same, best[1:], best[:-1]), best[-1:]], 0)
    possible = said.logs >= np.log(DOUBT)
    for likeliest in (best, before, after):
        possible &= said.classes != likeliest[:, None]
    return tf.boolean_mask(owner, tf.reduce_any(possible, 1))


def stacked(said: Said, rows: tf.Tensor, count: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Classes and logs (R, T, k), and the blank's logs (R, T), of the owners `rows`, filled up with blank steps."""
    first = tf.math.unsorted_segment_min(tf.range(tf.size(said.owner)), said.owner, count)
    number = tf.tensor_scatter_nd_update(tf.fill([count], -1), rows[:, None], tf.range(tf.size(rows)))
    place, row = tf.range(tf.size(said.owner)) - tf.gather(first, said.owner), tf.gather(number, said.owner)
    wanted = row >= 0
    where = tf.stack([tf.boolean_mask(row, wanted), tf.boolean_mask(place, wanted)], 1)
    shape = tf.stack([tf.size(rows), tf.reduce_max(tf.concat([where[:, 1], [0]], 0)) + 1])
    deep = tf.concat([shape, tf.shape(said.classes)[1:]], 0)
    put = tf.tensor_scatter_nd_update
    return (
        put(tf.zeros(deep, tf.int32), where, tf.boolean_mask(said.classes, wanted)),
        put(tf.fill(deep, NEVER), where, tf.boolean_mask(said.logs, wanted)),
        put(tf.zeros(shape), where, tf.math.log(tf.boolean_mask(said.blank, wanted))),
    )


def search(
    table: Table, classes: tf.Tensor, logs: tf.Tensor, blank: tf.Tensor, told: Told
) -> tuple[tf.Tensor, tf.Tensor]:
    """The labels (R, T) of the best text of each row, -1 where a step adds none, and the share of those like it.

    As `zoo.language.search`, whose names these are.

    Args:
        classes, logs, blank: of the steps, see `stacked`.
        told: of the page of each row.
    """
    count, steps, tried = tf.shape(blank)[0], tf.shape(blank)[1], table.tried
    weight, columns, alike = table.weight * told.trust[:, None], tf.constant(table.columns), tf.constant(table.alike)
    abroad = (told.number > 0) | (told.trust < NATIVE)  # texts that differ by accents alone are alike there
    abroad, spoken = (tf.repeat(tf.cast(x, tf.int32)[:, None], WIDTH, 1) for x in (abroad, told.number))
    every = tf.repeat(spoken[..., None], tried, 2)  # (R, W, k)

    def step(number, blanked, written, gained, state, last, name, kin, parents, labels):
        label, row = classes[:, number, None], logs[:, number, None]  # (R, 1, k)
        again = last[..., None] == label
        both = _either(blanked, written)
        stay = [both + blank[:, number, None], written + tf.reduce_max(tf.where(again, row, NEVER), -1)]
        ways = tf.where(again, blanked[..., None], both[..., None]) + row  # (R, W, k)
        longer = name[..., None] * 1_000_003 + tf.cast(label, tf.int64) + 1
        same = name[:, :, None, None] == longer[:, None]
        stay[1] = _either(stay[1], tf.reduce_max(tf.where(same, ways[:, None], NEVER), [2, 3]))
        ways = tf.where(tf.reduce_any(same, 1), NEVER, ways)
        column = tf.gather_nd(columns, tf.stack([every, tf.broadcast_to(label, tf.shape(ways))], -1))
        gain, after = table.look(every, tf.broadcast_to(state[..., None], tf.shape(ways)), column)
        further = gained[..., None] + weight[..., None] * gain

        each = (ways, further, after, longer, tf.broadcast_to(label, tf.shape(ways)))
        flat = [tf.reshape(x, [count, WIDTH * tried]) for x in each]
        _, order = tf.math.top_k(tf.concat([_either(*stay) + gained, flat[0] + flat[1]], 1), WIDTH)
        new, place = order >= WIDTH, tf.maximum(order - WIDTH, 0)
        parent = tf.where(new, place // tried, order)
        ways, further, after, longer, label = (tf.gather(x, place, batch_dims=1) for x in flat)
        held = (*stay, gained, state, name, last, kin)
        silent, spoken, gained, state, name, last, kin = (tf.gather(x, parent, batch_dims=1) for x in held)
        added = tf.gather_nd(alike, tf.stack([abroad, label], -1))
        return (
            number + 1,
            tf.where(new, NEVER, silent), tf.where(new, ways, spoken), tf.where(new, further, gained),
            tf.where(new, after, state), tf.where(new, label, last), tf.where(new, longer, name),
            tf.where(new & (added > 0), kin * 1_000_003 + added, kin),
            parents.write(number, parent), labels.write(number, tf.where(new, label, -1)),
        )  # fmt: skip

    first = tf.concat([[0.0], tf.fill([WIDTH - 1], NEVER)], 0)
    shape = tf.stack([count, WIDTH])
    arrays = [tf.TensorArray(tf.int32, steps, element_shape=[None, WIDTH]) for _ in range(2)]
    names = tf.broadcast_to(-tf.range(WIDTH, dtype=tf.int64), shape)
    start = (tf.constant(0), tf.broadcast_to(first, shape), tf.fill(shape, NEVER), tf.zeros(shape))
    start += (tf.zeros(shape, tf.int32), tf.fill(shape, -1), names, tf.zeros(shape, tf.int64), *arrays)
    done = tf.while_loop(lambda number, *_: number < steps, step, start)
    blanked, written, gained, state = done[1:5]
    kin = done[7]
    gain, _ = table.look(spoken, state, tf.gather(table.end, spoken))
    score = _either(blanked, written) + gained + weight * gain
    best = tf.argmax(score, 1, tf.int32)
    like = (kin == tf.gather(kin, best, batch_dims=1)[:, None]) & (kin != 0)
    like |= tf.range(WIDTH) == best[:, None]
    share = tf.reduce_sum(tf.where(like, tf.nn.softmax(score / EASED), 0.0), 1)
    return _back(done[8], done[9], best, steps), share


def _back(parents: tf.TensorArray, labels: tf.TensorArray, best: tf.Tensor, steps: tf.Tensor) -> tf.Tensor:
    """(R, T) labels on the way to the prefixes that are best at the end."""

    def step(number: tf.Tensor, best: tf.Tensor, found: tf.TensorArray) -> tuple:
        parent, label = parents.read(number), labels.read(number)
        found = found.write(number, tf.gather(label, best, batch_dims=1))
        return number - 1, tf.gather(parent, best, batch_dims=1), found

    found = tf.TensorArray(tf.int32, steps, element_shape=[None])
    *_, found = tf.while_loop(lambda number, *_: number >= 0, step, (steps - 1, best, found))
    return tf.transpose(tf.reshape(found.stack(), [steps, tf.size(best)]))


def _either(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """ln(eᵃ + eᵇ)."""
    return tf.maximum(a, b) + tf.math.log1p(tf.exp(-tf.abs(a - b)))
