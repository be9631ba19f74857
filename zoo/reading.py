"""The reading path: a page's pixels to its words.

    Picture → Detector: letterbox → run → polygons → boxes in page pixels
            → Recognizer: strips → run → characters → readings
            → assemble: lines, blocks, reading order → Page

`run` is anything from a batch (B, H, W, 3) uint8 to a mapping from name to logits: a network in this process, an
exported file, a server, a fake. The shapes that it is given are few, whatever the sizes of the pages: see `Detector`
and `Recognizer`. This module knows no framework.
"""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from zoo import bands, decoding, geometry, image, joining, limits, righting, upwards
from zoo.alphabets import native
from zoo.charset import Charset, Reading
from zoo.constraint import constraint, fits
from zoo.image import ImageError, Picture, Sheet, Source
from zoo.language import WEIGHT, Language, Spelling, Told
from zoo.page import Document, Page, assemble
from zoo.upwards import TALL

if TYPE_CHECKING:
    from zoo import registry

Run = Callable[[np.ndarray], Mapping[str, np.ndarray]]
Spoken = str | Path | Language | Sequence[str | Path | Language]  # languages, or their names, with commas in one text

DETECTOR, RECOGNIZER = "db_mobilenet_v3_large", "crnn_mobilenet_v3_small.european"  # the default pair
ORIENTATION = "mobilenet_v3_small_page_orientation"
CERTAIN = 0.9  # probability from which a page is taken for turned
BATCH = 64  # strips at once
SEARCHED = 16  # prefixes of a beam that looks for certain texts
NOT_READING = ("labels", "min_confidence")  # what else a recognizer's or a spotter's card may say
STRIPS = "strips"  # views of words in the picture, beside those in a spotter's features


@dataclass(frozen=True)
class PageError:
    """A page that could not be read; the stream goes on after it."""

    source: str
    number: int
    message: str

    def __str__(self) -> str:
        return self.message


# ---------------------------------------------------------------- finding


class Look(NamedTuple):
    """What was seen of an image, or of a part of it.

    Attributes:
        boxes: (N, 4, 2) float32 in pixels of the image.
        scores: (N,) of them.
        given: all that the network gave.
        pixels: (H, W, 3) uint8 that it was given.
        scale: (2,) pixels of the image for one that the network saw: across, down.
        corner: (2,) pixels of the image where the part begins: across, down.
        turned: height and width of the part if it was looked at turned clockwise by a quarter.
    """

    boxes: np.ndarray
    scores: np.ndarray
    given: Mapping[str, np.ndarray]
    pixels: np.ndarray
    scale: np.ndarray
    corner: np.ndarray
    turned: tuple[int, int] | None = None

    def among(self, counts: np.ndarray) -> Look:
        """The look with those boxes alone of which `counts` (N,) is true."""
        return self._replace(boxes=self.boxes[counts], scores=self.scores[counts])

    def moved(self, corner: np.ndarray) -> Look:
        """The look at an image as one at a part, which begins at `corner`, of a larger one."""
        return self._replace(boxes=self.boxes + corner, corner=self.corner + corner)

    def seen(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes (N, 4, 2) of the image in pixels that the network saw."""
        boxes = boxes - self.corner
        return (geometry.turned(boxes, self.turned, 3) if self.turned else boxes) / self.scale


class Detector:
    """Boxes of words on a page, by a network's outputs.

    Args:
        run: from (1, H, W, 3) uint8 to named outputs: maps (1, H / s, W / s, C), or (1, N, …).
        size: (height, width) in pixels into which a page is fitted.
        multiple: of the sides of what `run` is given. With (1024, 1024) and 256 there are seven shapes: one side is
            1024, the other 256, 512, 768 or 1024. Bands (see `small`) have shapes of their own.
        small: median height of a page's boxes, in pixels of what `run` is given, below which the part of the page that
            holds text is looked at once more, from closer, in `bands`; 0 is never.
        wanted: the median height to which they are brought then, from up to `most` times as close.
        most: see `wanted`.
        room: pixels that a band may have, but for overlaps; 0: as many as `size`.
        aside: whether words that run upwards or downwards beside level ones are looked for on a turned part of the
            page, too. Their boxes begin at the lower left.
        decode: what makes boxes of the outputs, or its dotted name: see `zoo.decoding`. By default regions of "logits".
        **options: keyword arguments of `decode`.

    Raises:
        ValueError: there is no such decoding, or a value is none that it may have.
        TypeError: it takes no such option.
    """

    def __init__(
        self,
        run: Run,
        *,
        size: Sequence[int] = (1024, 1024),
        multiple: int = 256,
        small: float = 0.0,
        wanted: float = 18.0,
        most: float = bands.MOST,
        room: int = 0,
        aside: bool = False,
        decode: str | Callable = decoding.DEFAULT,
        **options: Any,
    ):
        limits.sides(2, size=size)
        limits.pixels(multiple=multiple)
        limits.within(0, math.inf, small=small, room=room)
        if small:
            limits.within(1, math.inf, wanted=wanted, most=most)
        self.run = run
        self.size = (int(size[0]), int(size[1]))
        self.small, self.wanted, self.most = small, wanted, most
        self.room = room or self.size[0] * self.size[1]
        self.multiple, self.aside = multiple, aside
        self.decode = decoding.checked(decode, options, "boxes")
        self.outputs = decoding.outputs(self.decode)
        self.options = options

    def __call__(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Boxes (N, 4, 2) float32 in pixels of the image (H, W, 3) uint8, and their scores (N,).

        A whole page is given as `image.on_paper` has it, as a `Reader` does.
        """
        boxes, scores = zip(*((look.boxes, look.scores) for look in self.looks(pixels)), strict=True)
        return np.concatenate(boxes), np.concatenate(scores)

    def looks(self, pixels: np.ndarray) -> Iterator[Look]:
        """What is seen of an image at once, or of one band after the other, from closer; of a long image in parts.

        Words that run upwards are seen first, if these are looked for.
        """
        axis = int(pixels.shape[1] > pixels.shape[0])
        for part in bands.parts(pixels.shape[:2]):
            corner = np.roll(np.array([0, part.start], "float32"), axis)  # across, down
            shown = pixels[:, part.start : part.stop] if axis else pixels[part.start : part.stop]
            for look in self._looks(np.ascontiguousarray(shown)):
                along = look.boxes.astype(float).mean(1)[:, 1 - axis] + part.start
                yield look.among((part.low <= along) & (along < part.high)).moved(corner)

    def _looks(self, pixels: np.ndarray) -> Iterator[Look]:
        first = self._look(pixels, *image.letterbox(pixels, self.size, self.multiple))
        boxes, scale = first.boxes, float(first.scale[1])
        turned = self._turned(pixels, boxes, scale) if self.aside and len(boxes) else None
        if turned:
            yield turned
            first = first.among(~upwards.covered(boxes, turned.boxes))
        height = bands.height(boxes) if self.small and len(boxes) else np.inf
        if height >= self.small * scale:
            yield first
            return
        del first  # its features are many
        factor = self._factor(height, scale)
        for band in bands.bands(boxes, pixels.shape[:2], factor, self.room):
            part = pixels[band.top : band.bottom, band.left : band.right]
            look = self._look(part, *image.canvas(part, factor, self.multiple))
            look = look.moved(np.array([band.left, band.top], "float32"))
            middles = bands.middles(look.boxes)
            look = look.among((band.low <= middles) & (middles < band.high))
            yield look.among(~upwards.covered(look.boxes, turned.boxes)) if turned else look

    def _factor(self, height: float, scale: float) -> float:
        """By which small text of this height is enlarged, seen at a `scale` before."""
        return min(self.wanted / height, self.most / scale)

    def _turned(self, pixels: np.ndarray, boxes: np.ndarray, scale: float) -> Look | None:
        """The words that run upwards or downwards, by the boxes of a first look; None where there seem to be none."""
        if (part := upwards.part(boxes, pixels.shape[:2])) is None:
            return None
        factor = self._factor(part.height, scale) if part.height < self.small * scale else 1 / scale
        most = max(self.room, math.prod(self.size))  # pixels
        part = upwards.widened(part, pixels.shape[:2], most / factor**2)
        shown = np.rot90(pixels[part.top : part.bottom, part.left : part.right], -1)
        factor = min(factor, math.sqrt(most / math.prod(shown.shape[:2])))
        look = self._look(shown, *image.canvas(shown, factor, self.multiple))
        look = look.among(upwards.words(look.boxes, part.usual))
        high, wide = shown.shape[:2]
        look = look._replace(boxes=geometry.turned(look.boxes, (high, wide), 1), turned=(wide, high))
        look = look.moved(np.array([part.left, part.top], "float32"))
        look = look.among(upwards.taken(boxes, look.boxes))
        return look if len(look.boxes) else None

    def _look(self, pixels: np.ndarray, batch: np.ndarray, scale: np.ndarray) -> Look:
        given = self.run(batch[None])
        outputs = [np.asarray(given[name])[0] for name in self.outputs]
        inner = np.rint(np.array(pixels.shape[:2]) / scale[::-1])
        stride = {"stride": batch.shape[0] / outputs[0].shape[0]} if decoding.strided(self.decode) else {}
        boxes, scores = self.decode(*(_without_padding(x, batch, inner) for x in outputs), **stride, **self.options)
        limit = np.array([pixels.shape[1], pixels.shape[0]], "float32")
        boxes = (boxes * scale).clip(0, limit).astype("float32")
        return Look(boxes, scores, given, batch, scale, np.zeros(2, "float32"))


def _without_padding(output: np.ndarray, batch: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """The part of a map (h, w, C) on which the page lies, `inner` high and wide in the batch; others as they are."""
    if output.ndim != 3:
        return output
    height, width = np.ceil(inner * output.shape[0] / batch.shape[0]).round().astype(int)
    return output[:height, :width]


# ---------------------------------------------------------------- recognizing


class Recognizer:
    """Text of crops, by a network that reads strips.

    `run` is given strips of a few widths in batches of 1, 2, 4 … 64: at most seven shapes for each width. By CTC, a
    strip wider than the widest is read in windows that overlap, and their logits are joined where both see nothing. A
    network of attention writes one character for each step, wherever that stands: there is nothing to join by, and
    such a strip is squeezed.

    Args:
        run: from (B, height, W, 3) uint8 to {"logits": (B, T, K)}, the class after the characters being CTC's blank or
            the end of the text.
        charset: the alphabet, its name or its characters.
        height: of strips, in pixels.
        widths: of strips, in pixels.
        decoding: "ctc", or "attention" where the text stands in the steps as it is, up to its end.
        beam: prefixes that a search for the likeliest text keeps; 0 takes the likeliest class of each step, which is
            quicker. By CTC only: a network of attention has chosen its characters itself.
        only: names of what texts may be, as `zoo.constraint` has them: the likeliest of these is looked for. It needs a
            beam, which is `SEARCHED` if none is given.
        temperature: by which logits are divided, so that confidence is the share of words that are right.
        least: with `only`, what is so much less probable than the likeliest text of all is not forced upon it: a text
            stays as it is unless one of those is at least so many times as probable. 0 forces all.
        spelling: a language, its name or the file that holds it, that is asked where a network of CTC is in doubt: see
            `zoo.language`; or several, also as "german,my.npz", of which that is asked that a page is in. "" is none; a
            beam is a search of its own, as are forms that are forced upon all texts.
        spelling_weight: of the language beside the picture.
        again: score below which a crop is looked at once more, from a little closer, and read as is surer; 0 is never.

    Raises:
        ValueError: another decoding, a beam without CTC, no such constraint, or a value is none that it may have.
        FileNotFoundError: there is no such language.
    """

    def __init__(
        self,
        run: Run,
        charset: str | Charset,
        *,
        height: int = 32,
        widths: Sequence[int] = (64, 128, 256, 512),
        decoding: str = "ctc",
        temperature: float = 1.0,
        beam: int = 0,
        only: Sequence[str] = (),
        least: float = 0.0,
        spelling: Spoken = "",
        spelling_weight: float = WEIGHT,
        again: float = 0.0,
    ):
        if only:
            beam, only = beam or SEARCHED, (only,) if isinstance(only, str) else only
        limits.sides(widths=widths)
        limits.pixels(height=height)
        limits.within(0, math.inf, beam=beam, least=least, temperature=temperature, spelling_weight=spelling_weight)
        limits.within(0, 1, again=again)
        if not temperature:
            raise ValueError("temperature=0: logits are divided by it")
        if decoding not in ("ctc", "attention"):
            raise ValueError(f'logits are decoded by "ctc" or "attention", not {decoding!r}')
        if beam and decoding != "ctc":
            raise ValueError(f"a beam of {beam} needs a recognizer that is read by CTC; this one writes by attention")
        self.run, self.again = run, again
        self.decoding, self.temperature, self.beam = decoding, temperature, beam
        self.rule, self.least = constraint(*only) if only else None, least
        self.charset = charset if isinstance(charset, Charset) else Charset(charset)
        searched = bool(beam) and not (only and least)  # all texts by a search that asks no language
        self.spelling = None if searched or decoding != "ctc" else spelt(spelling, self.charset, spelling_weight)
        self.height = height
        self.widths = tuple(sorted(widths))

    def __call__(self, crops: Sequence[np.ndarray]) -> list[Reading]:
        """What stands in each crop (h, w, 3) uint8 of a page, read from left to right."""
        readings, logits = self._look(crops)
        told, lowered = None, None
        if self.spelling:
            lowered = self.spelling.alphabets.lowered(logits)
            readings, logits = native(readings, logits, lowered, self._decode)
            told = self.spelling.told(readings)
        readings = self._spelt(readings, logits, told)
        unsure = [i for i, reading in enumerate(readings) if reading.score < self.again and self._fits(crops[i])]
        if unsure:
            closer, logits = self._look([image.closer(crops[i], self.height) for i in unsure])
            if lowered is not None:
                closer, logits = native(closer, logits, lowered, self._decode)
            for i, reading in zip(unsure, self._spelt(closer, logits, told), strict=True):
                readings[i] = max(readings[i], reading, key=lambda reading: reading.score)
        return readings

    def logits(self, crops: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The logits (T, K) of each crop, from which its text is read."""
        return self._look(crops)[1]

    def _spelt(self, readings: list[Reading], logits: list[np.ndarray], told: Told | None) -> list[Reading]:
        """The readings as the language spells them; those of a form that was looked for stay as they are."""
        if not self.spelling:
            return readings
        free = [i for i, reading in enumerate(readings) if self.rule is None or not fits(reading.text, self.rule)]
        plain = readings if self.rule is None else [self.charset.decode(row) for row in logits]
        found = self.spelling([plain[i] for i in free], [logits[i] for i in free], told)
        result = list(readings)
        for i, reading in zip(free, found, strict=True):
            result[i] = reading
        return result

    def _fits(self, crop: np.ndarray) -> bool:
        """Whether what is seen of a crop from closer is one strip."""
        return image.closer_width(image.strip_width(crop, self.height), self.height) <= self.widths[-1]

    def _look(self, crops: Sequence[np.ndarray]) -> tuple[list[Reading], list[np.ndarray]]:
        """The readings of crops by the network alone, and the logits (T, K) of each."""
        readings, seen = [Reading("", 1.0, ())] * len(crops), [np.empty((0, len(self.charset) + 1))] * len(crops)
        windows: dict[int, list[tuple[int, np.ndarray]]] = {}
        ctc = self.decoding == "ctc"
        for group in image.strips(crops, self.height, self.widths, split=ctc):
            logits = self._logits(group.pixels)  # (B, T, K)
            for owner, reading, row in zip(group.owners, self._decode(logits), logits, strict=True):
                readings[owner], seen[owner] = reading, row
            step = group.pixels.shape[2] / logits.shape[1]  # pixels
            several = {owner for owner, start in zip(group.owners, group.starts, strict=True) if start}
            for owner, start, row in zip(group.owners, group.starts, logits, strict=True):
                if owner in several:
                    windows.setdefault(owner, []).append((round(start / step), row))
        for owner, rows in windows.items():
            seen[owner] = join(rows, self.charset.blank)
            readings[owner] = self._decode(seen[owner][None])[0]
        return readings, seen

    def _decode(self, logits: np.ndarray) -> list[Reading]:
        """The readings of logits (B, T, K)."""
        if self.decoding != "ctc":
            return self.charset.decode_ended(logits)
        if self.beam:
            return self.charset.decode_beam(logits, self.beam, self.rule, self.least)
        return self.charset.decode_batch(logits)

    def _logits(self, strips: np.ndarray) -> np.ndarray:
        parts, start = [], 0
        for size in batches(len(strips)):
            part = strips[start : start + size]
            full = np.zeros((size, *strips.shape[1:]), "uint8")
            full[: len(part)] = part
            parts.append(np.asarray(self.run(full)["logits"])[: len(part)])
            start += size
        logits = np.concatenate(parts)
        return logits if self.temperature == 1 else logits / np.float32(self.temperature)


def spelt(names: Spoken, charset: Charset, weight: float) -> Spelling | None:
    """What spells a recognizer's texts as a language would; None where no language is named.

    Raises:
        FileNotFoundError: there is no such language.
        ValueError: the file of the first holds none.
    """
    names = names.split(",") if isinstance(names, str) else [names] if isinstance(names, Path | Language) else names
    if not any(names):
        return None
    spelling = Spelling([name.strip() if isinstance(name, str) else name for name in names], charset, weight)
    spelling.language(0)
    return spelling


def batches(count: int) -> list[int]:
    """Batch sizes, powers of two up to `BATCH`, that together hold `count`; at most an eighth of one stays empty."""
    sizes = []
    while count > 0:
        size = min(BATCH, 1 << (count - 1).bit_length())
        if 8 * (size - count) > size:
            size //= 2
        sizes.append(size)
        count -= size
    return sizes


def join(windows: Sequence[tuple[int, np.ndarray]], blank: int) -> np.ndarray:
    """Logits (T', K) of a strip from those of its windows.

    Within an overlap one window gives over to the next between two steps that both call blank most surely; a quarter at
    each end, where a window may have cut a character, does not count.

    Args:
        windows: (first step, logits (T, K)) from left to right; neighbours share at least two steps.
        blank: class of CTC's blank.
    """
    start, whole = windows[0]
    for begin, following in windows[1:]:
        shared = start + len(whole) - begin
        sure = _softmax(whole[-shared:])[:, blank] * _softmax(following[:shared])[:, blank]
        margin = shared // 4
        pairs = (sure[:-1] * sure[1:])[margin : max(margin + 1, shared - 1 - margin)]
        cut = margin + int(pairs.argmax()) + 1  # steps of the overlap that the earlier window keeps
        whole = np.concatenate([whole[: begin - start + cut], following[cut:]])
    return whole


def _softmax(logits: np.ndarray) -> np.ndarray:
    power = np.exp(logits - logits.max(-1, keepdims=True))
    return power / power.sum(-1, keepdims=True)


# ---------------------------------------------------------------- spotting


class Spotter:
    """Words on a page, found and read by one network.

    The network is called once to locate words, or once for each band where they are small, and then, in batches of 1,
    2, 4 … 64 of a few widths, to read them: from views of what it was given and of the features that it saw.
    `zoo.runtime.connect_parts` has both calls.

    Args:
        locate: from (1, H, W, 3) uint8 to what `Detector` decodes, and to shared features of any names.
        read: from views of words to {"text": (N, T, K)}, the class after the characters being CTC's blank: "strips"
            (N, 2 · height, 2 · width, 3) of the pixels, and (N, height / 2, width / 2, D) of all features (1, h, w, D),
            zero beyond a word's end.
        charset: the alphabet, its name or its characters.
        height: rows of a word that is as wide as one of `widths`.
        widths: of words; one that needs more is squeezed.
        spelling, spelling_weight: as of `Recognizer`.
        again: score below which a word is looked at once more, from a little closer, and read as is surer; 0 is never.
        **options: of `Detector`.

    Raises:
        ValueError: a value is none that it may have.
    """

    def __init__(
        self,
        locate: Run,
        read: Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]],
        charset: str | Charset,
        *,
        height: int = 16,
        widths: Sequence[int] = (32, 64, 128, 256),
        spelling: Spoken = "",
        spelling_weight: float = WEIGHT,
        again: float = 0.0,
        **options: Any,
    ):
        limits.sides(widths=widths)
        limits.pixels(height=height)
        limits.within(0, math.inf, spelling_weight=spelling_weight)
        limits.within(0, 1, again=again)
        self.detector = Detector(locate, **options)
        self.read, self.again = read, again
        self.charset = charset if isinstance(charset, Charset) else Charset(charset)
        self.spelling = spelt(spelling, self.charset, spelling_weight)
        self.height, self.widths = height, tuple(sorted(widths))

    def __call__(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[Reading]]:
        """Boxes (N, 4, 2) float32 from the top left of their texts, scores (N,), and readings of an image."""
        seen: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []  # candidates of each look; features of one suffice
        plain: list[tuple[Reading, np.ndarray]] = []
        turned: list[tuple[Reading, np.ndarray]] = []
        turns: list[tuple[int, int]] = []
        for look in self.detector.looks(pixels):
            others, before = _turns(look.boxes, *geometry.sides(look.boxes)), len(plain)
            rolled = [np.roll(look.boxes[i], turn, axis=0) for i, turn in others]
            boxes, scores, halves = candidates(look.boxes, look.scores, self.charset)
            every = look.seen(np.concatenate([boxes, np.reshape(rolled, (-1, 4, 2))]))
            found = self._sure(self._seen(look.pixels, look.given), every.astype("float32"))
            plain, turned = plain + found[: len(boxes)], turned + found[len(boxes) :]
            turns += [(before + i, turn) for i, turn in others]
            seen.append((boxes, scores, np.where(halves < 0, halves, halves + before)))
        boxes, scores, halves = map(np.concatenate, zip(*seen, strict=True))
        readings = [reading for reading, _ in plain + turned]
        if self.spelling:
            logits = [logits for _, logits in plain + turned]
            lowered = self.spelling.alphabets.lowered(logits)
            readings = self.spelling(*native(readings, logits, lowered, self.charset.decode_batch))
        return words(boxes, scores, readings, turns, halves)

    def recognize(self, crops: Sequence[np.ndarray]) -> list[Reading]:
        """What stands in each crop (h, w, 3) uint8 of a page, seen one below the other with their edges drawn out."""
        if not crops:
            return []
        high = round(self.detector.wanted)
        wide = [min(image.strip_width(crop, high), high * self.widths[-1] // self.height) for crop in crops]
        edge = ((high // 2, high // 2), (high // 2, high // 2), (0, 0))
        rows = [np.pad(image.resize(crop, high, width), edge, "edge") for crop, width in zip(crops, wide, strict=True)]
        sheet = np.full((2 * high * len(rows), max(wide) + high, 3), 255, "uint8")
        for number, row in enumerate(rows):
            sheet[2 * high * number : 2 * high * number + len(row), : row.shape[1]] = row
        pixels = image.canvas(sheet, 1.0, self.detector.multiple)[0]
        seen = self._seen(pixels, self.detector.run(pixels[None]))
        corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], "float32")
        quads = [corners * (width, high) + (high // 2, 2 * high * i + high // 2) for i, width in enumerate(wide)]
        return [reading for reading, _ in self._read(seen, np.array(quads, "float32"))]

    def _seen(self, pixels: np.ndarray, given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What words are read from, (h, w, C) each: the pixels, and the features of all that the network gave for them,
        as OpenCV takes them: not in half precision."""
        features = {name: value for name, value in given.items() if name not in self.detector.outputs}
        return {STRIPS: pixels, **{name: np.asarray(value[0], "float32") for name, value in features.items()}}

    def _sure(self, seen: Mapping[str, np.ndarray], quads: np.ndarray) -> list[tuple[Reading, np.ndarray]]:
        """As `_read`, with a second look at what is unsure."""
        found = self._read(seen, quads)
        unsure = [i for i, (reading, _) in enumerate(found) if reading.score < self.again]
        for i, other in zip(unsure, self._read(seen, geometry.closer(quads[unsure])), strict=True):
            found[i] = max(found[i], other, key=lambda read: read[0].score)
        return found

    def _read(self, seen: Mapping[str, np.ndarray], quads: np.ndarray) -> list[tuple[Reading, np.ndarray]]:
        """Of each quadrilateral (N, 4, 2) of the pixels that the network saw, the reading and its logits (T, K)."""
        found: dict[int, tuple[Reading, np.ndarray]] = {}
        wanted = columns(quads, self.height, self.widths[-1])
        buckets = np.searchsorted(self.widths, wanted)
        for bucket, width in enumerate(self.widths):
            members, start = np.flatnonzero(buckets == bucket), 0
            for size in batches(len(members)):
                part = members[start : start + size]
                views = self._views(seen, quads[part], wanted[part], (size, width))
                logits = np.asarray(self.read(views)["text"])[: len(part)]
                readings = self.charset.decode_batch(logits)
                found.update(zip(part.tolist(), zip(readings, logits, strict=True), strict=True))
                start += size
        return [found[index] for index in range(len(quads))]

    def _views(
        self, seen: Mapping[str, np.ndarray], quads: np.ndarray, wanted: np.ndarray, shape: tuple[int, int]
    ) -> dict[str, np.ndarray]:
        """Quadrilaterals (N, 4, 2), each of so many columns, as `read` is given them: so many views, so wide."""
        views = {}
        for name, pixels in seen.items():
            finer = 2.0 if name == STRIPS else 0.5
            rows, stride = round(finer * self.height), len(seen[STRIPS]) / len(pixels)
            views[name] = np.zeros((shape[0], rows, round(finer * shape[1]), pixels.shape[-1]), "float32")
            for view, quad, columns in zip(views[name], quads / stride, finer * wanted, strict=False):
                view[:, : math.ceil(columns)] = image.view(pixels, quad, rows, columns)
        return views


def _turns(boxes: np.ndarray, wide: np.ndarray, high: np.ndarray) -> list[tuple[int, int]]:
    """Places of boxes (N, 4, 2) so wide and high that are read turned, too, and by how many corners these begin later:
    tall ones 1 as text that runs upwards and 3 downwards, others whose text runs upwards 2, the other way round."""
    along = boxes[:, 1] - boxes[:, 0]
    upward, tall = -along[:, 1] > np.abs(along[:, 0]), high > TALL * wide
    return [(i, turn) for i in range(len(boxes)) for turn in ([1, 3] if tall[i] else [2] if upward[i] else [])]


def columns(quads: np.ndarray, height: int, most: int) -> np.ndarray:
    """(N,) int: columns of the views of quadrilaterals (N, 4, 2) that keep their aspects with `height` rows."""
    wide, high = geometry.sides(quads)
    return np.round(height * wide / np.maximum(high, 1e-3)).clip(min(4, most), most).astype(int)


# ---------------------------------------------------------------- reading


class Reader:
    """Documents from files.

    One that `zoo.reader` made can be pickled, as work for other processes is: it is made anew there, by the same names
    and options.

    Args:
        detector: from pixels to boxes and scores, or a spotter; None: each picture is one word or line.
        recognizer: from crops to readings; a spotter needs none.
        turns: from pixels to the number of quarter turns against the clock by which a page lies; by default none.
        upright: pages are read as they come. Otherwise one that is askew is levelled, and one that reads badly is
            turned, if that reads clearly better: see `zoo.righting`.
        min_confidence: words below it are left out.
        dpi: dots per inch at which a PDF is drawn.
        made: what makes the reader anew where it is unpickled; without it there is no pickling.
    """

    def __init__(
        self,
        detector: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]] | Spotter | None,
        recognizer: Callable[[Sequence[np.ndarray]], Sequence[Reading]] | None,
        *,
        turns: Callable[[np.ndarray], int] | None = None,
        upright: bool = False,
        min_confidence: float = 0.0,
        dpi: float = 200,
        made: Callable[[], Reader] | None = None,
    ):
        if recognizer is None and not isinstance(detector, Spotter):
            raise TypeError("a reader without a recognizer needs a spotter")
        self.detector = detector
        self.recognizer = recognizer
        self.turns, self.upright = turns, upright
        self.min_confidence = min_confidence
        self.dpi = dpi
        self.made = made

    def __reduce__(self) -> tuple[Callable[[], Reader], tuple[()], dict[str, Any]]:
        if self.made is None:
            raise TypeError(
                "a Reader of networks of its own cannot be pickled; zoo.reader makes one by names, which can"
            )
        return self.made, (), {"upright": self.upright, "min_confidence": self.min_confidence, "dpi": self.dpi}

    def read(self, source: Source, *, password: str | None = None, numbers: Container[int] | None = None) -> Document:
        """The document of the pages of a source; `image.pages` describes what that is, which of its pages count, and
        the password of a PDF.

        Raises:
            ImageError: a page cannot be had; `stream` goes on after it.
        """
        found = image.sheets(source, dpi=self.dpi, password=password, numbers=numbers)
        return Document(tuple(self._timed(sheet)[0] for sheet in found))

    def stream(
        self,
        sources: Source | Iterable[Source],
        *,
        password: str | None = None,
        numbers: Container[int] | None = None,
    ) -> Iterator[Page | PageError]:
        """Yields the pages of the sources one by one, and a `PageError` for each that cannot be had."""
        for page, _ in self.stream_pictures(sources, password=password, numbers=numbers):
            yield page

    def stream_pictures(
        self,
        sources: Source | Iterable[Source],
        *,
        password: str | None = None,
        numbers: Container[int] | None = None,
    ) -> Iterator[tuple[Page | PageError, Picture | None]]:
        """Yields what `stream` does, each page with its pixels; nothing of an earlier page is kept."""
        several: Iterable[Source] = [sources] if image.alone(sources) else sources  # type: ignore[list-item,assignment]
        for sheet in image.every(several, dpi=self.dpi, password=password, numbers=numbers):
            try:
                result: tuple[Page | PageError, Picture | None] = self._timed(sheet)
            except ImageError as error:
                result = PageError(sheet.name, sheet.number, str(error)), None
            yield result

    def _timed(self, sheet: Sheet) -> tuple[Page, Picture]:
        start = time.perf_counter()
        picture = sheet.load()
        return self.page(picture, start), picture

    def page(self, picture: Picture, start: float | None = None) -> Page:
        """The page of a picture; its seconds count from `start` on `time.perf_counter`, or from the call."""
        start = time.perf_counter() if start is None else start
        pixels = picture.pixels if self.detector is None else image.on_paper(picture.pixels)
        turns = self.turns(pixels) if self.turns else 0
        boxes, scores, readings = self._turned(pixels, turns)
        boxes, scores, readings = joining.closed_up(*joining.parted(boxes, scores, readings))
        sure = [i for i, reading in enumerate(readings) if reading.score >= self.min_confidence]
        blocks = assemble(boxes[sure] * picture.scale, [readings[i] for i in sure], scores[sure].tolist())
        height, width = picture.size
        return Page(picture.name, picture.number, width, height, blocks, time.perf_counter() - start)

    def _turned(self, pixels: np.ndarray, turns: int) -> tuple[np.ndarray, np.ndarray, list[Reading]]:
        """Boxes, scores and readings of a page that lies by so many quarter turns against the clock, or by others."""
        upright = np.ascontiguousarray(np.rot90(pixels, -turns))
        boxes, scores, readings = self._words(upright)
        if more := self._misread(upright, boxes, readings):
            turns += more
            upright = np.ascontiguousarray(np.rot90(pixels, -turns))
            boxes, scores, readings = self._words(upright)
        return geometry.turned(boxes, upright.shape[:2], turns), scores, readings

    def _misread(self, pixels: np.ndarray, boxes: np.ndarray, readings: list[Reading]) -> int:
        if self.upright or self.detector is None:
            return 0
        if isinstance(self.detector, Spotter):
            return righting.misread(pixels, boxes, readings, self.detector.detector, self.detector.recognize)
        return righting.misread(pixels, boxes, readings, self.detector, self.recognizer)  # type: ignore[arg-type]

    def _words(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[Reading]]:
        """Boxes, scores and readings of a page; one that is askew is looked at once more, levelled, and read so."""
        spots = isinstance(self.detector, Spotter)
        look: Callable[[np.ndarray], Any] = self.detector if spots else self._find  # type: ignore[assignment]
        found, back = look(pixels), None
        askew = 0.0 if self.upright or self.detector is None else righting.slant(found[0], pixels.shape[:2])
        if askew:
            pixels, back = image.levelled(pixels, askew)
            found = look(pixels)
        boxes, scores, readings = found if spots else self._recognize(pixels, *found)
        return boxes if back is None else geometry.moved(boxes, back), scores, readings

    def _find(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self.detector is not None:
            return self.detector(pixels)  # type: ignore[return-value]  # no spotter
        height, width = pixels.shape[:2]
        whole = np.array([[[0, 0], [width, 0], [width, height], [0, height]]], "float32")
        return whole, np.ones(1, "float32")

    def _recognize(
        self, pixels: np.ndarray, boxes: np.ndarray, scores: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, list[Reading]]:
        """Words from the top left of their texts, their scores and readings: tall boxes are read turned, too, and those
        that may be pieces together as well."""
        found = boxes
        boxes, scores, halves = candidates(boxes, scores, getattr(self.recognizer, "charset", None))
        crops = [image.crop(pixels, box) for box in boxes]
        high, wide = np.reshape([crop.shape[:2] for crop in crops[: len(found)]], (-1, 2)).T
        turns = _turns(found, wide, high)
        turned = [np.rot90(crops[i], -turn) for i, turn in turns]
        readings = list(self.recognizer([*crops, *turned])) if crops and self.recognizer else []
        return words(boxes, scores, readings, turns, halves)


def candidates(
    boxes: np.ndarray, scores: np.ndarray, charset: Charset | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As `zoo.joining.candidates`; what reads without a space cannot tell two words from one, and is shown no pairs."""
    if charset is None or " " not in charset.characters:
        return boxes, scores, np.full((len(boxes), 2), -1)
    return joining.candidates(boxes, scores)


def words(
    boxes: np.ndarray,
    scores: np.ndarray,
    readings: list[Reading],
    turns: Sequence[tuple[int, int]],
    halves: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, list[Reading]]:
    """Words (N, 4, 2) from the top left of their texts, their scores (N,) and readings.

    Args:
        boxes, scores, halves: of candidates, as `zoo.joining.candidates` has them.
        readings, turns: as `righted` takes them.
    """
    boxes, readings = righted(boxes, readings, turns)
    return joining.joined(boxes, scores, readings, halves)


def righted(
    boxes: np.ndarray, readings: list[Reading], turns: Sequence[tuple[int, int]]
) -> tuple[np.ndarray, list[Reading]]:
    """Boxes (N, 4, 2) from the top left of their texts, and the surest reading of each.

    Args:
        boxes: as they were found.
        readings: of all boxes, then of those that were read turned, too.
        turns: of these: the place, and by how many corners later it began.
    """
    found, boxes, best = boxes, boxes.copy(), readings[: len(boxes)]
    for (i, turn), reading in zip(turns, readings[len(boxes) :], strict=True):
        if _sureness(reading) > _sureness(best[i]):
            best[i], boxes[i] = reading, np.roll(found[i], turn, axis=0)
    return boxes, best


def _sureness(reading: Reading) -> float:
    """The geometric mean of a reading's characters' scores: fair to long texts; 0 for no text."""
    return reading.score ** (1 / len(reading.text)) if reading.text else 0.0


def reader(
    detection: str | None = DETECTOR,
    recognition: str = RECOGNIZER,
    *,
    runtime: str = "auto",
    server: str | None = None,
    orientation: str | None = None,
    upright: bool = False,
    min_confidence: float | None = None,
    dpi: float = 200,
    **options: Any,
) -> Reader:
    """The reader with the networks of two cards.

    Args:
        detection: a card's name or a run's folder; None: each picture is one word or line. A spotter reads by itself.
        recognition: a card's name or a run's folder.
        runtime: where the networks run, a key of `zoo.runtime.RUNTIMES`, or "auto".
        server: "host:port" of a model server that has them, in place of `runtime`.
        orientation: a card's name or a run's folder, of a classifier that finds by how many quarter turns each page is
            turned; by default what their files say themselves is all that is known.
        upright: pages are read as they come; by default those that are askew are levelled, and those that read badly
            are tried another way up.
        min_confidence: words below it are left out; by default what `usual_confidence` says, and nothing of a picture
            that is one word.
        dpi: dots per inch at which a PDF is drawn.
        **options: stand over the cards' values for reading: keyword arguments of `Detector`, of the decoding that its
            card names, and of `Recognizer`.

    Raises:
        LookupError: there is no such card.
        ValueError: a card is of another task, there is no such runtime, or a value makes no sense.
        TypeError: an unknown option.
    """
    from zoo import registry
    from zoo import runtime as runtimes

    made = partial(
        reader, detection, recognition, runtime=runtime, server=server, orientation=orientation, upright=upright,
        min_confidence=min_confidence, dpi=dpi, **options,
    )  # fmt: skip
    if min_confidence is not None:
        limits.within(0, 1, min_confidence=min_confidence)
    limits.within(0, math.inf, dpi=dpi)
    if not dpi:
        raise ValueError(f"dpi={dpi}: a PDF is drawn at so many dots per inch, more than 0")
    if detection is not None and registry.card(detection).task == "spotting":
        if server:
            raise ValueError(f"{detection} is served as one graph: zoo read --server {server} --graph {detection}")
        least = usual_confidence(detection) if min_confidence is None else min_confidence
        return Reader(
            spotter(detection, runtime, **options), None, turns=turns_by(orientation, runtime), upright=upright,
            min_confidence=least, dpi=dpi, made=made,
        )  # fmt: skip
    if recognition is None:
        raise ValueError("recognition=None: only a spotter reads without a recognizer")
    own = {kind: _keywords(kind) for kind in (Detector, Recognizer)}
    if detection is not None:
        own[Detector] |= _of_decoding({**registry.card(detection).reading, **options})
    _check(options, own[Detector] | own[Recognizer])

    wanted = {"detection": detection, "recognition": recognition}
    cards = {task: registry.card_for(name, task) for task, name in wanted.items() if name is not None}
    if server:
        runs = [runtimes.remote(server, card.name) for card in cards.values()]
    else:
        runs = runtimes.connect_several([name for name in wanted.values() if name is not None], runtime)

    def values(task: str, kind: type[Detector] | type[Recognizer]) -> dict[str, Any]:
        return cards[task].reading | {key: value for key, value in options.items() if key in own[kind]}

    recognizer = recognizer_of(cards["recognition"], runs[-1], **values("recognition", Recognizer))
    detector = Detector(runs[0], **values("detection", Detector)) if detection is not None else None
    if min_confidence is None:
        min_confidence = usual_confidence(recognition) if detector else 0.0
    turns = turns_by(orientation, runtime, server)
    return Reader(detector, recognizer, turns=turns, upright=upright, min_confidence=min_confidence, dpi=dpi, made=made)


def recognizer_of(card: registry.Card, run: Run, **values: Any) -> Recognizer:
    """The recognizer with the network of a card, by its values for reading."""
    return Recognizer(run, card.options["charset"], **{k: v for k, v in values.items() if k not in NOT_READING})


def turns_by(name: str | None, runtime: str = "auto", server: str | None = None) -> Callable[[np.ndarray], int] | None:
    """What tells by how many quarter turns a page lies, by the network of a card; None where there is no name.

    A page is left as it is where the network is not as good as certain: most pages are upright.

    Raises:
        LookupError: there is no such card.
        ValueError: its network tells something else.
    """
    if name is None:
        return None
    from zoo import registry
    from zoo.classifying import classifier

    known = registry.card(name).reading
    if known.get("picture") != "page" or "angles" not in known:
        raise ValueError(f"{name} does not tell how pages lie; {ORIENTATION} does")
    return partial(classifier(name, runtime, server).turns, least=CERTAIN)


def spotter(name: str, runtime: str = "auto", **options: Any) -> Spotter:
    """The spotter with the network of a card.

    Args:
        name: a card's name or a run's folder.
        runtime: where the network runs, as for `reader`.
        **options: stand over the card's values for reading.

    Raises:
        LookupError, ValueError, TypeError: as `reader` does.
    """
    from zoo import registry
    from zoo import runtime as runtimes

    return spotter_of(registry.card(name), runtimes.connect_parts(name, runtime), **options)


def spotter_of(card: registry.Card, calls: Sequence[Callable], **options: Any) -> Spotter:
    """The spotter that reads as a card says, by the two calls of its network.

    Raises:
        TypeError: an unknown option.
    """
    values = {key: value for key, value in card.reading.items() if key not in NOT_READING} | options
    _check(values, _keywords(Spotter) | _keywords(Detector) | _of_decoding(values))
    locate, read = calls
    return Spotter(locate, read, card.options["charset"], **values)


def usual_confidence(name: str) -> float:
    """The confidence below which a network's words on pages are more often wrong than right, as its card has it."""
    from zoo import registry

    return float(registry.card(name).reading.get("min_confidence", 0.0))


def _check(options: Iterable[str], known: set[str]) -> None:
    if unknown := set(options) - known:
        raise TypeError(
            f"no option of reading is named {', '.join(sorted(unknown))}; there are: {', '.join(sorted(known))}"
        )


def _of_decoding(values: Mapping[str, Any]) -> set[str]:
    """The options of the decoding that values for reading name."""
    how = values.get("decode", decoding.DEFAULT)
    return decoding.options(how if callable(how) else decoding.find(how))


def _keywords(kind: type) -> set[str]:
    parameters = inspect.signature(kind).parameters.values()
    return {entry.name for entry in parameters if entry.kind is entry.KEYWORD_ONLY}
