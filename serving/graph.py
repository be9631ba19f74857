"""The whole reading path as one TensorFlow graph: pictures in, words out.

    "read"       encoded images (B,) string ─► polygons, texts, scores, … of the words of each page, in reading order
    "detect"     encoded images (B,) string ─► polygons, scores
    "recognize"  encoded crops (B,) string  ─► texts, scores

    image_bytes ─► for each page: decode ─► letterbox ─► detector ─► regions ─► boxes ─► strips ┐
                                                                                                ▼ of all pages
                                    lines ◄─ texts ◄─ steps ◄─ recognizer, up to `BATCH` of one width at once

All operations are TensorFlow's own, so that any TensorFlow Serving runs the graph. It does what `zoo.reader` does, with
three exceptions: a very large page is not decoded at a part of its size; columns of running text are read across (the
client may lay the words out anew: `zoo.page.assemble`); and only detectors whose outputs are a map of text are taken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from serving import (
    graph_alphabets,
    graph_bands,
    graph_joining,
    graph_language,
    graph_regions,
    graph_strips,
    graph_text,
    graph_upwards,
)
from serving.graph_loop import joined
from serving.graph_strips import Places
from zoo.bands import MOST
from zoo.charset import Charset
from zoo.image import rim
from zoo.reading import BATCH
from zoo.upwards import TALL

Network = Callable[[tf.Tensor], dict[str, tf.Tensor]]  # from pixels to outputs by name

Seen = tuple[graph_text.Steps, tf.Tensor, tf.Tensor, tf.Tensor]  # and owners, first steps, and those after the last

REGIONS = ("threshold", "box_threshold", "unclip", "shrunk", "min_size")


@dataclass(frozen=True)
class Reading:
    """The two networks, and how the reading path uses them.

    Attributes:
        detector, recognizer: from (B, H, W, 3) pixels to {"logits"}.
        detection, recognition: the cards' values for reading.
        charset: of the recognizer.
        table: of the language that is asked where it is in doubt; None is none.
    """

    detector: keras.Model
    recognizer: keras.Model
    detection: Mapping[str, Any]
    recognition: Mapping[str, Any]
    charset: Charset
    table: graph_language.Table | None = None

    @property
    def tried(self) -> int:
        return self.table.held if self.table else 0

    @property
    def again(self) -> float:
        return float(self.recognition.get("again", 0.0))

    @property
    def size(self) -> tuple[int, int]:
        height, width = self.detection["size"]
        return height, width

    @property
    def height(self) -> int:
        return self.recognition["height"]

    @property
    def widths(self) -> list[int]:
        return sorted(self.recognition["widths"])

    @property
    def ctc(self) -> bool:
        return self.recognition.get("decoding", "ctc") == "ctc"

    @cached_property
    def find(self) -> Network:
        """The detector, of a batch of pixels."""
        return once(self.detector, [None, None, None, 3])

    @cached_property
    def recognize(self) -> Network:
        """The recognizer, of a batch of strips."""
        return once(self.recognizer, [None, self.height, self.widths[0] if len(self.widths) == 1 else None, 3])


def once(network: keras.Model, shape: list[int | None]) -> Network:
    """A network's outputs for images of a shape, as a function that a graph holds once for all that call it."""

    @tf.function(input_signature=[tf.TensorSpec(shape, network.inputs[0].dtype)])
    def outputs(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return network(image, training=False)

    return outputs


class Words(NamedTuple):
    """Words on pages, of all of them one after the other.

    Attributes:
        counts: (B,) int32 words of each page.
        sizes: (B, 2) int32 height and width of each page.
        polygons: (N, 4, 2) float32 page pixels.
        scores: (N,) float32 of the detector.
        halves: (N, 2) int32 places of the two that one is around, if they are pieces of it; -1 of one that was found.
        items: (M, 2) int32 what is to be read: a word, and by how many quarters clockwise its crop is turned. The words
            themselves come first on each page, then those that are read turned, too.
    """

    counts: tf.Tensor
    sizes: tf.Tensor
    polygons: tf.Tensor
    scores: tf.Tensor
    halves: tf.Tensor
    items: tf.Tensor


class Strips(NamedTuple):
    """The strips of all items, one after the other.

    Attributes:
        pixels: (S, height, widest, 3) uint8.
        owners, starts, wanted: (S,) int32 of each strip its item, its first column, the width that it needs.
    """

    pixels: tf.Tensor
    owners: tf.Tensor
    starts: tf.Tensor
    wanted: tf.Tensor


def signatures(reading: Reading) -> dict[str, Callable[[tf.Tensor], dict[str, tf.Tensor]]]:
    """The functions of encoded images, or crops, (B,) string."""
    return {
        "read": lambda data: read(reading, data),
        "detect": lambda data: detect(reading, data),
        "recognize": lambda data: recognize(reading, data),
    }


def detect(reading: Reading, data: tf.Tensor) -> dict[str, tf.Tensor]:
    """The places of words on pages."""
    return located(_find(reading), reading.detection, data)


def located(find: Network, values: Mapping[str, Any], data: tf.Tensor) -> dict[str, tf.Tensor]:
    """The places of words on pages, by what finds them and a card's values for reading; see `looked`."""

    def step(number: tf.Tensor) -> tuple[tf.Tensor, ...]:
        page = graph_strips.page(data[number])
        polygons, scores = _boxes(find, values, page)
        return tf.shape(scores), tf.shape(page)[None, :2], polygons, scores

    kinds, shapes = (tf.int32, tf.int32, tf.float32, tf.float32), ([None], [None, 2], [None, 4, 2], [None])
    counts, sizes, polygons, scores = joined(tf.size(data), step, kinds, shapes, parallel=1)
    splits = tf.cumsum(counts, exclusive=True)
    return {
        "polygons": padded(polygons, counts, splits),
        "detection": padded(scores, counts, splits),
        "counts": counts,
        "sizes": sizes,
    }


def recognize(reading: Reading, data: tf.Tensor) -> dict[str, tf.Tensor]:
    """The texts of crops, each of one word or line."""

    def step(number: tf.Tensor) -> tuple[tf.Tensor, ...]:
        image = graph_strips.decode(data[number])
        cut, starts = graph_strips.strips(image, reading.height, reading.widths[-1], reading.ctc)
        wanted = graph_strips.strip_width(tf.shape(image)[:2], reading.height)
        return cut, starts, tf.repeat(number, tf.size(starts)), tf.repeat(wanted, tf.size(starts))

    shapes = (_strip_shape(reading), [None], [None], [None])
    kinds = (tf.uint8, tf.int32, tf.int32, tf.int32)
    cut, starts, owners, wanted = joined(tf.size(data), step, kinds, shapes)
    texts, scores, _ = _texts(reading, cut, owners, starts, wanted, tf.range(tf.size(data)))  # each for itself
    return {"texts": texts, "scores": scores}


def read(reading: Reading, data: tf.Tensor) -> dict[str, tf.Tensor]:
    """The words of pages, in reading order; where nothing was read there is no word."""
    found, strips = _pages(reading, data)
    return laid_out(found, reading.charset.characters, *_texts(reading, *strips, pages_of(found)))


def pages_of(found: Words) -> tf.Tensor:
    """(M,) int32, ascending: the page of each item."""
    return tf.gather(tf.repeat(tf.range(tf.size(found.counts)), found.counts), found.items[:, 0])


def laid_out(
    found: Words,
    letters: str,
    texts: tf.Tensor,
    scores: tf.Tensor,
    lengths: tf.Tensor,
) -> dict[str, tf.Tensor]:
    """The words of pages in reading order, by the text, its score and its length of each item.

    Args:
        letters: of the recognizer's alphabet; where a space is one, boxes of several words are taken apart.
    """
    best, turns = _best(found, scores, lengths)
    polygons = tf.gather(rolled(found.polygons), turns, batch_dims=1)
    texts, scores = tf.gather(texts, best), tf.gather(scores, best)

    total = tf.size(found.counts)
    pages = tf.repeat(tf.range(total), found.counts)
    *words, chosen = graph_joining.joined(polygons, texts, scores, found.scores, found.halves)
    some = (tf.strings.length(texts) > 0) & chosen
    pages, polygons, texts, scores, sure = (tf.boolean_mask(values, some) for values in (pages, *words))
    if " " in letters:
        polygons, texts, scores, sure, owners = graph_joining.parted(letters, (polygons, texts, scores, sure))
        pages = tf.gather(pages, owners)
    pages, polygons, texts, scores, sure = graph_joining.closed_up(letters, pages, (polygons, texts, scores, sure))
    counts, splits = _counted(pages, total)
    order, lines = _in_order(polygons, counts, splits)
    outputs = {"polygons": polygons, "texts": texts, "scores": scores, "detection": sure}
    result = {name: padded(tf.gather(values, order), counts, splits) for name, values in outputs.items()}
    return result | {"lines": padded(lines, counts, splits), "counts": counts, "sizes": found.sizes}


def rolled(polygons: tf.Tensor) -> tf.Tensor:
    """(N, 4, 4, 2): polygons (N, 4, 2) from where text begins that runs level, upwards, back and downwards."""
    return tf.stack([tf.roll(polygons, turn, 1) for turn in range(4)], 1)


def items(polygons: tf.Tensor, high: tf.Tensor, wide: tf.Tensor, halves: tf.Tensor) -> tf.Tensor:
    """(M, 2) int32, as `Words` has them, of words (N, 4, 2) so high and wide."""
    along, found = polygons[:, 1] - polygons[:, 0], halves[:, 0] < 0
    upward = -along[:, 1] > tf.abs(along[:, 0])
    tall = (tf.cast(high, tf.float32) > TALL * tf.cast(wide, tf.float32)) & found
    groups = ((tf.ones_like(found), 0), (tall, 1), (tall, 3), (upward & ~tall & found, 2))
    places = [tf.cast(tf.where(among)[:, 0], tf.int32) for among, _ in groups]
    turns = [tf.fill(tf.shape(place), turn) for place, (_, turn) in zip(places, groups, strict=True)]
    return tf.stack([tf.concat(places, 0), tf.concat(turns, 0)], 1)


# --- pages -----------------------------------------------------------------------------------------------------------


def _pages(reading: Reading, data: tf.Tensor) -> tuple[Words, Strips]:
    """What the detector finds on the pages, and the strips of it."""

    def step(number: tf.Tensor) -> tuple[tf.Tensor, ...]:
        page = graph_strips.page(data[number])
        polygons, scores = _boxes(_find(reading), reading.detection, page)
        polygons, scores, halves = graph_joining.candidates(polygons, scores, reading.charset.characters)
        items, strips, owners, starts, wanted = _page_strips(reading, page, polygons, halves)
        lengths = [tf.shape(values)[:1] for values in (polygons, items, strips)]
        return *lengths, tf.shape(page)[None, :2], polygons, scores, halves, items, strips, owners, starts, wanted

    one, two = [None], [None, 2]
    shapes = (one, one, one, two, [None, 4, 2], one, two, two, _strip_shape(reading), one, one, one)
    kinds = (*(tf.int32,) * 4, tf.float32, tf.float32, tf.int32, tf.int32, tf.uint8, *(tf.int32,) * 3)
    words, items, strips, sizes, polygons, scores, halves, chosen, pixels, owners, *fields = joined(
        tf.size(data), step, kinds, shapes, parallel=1
    )
    found = Words(words, sizes, polygons, scores, *renumbered(halves, chosen, words, items))
    owners += tf.repeat(tf.cumsum(items, exclusive=True), strips)  # on each page items were counted from 0
    return found, Strips(pixels, owners, *fields)


def renumbered(halves: tf.Tensor, items: tf.Tensor, words: tf.Tensor, counts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Halves (N, 2) and items (M, 2) whose words were counted from 0 on each page, counted over all pages.

    Args:
        halves, items: of all pages.
        words, counts: (B,) words and items of each page.
    """
    before = tf.cumsum(words, exclusive=True)
    of_items = tf.repeat(before, counts)
    halves = tf.where(halves < 0, halves, halves + tf.repeat(before, words)[:, None])
    return halves, items + tf.stack([of_items, tf.zeros_like(of_items)], 1)


def _find(reading: Reading) -> Network:
    return lambda pixels: reading.find(tf.cast(pixels, reading.detector.inputs[0].dtype))


def _boxes(find: Network, values: Mapping[str, Any], page: tf.Tensor) -> tuple[tf.Tensor, ...]:
    kinds, shapes = (tf.float32, tf.float32), ([None, 4, 2], [None])
    return looked(find, values, page, lambda look: (look.polygons, look.scores), kinds, shapes)


class Look(NamedTuple):
    """What was seen of a page, or of a part of it.

    Attributes:
        polygons: (N, 4, 2) float32 in pixels of the page.
        scores: (N,) of them.
        quads: (N, 4, 2) the same in pixels that the network saw.
        given: all that the network gave, by name.
    """

    polygons: tf.Tensor
    scores: tf.Tensor
    quads: tf.Tensor
    given: dict[str, tf.Tensor]

    def among(self, counts: tf.Tensor) -> Look:
        """The look with those boxes alone of which `counts` (N,) is true."""
        polygons, scores, quads = (tf.boolean_mask(x, counts) for x in (self.polygons, self.scores, self.quads))
        return Look(polygons, scores, quads, self.given)

    def moved(self, left: tf.Tensor, top: tf.Tensor) -> Look:
        """The look at an image as one at a part, which begins there, of a larger one."""
        return self._replace(polygons=self.polygons + tf.cast(tf.stack([left, top]), tf.float32))


def looked(
    find: Callable[[tf.Tensor], dict[str, tf.Tensor]],
    values: Mapping[str, Any],
    page: tf.Tensor,
    see: Callable[[Look], tuple[tf.Tensor, ...]],
    kinds: tuple[tf.DType, ...],
    shapes: tuple[Sequence[int | None], ...],
) -> tuple[tf.Tensor, ...]:
    """What is seen of a page at once or, where its text is small, of one band of it after the other, from closer; of a
    long page in parts, one after the other.

    Args:
        find: from pixels (1, H, W, 3) to "logits" (1, h, w, 1), and others.
        values: a card's, for reading.
        page: (H, W, 3) uint8.
        see: makes of a look what is wanted of it; what it makes of bands and parts is joined along the first axis.
        kinds, shapes: of that.
    """
    size = tf.shape(page)[:2]
    wide, every = size[1] > size[0], graph_bands.parts(size)

    def step(number: tf.Tensor) -> tuple[tf.Tensor, ...]:
        start, none = every.starts[number], tf.constant(0)
        corner = tf.where(wide, tf.stack([none, start]), tf.stack([start, none]))  # down, across
        part = tf.slice(page, tf.concat([corner, [0]], 0), tf.concat([tf.minimum(size, every.length), [3]], 0))

        def counted(look: Look) -> tuple[tf.Tensor, ...]:
            middles = tf.reduce_mean(tf.cast(look.polygons, tf.float64), 1)  # across, down
            along = tf.where(wide, middles[:, 0], middles[:, 1]) + tf.cast(start, tf.float64)
            counts = (every.edges[number] <= along) & (along < every.edges[number + 1])
            return see(look.among(counts).moved(corner[1], corner[0]))

        return _looked(find, values, part, counted, kinds, shapes)

    return tuple(joined(every.count, step, kinds, shapes, parallel=1))


def _looked(
    find: Callable[[tf.Tensor], dict[str, tf.Tensor]],
    values: Mapping[str, Any],
    page: tf.Tensor,
    see: Callable[[Look], tuple[tf.Tensor, ...]],
    kinds: tuple[tf.DType, ...],
    shapes: tuple[Sequence[int | None], ...],
) -> tuple[tf.Tensor, ...]:
    """As `looked`, of a page that is not long, or of a part."""
    size, multiple = values["size"], int(values.get("multiple", 256))
    usual = {"small": 0.0, "wanted": 18.0, "most": MOST, "room": 0, "aside": False}
    small, wanted, most, room, aside = (values.get(key, value) for key, value in usual.items())
    room = room or size[0] * size[1]

    def look(part: tf.Tensor, batch: tf.Tensor, inner: tf.Tensor) -> Look:
        given = find(batch[None])
        polygons, scores = on_page(given["logits"][0, :, :, 0], batch, inner, part, values)
        scale = tf.cast(tf.shape(part)[:2], tf.float32) / tf.cast(inner, tf.float32)
        return Look(polygons, scores, polygons / tf.reverse(scale, [0]), given)

    batch, inner = graph_strips.letterbox(page, size, multiple)
    first = look(page, batch, inner)
    scale, height = tf.cast(tf.shape(page)[0] / inner[0], tf.float32), graph_bands.height(first.polygons)

    def enlarged(height: tf.Tensor) -> tf.Tensor:
        return tf.minimum(wanted / tf.cast(height, tf.float64), most / tf.cast(scale, tf.float64))

    def turned(_: tf.Tensor) -> tuple[tf.Tensor, ...]:
        factor = tf.where(place.height < small * scale, enlarged(place.height), 1 / tf.cast(scale, tf.float64))
        largest = tf.constant(max(room, size[0] * size[1]), tf.float64)  # pixels
        shown = graph_upwards.widened(place, tf.shape(page)[:2], largest / factor**2)
        part = graph_strips.turn(page[shown.top : shown.bottom, shown.left : shown.right], tf.constant(1))
        pixels = tf.cast(tf.reduce_prod(tf.shape(part)[:2]), tf.float64)
        factor = tf.minimum(factor, tf.sqrt(largest / pixels))
        found = look(part, *graph_strips.canvas(part, factor, multiple))
        found = found.among(graph_upwards.words(found.polygons, place.usual))
        found = found._replace(polygons=graph_upwards.turned(found.polygons, tf.shape(part)[1]))
        found = found.moved(shown.left, shown.top)
        found = found.among(graph_upwards.taken(first.polygons, found.polygons))
        return *see(found), found.polygons

    def uncovered(look: Look) -> tuple[tf.Tensor, ...]:
        return see(look.among(~graph_upwards.covered(look.polygons, words)) if aside else look)

    if aside:
        place = graph_upwards.part(first.polygons, tf.shape(page)[:2])
        *others, words = joined(
            tf.cast(place.some, tf.int32), turned, (*kinds, tf.float32), (*shapes, [None, 4, 2]), parallel=1
        )

    def closer() -> tuple[tf.Tensor, ...]:
        factor = enlarged(height)
        every = graph_bands.bands(first.polygons, tf.shape(page)[:2], factor, room)

        def step(number: tf.Tensor) -> tuple[tf.Tensor, ...]:
            begin, end, low, high = graph_bands.rows(every, number)
            part = page[begin:end, every.left : every.right]
            found = look(part, *graph_strips.canvas(part, factor, multiple))
            found = found.moved(every.left, begin)
            middles = tf.cast(tf.reduce_mean(found.polygons[..., 1], 1), tf.float64)
            return uncovered(found.among((low <= middles) & (middles < high)))

        return tuple(joined(every.count, step, kinds, shapes, parallel=1))

    seen = tf.cond(height < small * scale, closer, lambda: uncovered(first)) if small else uncovered(first)
    return tuple(tf.concat(both, 0) for both in zip(others, seen, strict=True)) if aside else seen


def on_page(
    logits: tf.Tensor, batch: tf.Tensor, inner: tf.Tensor, page: tf.Tensor, values: Mapping[str, Any]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Boxes (N, 4, 2) in pixels of a page and their scores (N,), by a map of text.

    Args:
        logits: (h, w) the map.
        batch: (H, W, 3) the letterboxed page of which it is.
        inner: (2,) height and width that the page has in it.
        page: (H', W', 3).
        values: a card's, for reading.
    """
    stride = tf.cast(tf.shape(batch)[0] / tf.shape(logits)[0], tf.float32)
    used = tf.cast(tf.math.ceil(tf.cast(inner, tf.float32) / stride), tf.int32)
    probability = 0.5 + 0.5 * tf.tanh(0.5 * logits[: used[0], : used[1]])
    boxes, scores = graph_regions.boxes(probability, **{key: values[key] for key in REGIONS if key in values})
    sides = tf.cast(tf.shape(page)[:2], tf.float32)
    scale = tf.reverse(sides / tf.cast(inner, tf.float32), [0])
    return tf.clip_by_value(boxes * stride * scale, 0.0, tf.reverse(sides, [0])), scores


def _page_strips(reading: Reading, page: tf.Tensor, polygons: tf.Tensor, halves: tf.Tensor) -> tuple[tf.Tensor, ...]:
    places = graph_strips.places(polygons, page)
    chosen = items(polygons, places.sizes[:, 0], places.sizes[:, 1], halves)

    def step(number: tf.Tensor) -> tuple[tf.Tensor, ...]:
        word = chosen[number, 0]
        place = Places(*(values[word] for values in places))
        image = graph_strips.turn(graph_strips.crop(page, place), chosen[number, 1])
        cut, starts = graph_strips.strips(image, reading.height, reading.widths[-1], reading.ctc)
        wanted = graph_strips.strip_width(tf.shape(image)[:2], reading.height)
        return cut, tf.repeat(number, tf.size(starts)), starts, tf.repeat(wanted, tf.size(starts))

    shapes = (_strip_shape(reading), [None], [None], [None])
    kinds = (tf.uint8, tf.int32, tf.int32, tf.int32)
    return chosen, *joined(tf.shape(chosen)[0], step, kinds, shapes)


def _strip_shape(reading: Reading) -> list[int | None]:
    return [None, reading.height, reading.widths[-1], 3]


# --- words -----------------------------------------------------------------------------------------------------------


def _texts(
    reading: Reading, strips: tf.Tensor, owners: tf.Tensor, starts: tf.Tensor, wanted: tf.Tensor, pages: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Text, score and length of each item, whose strips stand one after the other; `pages` has the page of each."""
    seen, count = _seen(reading, strips, owners, starts, wanted), tf.size(pages)
    told, lowered = None, None
    if reading.table:
        lowered = tf.gather(graph_alphabets.lowered(reading.table.alphabets, *seen, pages), pages)  # by owners
        seen = _native(reading.table, seen, lowered)
        told = graph_language.told(reading.table, *seen, pages)
    first = _read(reading, seen, count, told)
    if not reading.again:
        return first
    unsure, more, width = _closer(reading, strips, owners, wanted, first[1])
    every = tf.range(tf.size(unsure))
    seen = _seen(reading, more, every, tf.zeros_like(every), width)
    if reading.table:
        seen = _native(reading.table, seen, tf.gather(lowered, unsure))
    second = _read(reading, seen, tf.size(unsure), told and told.of(unsure))
    surer = second[1] > tf.gather(first[1], unsure)
    place = tf.boolean_mask(unsure, surer)[:, None]
    pairs = zip(first, second, strict=True)
    text, score, length = (tf.tensor_scatter_nd_update(a, place, tf.boolean_mask(b, surer)) for a, b in pairs)
    return text, score, length


def _native(table: graph_language.Table, seen: Seen, lowered: tf.Tensor) -> Seen:
    """What was seen, with the letters of each owner's page; `lowered` (N, K) is by owners."""
    found, owners, *steps = seen
    return graph_alphabets.native(found, tf.gather(lowered, owners), table.tried), owners, *steps


def _read(
    reading: Reading, seen: Seen, count: tf.Tensor, told: graph_language.Told | None
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The texts of what was seen of so many owners, spelt by the language of their page as far as that is trusted."""
    if reading.table and told:
        return graph_language.spelt(reading.table, *seen, told)
    found, owners, low, high = seen
    return graph_text.texts(found, owners, count, low, high, reading.charset.characters, reading.ctc)


def _closer(
    reading: Reading, strips: tf.Tensor, owners: tf.Tensor, wanted: tf.Tensor, scores: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The items (R,) of one strip that are read unsurely, that strip seen from closer, and how wide it is then."""
    height, widest, count = reading.height, reading.widths[-1], tf.size(scores)
    strip = tf.math.unsorted_segment_min(tf.range(tf.size(owners)), owners, count)
    width = tf.gather(wanted, strip)
    margin = rim(height)
    # Exact, but for halves, which Python's round takes to the even number, as this does.
    wider = tf.cast(tf.round(tf.cast(width * height, tf.float64) / (height - 2 * margin)), tf.int32)
    unsure = tf.cast(tf.where((scores < reading.again) & (wider <= widest))[:, 0], tf.int32)
    strip, width, wider = (tf.gather(values, unsure) for values in (strip, width, wider))

    def step(number: tf.Tensor) -> tuple[tf.Tensor, ...]:
        pixels = strips[strip[number], margin : height - margin, : width[number]]
        seen = graph_strips.resize(pixels, tf.stack([height, wider[number]]))
        return (tf.pad(seen, [[0, 0], [0, widest - wider[number]], [0, 0]])[None],)

    (more,) = joined(tf.size(unsure), step, (tf.uint8,), (_strip_shape(reading),))
    return unsure, more, wider


def _seen(reading: Reading, strips: tf.Tensor, owners: tf.Tensor, starts: tf.Tensor, wanted: tf.Tensor) -> Seen:
    """Steps of strips, their owners, the first step of each that counts, and the one after its last."""
    widest = reading.widths[-1]
    length = reading.recognizer.compute_output_shape((None, reading.height, widest, 3))["logits"][1]
    # The narrowest width that holds a strip; they are run by width, and then put back into their places.
    widths = tf.constant(reading.widths)
    kinds = tf.reduce_sum(tf.cast(wanted[:, None] > widths[None, :-1], tf.int32), 1)
    order = tf.argsort(kinds, stable=True)
    found = _run(reading, tf.gather(strips, order), tf.gather(kinds, order), length)
    back = graph_text.inverse(order)
    found = graph_text.Steps(*(tf.gather(values, back) for values in found))
    if reading.ctc:
        return found, owners, *graph_text.cuts(found.blank, owners, starts * length // widest)
    return found, owners, tf.zeros_like(owners), tf.fill(tf.shape(owners), length)


def _run(reading: Reading, strips: tf.Tensor, kinds: tf.Tensor, length: int) -> graph_text.Steps:
    """The recognizer's steps for strips in the order of their widths' numbers."""
    kind = reading.recognizer.inputs[0].dtype

    def part(begin: tf.Tensor, stop: tf.Tensor, width: tf.Tensor) -> graph_text.Steps:
        pixels = tf.cast(strips[begin:stop, :, :width], kind)
        logits = reading.recognize(pixels)["logits"] / reading.recognition.get("temperature", 1.0)
        return graph_text.steps(logits, reading.charset.blank, length, reading.tried)

    return in_parts(kinds, reading.widths, part, length, reading.tried)


def in_parts(
    kinds: tf.Tensor, widths: list[int], part: Callable[..., graph_text.Steps], length: int, tried: int
) -> graph_text.Steps:
    """The steps of what stands in the order of its widths' numbers, up to `BATCH` of one width at once.

    Args:
        kinds: (S,) int32 places in `widths`, ascending.
        widths: that there are.
        part: from the first of some, the one after the last, and their width, to steps (·, length).
        length: T of the steps.
        tried: characters of each.
    """
    counts = tf.math.bincount(kinds, minlength=len(widths), maxlength=len(widths))
    ends = tf.cumsum(counts)
    parts = -(-counts // BATCH)
    of_part = tf.repeat(tf.range(len(widths)), parts)
    nth = tf.range(tf.size(of_part)) - tf.gather(tf.cumsum(parts, exclusive=True), of_part)
    begins = tf.gather(ends - counts, of_part) + nth * BATCH
    stops = tf.minimum(begins + BATCH, tf.gather(ends, of_part))

    def step(number: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return part(begins[number], stops[number], tf.constant(widths)[of_part[number]])

    return graph_text.Steps(*joined(tf.size(of_part), step, *graph_text.Steps.specs(length, tried), parallel=1))


def _best(found: Words, scores: tf.Tensor, lengths: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Of each word the item that is read most surely, (N,) int32, and its turn."""
    count = tf.shape(found.polygons)[0]
    sure = tf.where(lengths > 0, scores ** (1 / tf.cast(tf.maximum(lengths, 1), tf.float32)), tf.zeros_like(scores))
    table = tf.tensor_scatter_nd_update(-tf.ones([count, 4]), found.items, sure)
    items = tf.tensor_scatter_nd_update(tf.zeros([count, 4], tf.int32), found.items, tf.range(tf.size(sure)))
    turns = tf.argmax(table, 1, tf.int32)
    return tf.gather(items, turns, batch_dims=1), turns


def _counted(pages: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Words of each page, and where they begin, by the page of each word."""
    counts = tf.math.bincount(pages, minlength=total, maxlength=total)
    return counts, tf.cumsum(counts, exclusive=True)


def _in_order(polygons: tf.Tensor, counts: tf.Tensor, splits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The order of all words, page by page, and in it the line of each."""

    def step(number: tf.Tensor) -> tuple[tf.Tensor, ...]:
        begin = splits[number]
        order, lines = graph_text.lines(polygons[begin : begin + counts[number]])
        return order + begin, lines

    order, lines = joined(tf.size(counts), step, (tf.int32, tf.int32), ([None], [None]))
    return order, lines


def padded(values: tf.Tensor, counts: tf.Tensor, splits: tf.Tensor) -> tf.Tensor:
    """(B, most, …) of values (N, …) that stand page after page; zeros or empty texts where a page has fewer."""
    most = tf.reduce_max(tf.concat([counts, [0]], 0))
    place = tf.range(most)[None]
    used = place < counts[:, None]
    blank = tf.zeros(tf.concat([[1], tf.shape(values)[1:]], 0), values.dtype)
    indices = tf.where(used, splits[:, None] + place, tf.shape(values)[0])
    return tf.gather(tf.concat([values, blank], 0), indices)
