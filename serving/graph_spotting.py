"""A spotter's whole reading path as one TensorFlow graph: pictures in, words out.

    "read"    encoded images (B,) string ─► polygons, texts, scores, … of the words of each page, in reading order
    "detect"  encoded images (B,) string ─► polygons, scores

    image_bytes ─► for each page: decode ─► letterbox ─► locate ─► regions ─► boxes ─► read, by width ─► steps ┐
                                                   └─ in bands, where the text is small                        │
                                                                                       lines ◄─ texts ◄────────┘

Outputs are those of `serving.graph`; it does what `zoo.reading.Spotter` does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import keras
import tensorflow as tf

from serving import graph, graph_alphabets, graph_joining, graph_language, graph_strips, graph_text
from serving.graph_loop import joined
from zoo.charset import Charset
from zoo.geometry import RIM


@dataclass(frozen=True)
class Spotting:
    """A network's calls, and how the reading path uses them.

    Attributes:
        locator: from (B, H, W, 3) pixels to "logits" and shared features.
        viewer: from these, the pixels as "image", "words" (B, N, 4, 2) and "columns" (B, N, W) to views of words.
        reader: from these views to "text" (B · N, W / 2, K).
        reading: the card's values for reading, "size" and "widths" among them.
        charset: of the texts.
        height: rows of a word that is as wide as "columns" says.
        table: of the language that is asked where texts are in doubt; None is none.
    """

    locator: keras.Model
    viewer: keras.Model
    reader: keras.Model
    reading: Mapping[str, Any]
    charset: Charset
    height: int = 16
    table: graph_language.Table | None = None

    @property
    def tried(self) -> int:
        return self.table.held if self.table else 0

    @property
    def size(self) -> tuple[int, int]:
        height, width = self.reading["size"]
        return height, width

    @property
    def widths(self) -> list[int]:
        return sorted(self.reading["widths"])

    @cached_property
    def locate(self) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
        return graph.once(self.locator, [None, None, None, 3])

    @cached_property
    def read(self) -> Callable[[dict[str, tf.Tensor]], tf.Tensor]:
        """The logits (N, T, K) of words, by what the viewer takes; a graph holds it once for all that call it."""
        specs = {name: tf.TensorSpec(x.shape, x.dtype) for name, x in self.viewer.input.items()}

        @tf.function(input_signature=[specs])
        def logits(given: dict[str, tf.Tensor]) -> tf.Tensor:
            return self.reader(self.viewer(given, training=False), training=False)["text"]

        return logits

    def find(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        """The map of text and the shared features of pixels (1, H, W, 3) uint8, and these as "image"."""
        image = tf.cast(pixels, self.locator.inputs[0].dtype)
        return self.locate(image) | {"image": image}


def signatures(spotting: Spotting) -> dict[str, Callable[[tf.Tensor], dict[str, tf.Tensor]]]:
    """The functions of encoded images (B,) string."""
    return {"read": partial(read, spotting), "detect": partial(detect, spotting)}


def detect(spotting: Spotting, data: tf.Tensor) -> dict[str, tf.Tensor]:
    """The places of words on pages."""
    return graph.located(spotting.find, spotting.reading, data)


def read(spotting: Spotting, data: tf.Tensor) -> dict[str, tf.Tensor]:
    """The words of pages, in reading order; where nothing was read there is no word."""
    length, letters = spotting.widths[-1] // 2, spotting.charset.characters

    def see(look: graph.Look) -> tuple[tf.Tensor, ...]:
        polygons, scores, halves = graph_joining.candidates(look.polygons, look.scores, letters)
        quads = graph_joining.with_pairs(look.quads, tf.boolean_mask(halves, halves[:, 0] >= 0))
        wide, high = graph_strips.sides(polygons)
        items = graph.items(polygons, high, wide, halves)
        turned = tf.gather_nd(graph.rolled(quads), items)
        lengths = [tf.shape(values)[:1] for values in (polygons, items)]
        shared = {name: value for name, value in look.given.items() if name != "logits"}
        return *lengths, polygons, scores, halves, items, *_sure(spotting, shared, turned, length)

    def step(number: tf.Tensor) -> tuple[tf.Tensor, ...]:
        page = graph_strips.page(data[number])
        counts, of_looks, polygons, scores, halves, items, *steps = graph.looked(
            spotting.find, spotting.reading, page, see, of_seen, seen
        )
        halves, items = graph.renumbered(halves, items, counts, of_looks)  # in each look words were counted from 0
        lengths = [tf.shape(values)[:1] for values in (polygons, items)]
        return *lengths, tf.shape(page)[None, :2], polygons, scores, halves, items, *steps

    of_steps, steps = graph_text.Steps.specs(length, spotting.tried)
    of_seen = (tf.int32, tf.int32, tf.float32, tf.float32, tf.int32, tf.int32, *of_steps)
    seen: tuple[list[int | None], ...] = ([None], [None], [None, 4, 2], [None], [None, 2], [None, 2], *steps)
    kinds, shapes = (*of_seen[:2], tf.int32, *of_seen[2:]), (*seen[:2], [None, 2], *seen[2:])
    counts, of_pages, sizes, polygons, scores, halves, items, *fields = joined(
        tf.size(data), step, kinds, shapes, parallel=1
    )
    halves, items = graph.renumbered(halves, items, counts, of_pages)
    found, every = graph.Words(counts, sizes, polygons, scores, halves, items), graph_text.Steps(*fields)
    total = tf.shape(items)[0]
    owners, low = tf.range(total), tf.zeros([total], tf.int32)
    if spotting.table:
        pages, high = graph.pages_of(found), low + length
        lowered = graph_alphabets.lowered(spotting.table.alphabets, every, owners, low, high, pages)
        every = graph_alphabets.native(every, tf.gather(lowered, pages), spotting.table.tried)
        told = graph_language.told(spotting.table, every, owners, low, high, pages)
        texts = graph_language.spelt(spotting.table, every, owners, low, high, told)
    else:
        texts = graph_text.texts(every, owners, total, low, low + length, spotting.charset.characters, True)
    return graph.laid_out(found, letters, *texts)


def _sure(spotting: Spotting, shared: dict[str, tf.Tensor], quads: tf.Tensor, length: int) -> graph_text.Steps:
    """As `_steps`, with a second look from a little closer at what is unsure, where that is surer."""
    first, again = _steps(spotting, shared, quads, length), spotting.reading.get("again", 0.0)
    if not again:
        return first
    scores = _scores(spotting, first)
    unsure = tf.where(scores < again)[:, 0]
    second = _steps(spotting, shared, _closer(tf.gather(quads, unsure)), length)
    surer = tf.where(_scores(spotting, second) > tf.gather(scores, unsure))
    every = tf.range(tf.size(scores, tf.int64))
    order = tf.tensor_scatter_nd_update(every, tf.gather(unsure, surer), tf.size(scores, tf.int64) + surer[:, 0])
    return graph_text.Steps(*(tf.gather(tf.concat(pair, 0), order) for pair in zip(first, second, strict=True)))


def _scores(spotting: Spotting, found: graph_text.Steps) -> tf.Tensor:
    """The product (N,) of the scores of the characters that steps (N, T) hold."""
    count = tf.shape(found.best)[0]
    low = tf.zeros([count], tf.int32)
    high = low + tf.shape(found.best)[1]
    return graph_text.texts(found, tf.range(count), count, low, high, spotting.charset.characters, True)[1]


def _closer(quads: tf.Tensor) -> tf.Tensor:
    """Quadrilaterals (N, 4, 2) without the rims that `zoo.geometry.closer` takes off."""
    down = RIM * (tf.gather(quads, [3, 2], axis=1) - quads[:, :2])
    return quads + tf.concat([down, -tf.reverse(down, [1])], 1)


def _steps(spotting: Spotting, shared: dict[str, tf.Tensor], quads: tf.Tensor, length: int) -> graph_text.Steps:
    """What stands in quadrilaterals (M, 4, 2) of a page, as steps (M, length)."""
    wide, high = graph_strips.sides(quads)
    most = spotting.widths[-1]
    columns = tf.clip_by_value(tf.round(spotting.height * wide / tf.maximum(high, 1e-3)), min(4, most), most)
    kinds = tf.reduce_sum(tf.cast(columns[:, None] > tf.constant(spotting.widths[:-1], tf.float32)[None], tf.int32), 1)
    order = tf.argsort(kinds, stable=True)
    quads, columns = tf.gather(quads, order), tf.gather(columns, order)

    def part(begin: tf.Tensor, stop: tf.Tensor, width: tf.Tensor) -> graph_text.Steps:
        inside = tf.cast(tf.range(width), tf.float32)[None] < columns[begin:stop, None]
        words = {"words": quads[None, begin:stop], "columns": tf.cast(inside, tf.float32)[None]}
        return graph_text.steps(spotting.read({**shared, **words}), spotting.charset.blank, length, spotting.tried)

    found = graph.in_parts(tf.gather(kinds, order), spotting.widths, part, length, spotting.tried)
    back = graph_text.inverse(order)
    return graph_text.Steps(*(tf.gather(values, back) for values in found))
