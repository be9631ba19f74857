"""Synthetic pages with a polygon for every word: receipts, invoices, letters, forms, tables, book pages, and scenes.

A kind of page is a list of blocks; a block draws itself on a sheet from the pen's position downwards. Then a scanner or
a camera looks at the sheet. Plain Python and NumPy, seeded as the words are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from recipes.data import augment, corpus, fonts, synthetic

Rng = np.random.Generator


class Regions(NamedTuple):
    """A page (H, W, 3) uint8 and the class of each pixel (H, W) uint8: 0, or one more than the place in `LABELS`."""

    image: np.ndarray
    classes: np.ndarray


class Sample(NamedTuple):
    """A page (H, W, 3) uint8, its words' polygons (N, 4, 2) float32 in pixels and their texts.

    `middles` are those of each word's characters (L, 2), `classes` (H, W) uint8 as `Regions` has them, where there are;
    `parts` are one of `LABELS` each, and its outline (4, 2) float32.
    """

    image: np.ndarray
    polygons: np.ndarray
    texts: tuple[str, ...]
    middles: tuple[np.ndarray, ...] = ()
    classes: np.ndarray | None = None
    parts: tuple[tuple[str, np.ndarray], ...] = ()


class Slanted(NamedTuple):
    """A word that does not stand upright: corners (4, 2) from its top left, text, middles (L, 2) of its characters."""

    quad: np.ndarray
    text: str
    middles: np.ndarray


@dataclass
class Sheet:
    """Paper to draw on, with a pen that moves down a column.

    Attributes:
        image: the paper.
        left, right: edges of the column, pixels.
        y: of the pen.
        size: of ordinary print, pixels of the em.
        face: font file of ordinary print.
        ink: colour of print.
        tracking: what letters stand further apart than their font has them, parts of the em.
        spacing: width of the gaps between words, parts of the font's space.
        shaky: how far letters stand off their line, as those of a typewriter: standard deviation, parts of the em.
    """

    image: Image.Image
    rng: Rng
    left: int
    right: int
    y: float
    size: int
    face: Path
    ink: tuple[int, int, int] | int  # one number on a mask
    tracking: float = 0.0
    spacing: float = 1.0
    shaky: float = 0.0
    boxes: list[tuple[float, float, float, float]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    middles: list[np.ndarray] = field(default_factory=list)  # (L, 2) of each word's characters
    regions: list[tuple[str, tuple[float, float, float, float]]] = field(default_factory=list)  # label, box
    aslant: list[Slanted] = field(default_factory=list)  # words beside those of `boxes`

    def __post_init__(self) -> None:
        self.draw = ImageDraw.Draw(self.image)
        self.leading = self.rng.uniform(1.15, 1.7)

    @property
    def full(self) -> bool:
        return self.y > self.image.height - 2.2 * self.size

    def font(self, scale: float = 1.0) -> ImageFont.FreeTypeFont:
        return fonts.font(self.face, max(6, round(self.size * scale)))

    def length(self, text: str, font: ImageFont.FreeTypeFont) -> float:
        """Pixels that a word takes."""
        return font.getlength(text) + self.tracking * font.size * max(0, len(text) - 1)

    def gap(self, font: ImageFont.FreeTypeFont) -> float:
        """Pixels between two words."""
        return max(self.spacing * font.getlength(" ") + 2 * self.tracking * font.size, 0.16 * font.size)

    def word(self, x: float, text: str, font: ImageFont.FreeTypeFont) -> float:
        """Draws one word at the pen's height; the x after it."""
        text = fonts.drawable(self.face, text)
        if not text:
            return x
        end = x + self.length(text, font)
        apart = self.tracking * font.size * np.arange(len(text))
        ends = x + fonts.ends(font, text).astype(np.float32)
        pieces = [(x, self.y, text)]
        if self.tracking or self.shaky:
            off = self.rng.normal(0, self.shaky * font.size, (len(text), 2)) if self.shaky else np.zeros((len(text), 2))
            places = np.stack([ends[:-1] + apart, np.full(len(text), self.y)], 1) + off * (0.5, 1.0)
            pieces = [(*place, letter) for place, letter in zip(places.tolist(), text, strict=True)]
        parts = np.array([self.draw.textbbox((left, top), letter, font) for left, top, letter in pieces])
        box = (*parts[:, :2].min(0).tolist(), *parts[:, 2:].max(0).tolist())
        if end <= self.image.width and box[2] > box[0] and box[3] > box[1]:
            for left, top, letter in pieces:
                self.draw.text((left, top), letter, self.ink, font)
            self.boxes.append(box)
            self.texts.append(text)
            middles = (ends[:-1] + ends[1:]) / 2 + apart.astype(np.float32)
            self.middles.append(np.stack([middles, np.full(len(text), np.float32((box[1] + box[3]) / 2))], 1))
        return end

    def line(self, words: list[str], font: ImageFont.FreeTypeFont, x: float, gap: float) -> float:
        """Draws words from `x` on with `gap` pixels in between; the x after the last."""
        for text in words:
            x = self.word(x, text, font) + gap
        return x - gap

    def slanting(
        self, words: list[str], font: ImageFont.FreeTypeFont, degrees: float, place: tuple[float, float], part: float
    ) -> None:
        """Draws words along a line that rises by so many degrees; nothing where they would leave the paper.

        Args:
            place: x, y of a point of the line, halfway up its letters.
            part: of the line's length that lies before it.
        """
        length = sum(self.length(text, font) for text in words) + self.gap(font) * (len(words) - 1)
        scratch = replace(
            self, image=Image.new("L", (round(length) + 3 * self.size, 3 * round(font.size))), y=font.size, ink=255,
            boxes=[], texts=[], middles=[], regions=[], aslant=[],
        )  # fmt: skip
        scratch.line(words, font, self.size, self.gap(font))
        if not scratch.boxes:
            return
        (left, top, _, _), (_, _, right, bottom) = np.min(scratch.boxes, 0), np.max(scratch.boxes, 0)
        turned = scratch.image.rotate(degrees, Image.Resampling.BICUBIC, expand=True)
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        centre, around = np.array(scratch.image.size) / 2, np.array(turned.size) / 2

        def moved(points: np.ndarray) -> np.ndarray:
            return (points - centre) @ np.array([[c, -s], [s, c]]) + around

        anchor = moved(np.array([left + part * (right - left), (top + bottom) / 2]))
        corner = np.round(np.array(place) - anchor).astype(int)
        quads = [moved(quad) + corner for quad in corners(scratch.boxes)]
        if np.min(quads) < 1 or (np.max(quads, (0, 1)) > np.array(self.image.size) - 1).any():
            return
        self.image.paste(self.ink, (int(corner[0]), int(corner[1])), turned)
        for quad, text, middles in zip(quads, scratch.texts, scratch.middles, strict=True):
            self.aslant.append(Slanted(quad.astype("float32"), text, (moved(middles) + corner).astype("float32")))

    def feed(self, lines: float = 1.0, scale: float = 1.0) -> None:
        self.y += lines * self.size * scale * self.leading

    def fitting(self, words: list[str], font: ImageFont.FreeTypeFont, width: float) -> tuple[list[str], float]:
        """As many of the words as fit into `width`, at least one, and their length in pixels."""
        gap, total = self.gap(font), 0.0
        taken: list[str] = []
        for text in words:
            text = fonts.drawable(self.face, text)
            length = self.length(text, font)
            if taken and total + gap + length > width:
                break
            total += length + (gap if taken else 0)
            taken.append(text)
        return taken, total


# ---------------------------------------------------------------- blocks


def heading(sheet: Sheet) -> None:
    """One to three lines, larger, centred or at the left: a title, or the head of a receipt."""
    scale, centred = sheet.rng.uniform(1.0, 2.2), sheet.rng.random() < 0.6
    font = sheet.font(scale)
    for _ in range(sheet.rng.integers(1, 4)):
        words, length = sheet.fitting(corpus.phrase(sheet.rng, 1, 5), font, sheet.right - sheet.left)
        x = sheet.left + (sheet.right - sheet.left - length) / 2 if centred else sheet.left
        sheet.line(words, font, max(2, x), sheet.gap(font))
        sheet.feed(scale=scale)


def paragraph(sheet: Sheet) -> None:
    """Running text, flush or justified, with an indented first line now and then."""
    rng, font = sheet.rng, sheet.font()
    words = [corpus.word(rng) if rng.random() < 0.25 else corpus.entry(rng) for _ in range(rng.integers(12, 90))]
    justified, x = rng.random() < 0.5, sheet.left + (rng.random() < 0.4) * 1.5 * sheet.size
    while words and not sheet.full:
        taken, length = sheet.fitting(words, font, sheet.right - x)
        words = words[len(taken) :]
        gap = sheet.gap(font)
        if justified and words and len(taken) > 1:
            gap += min((sheet.right - x - length) / (len(taken) - 1), 2 * sheet.size)
        sheet.line(taken, font, x, gap)
        sheet.feed()
        x = sheet.left
    sheet.feed(0.6)


def items(sheet: Sheet) -> None:
    """Rows with a description at the left and amounts flush right, as receipts and bills list what was bought."""
    rng, font = sheet.rng, sheet.font()
    width = sheet.right - sheet.left
    columns = [1.0, rng.uniform(0.55, 0.75), rng.uniform(0.4, 0.5)][: rng.integers(1, 4)]
    for _ in range(rng.integers(2, 12)):
        if sheet.full:
            return
        texts = corpus.phrase(rng, 1, 4) if rng.random() < 0.8 else [corpus.code(rng), *corpus.phrase(rng, 1, 2)]
        words, _ = sheet.fitting(texts, font, width * (columns[-1] - 0.22))
        sheet.line(words, font, sheet.left, sheet.gap(font))
        for column in columns:
            text = corpus.amount(rng) if rng.random() < 0.8 else corpus.digits(rng, 1, 3)
            sheet.word(sheet.left + width * column - sheet.length(text, font), text, font)
        sheet.feed()


def bullets(sheet: Sheet) -> None:
    """Points behind a dot, a dash or a number, their further lines as far to the right as the first."""
    rng, font = sheet.rng, sheet.font()
    mark, left = corpus.pick(rng, ("dot", "dash", "{}.", "{})", "({})")), sheet.left + rng.uniform(0, 2) * sheet.size
    x = left + sheet.length("(9)", font) + rng.uniform(0.3, 1.0) * sheet.size
    for number in range(1, int(rng.integers(3, 9))):
        middle = sheet.y + 0.65 * sheet.size
        if mark == "dot":
            radius = 0.15 * sheet.size
            sheet.draw.ellipse((left, middle - radius, left + 2 * radius, middle + radius), fill=sheet.ink)
        elif mark == "dash":
            sheet.draw.line((left, middle, left + 0.5 * sheet.size, middle), sheet.ink, 1)
        else:
            sheet.word(left, mark.format(number), font)
        words = [corpus.word(rng) if rng.random() < 0.25 else corpus.entry(rng) for _ in range(rng.integers(2, 25))]
        while words:
            if sheet.full:
                return
            taken, _ = sheet.fitting(words, font, sheet.right - x)
            words = words[len(taken) :]
            sheet.line(taken, font, x, sheet.gap(font))
            sheet.feed()
    sheet.feed(0.4)


def fields(sheet: Sheet) -> None:
    """Labels with values behind a colon, some on a ruled line or in a box, as forms have them."""
    rng, font = sheet.rng, sheet.font()
    boxed, ruled = rng.random() < 0.25, rng.random() < 0.3
    tab = sheet.left + (sheet.right - sheet.left) * rng.uniform(0.3, 0.55)
    makers = (corpus.date, corpus.clock, corpus.code, corpus.amount, corpus.contact, corpus.word)
    for _ in range(rng.integers(1, 8)):
        if sheet.full:
            return
        labels, _ = sheet.fitting([*corpus.phrase(rng, 1, 3)], font, tab - sheet.left - sheet.size)
        labels[-1] += corpus.pick(rng, [":", ":", "", "."])
        end = sheet.line(labels, font, sheet.left, sheet.gap(font))
        x = tab if rng.random() < 0.7 else end + 2 * sheet.gap(font)
        values = [corpus.pick(rng, makers)(rng).replace(" ", "") for _ in range(rng.integers(0, 4))]
        values, _ = sheet.fitting(values, font, sheet.right - x) if values else ([], 0.0)
        sheet.line(values, font, x, sheet.gap(font))
        bottom = sheet.y + 1.25 * sheet.size
        if ruled:
            sheet.draw.line((x, bottom, sheet.right, bottom), sheet.ink, 1)
        if boxed:
            sheet.draw.rectangle((x - 4, sheet.y - 3, sheet.right, bottom), outline=sheet.ink)
        sheet.feed(1.4 if boxed or ruled else 1.0)


def table(sheet: Sheet) -> None:
    """A grid of words and numbers, with or without its lines; now and then its heads run upwards."""
    rng, font = sheet.rng, sheet.font(sheet.rng.uniform(0.8, 1.0))
    count, lined = int(rng.integers(2, 7)), rng.random()
    edges = np.linspace(sheet.left, sheet.right, count + 1)
    wordy, top = rng.random(count) < 0.4, sheet.y
    row = sheet.size * sheet.leading * rng.uniform(1.0, 1.5)
    ys = [top]
    if rng.random() < UPWARDS and sheet.y + 12 * font.size < sheet.image.height:
        sheet.y += 10 * font.size
        for x in ((edges[:-1] + edges[1:]) / 2).tolist():
            words, _ = sheet.fitting(corpus.phrase(rng, 1, 2), font, 9 * font.size)
            sheet.slanting(words, font, 90.0, (x, sheet.y), 0.0)
        sheet.y += 0.6 * font.size
        ys.append(sheet.y)
    for index in range(rng.integers(3, 14)):
        if sheet.full:
            break
        for column in range(count):
            texts = (
                corpus.phrase(rng, 1, 2)
                if wordy[column] or not index
                else [corpus.pick(rng, (corpus.amount, corpus.code, corpus.date))(rng)]
            )
            words, length = sheet.fitting(texts, font, edges[column + 1] - edges[column] - 8)
            if length < edges[column + 1] - edges[column] - 6 and rng.random() < 0.93:
                x = edges[column] + 4 if wordy[column] else edges[column + 1] - 4 - length
                sheet.line(words, font, x, sheet.gap(font))
        sheet.y += row
        ys.append(sheet.y)
    pad = 0.25 * (row - sheet.size)
    if lined < 0.5:
        for y in ys if lined < 0.4 else ys[:2]:
            sheet.draw.line((sheet.left, y - pad, sheet.right, y - pad), sheet.ink, 1)
    if lined < 0.25:
        for x in edges:
            sheet.draw.line((x, top - pad, x, sheet.y - pad), sheet.ink, 1)
    sheet.feed(0.6)


def rule(sheet: Sheet) -> None:
    """A separator: a line, or a row of dashes, stars or equal signs, which is no text to be found."""
    y = sheet.y + 0.5 * sheet.size
    if sheet.rng.random() < 0.5:
        sheet.draw.line((sheet.left, y, sheet.right, y), sheet.ink, int(sheet.rng.integers(1, 4)))
    else:
        mark = corpus.pick(sheet.rng, "-=*_.")
        font = sheet.font()
        count = int((sheet.right - sheet.left) / max(1, font.getlength(mark)))
        sheet.draw.text((sheet.left, sheet.y), mark * count, sheet.ink, font)
    sheet.feed()


def picture(sheet: Sheet) -> None:
    """A logo, a photograph, a stamp or bars, none of which is text."""
    rng = sheet.rng
    size = int(rng.uniform(2, 7) * sheet.size)
    x, y = rng.uniform(sheet.left, max(sheet.left + 1, sheet.right - size)), sheet.y
    kind = rng.random()
    colour = tuple(int(c) for c in rng.uniform(0, 220, 3))
    if kind < 0.3:
        sheet.draw.ellipse((x, y, x + size, y + size), outline=colour, width=int(rng.integers(1, 6)))
    elif kind < 0.6:
        for bar in range(0, size * 2, 3):
            if rng.random() < 0.5:
                sheet.draw.rectangle((x + bar, y, x + bar + rng.integers(0, 3), y + size / 2), fill=sheet.ink)
    elif kind < 0.8:
        points = [tuple(map(float, rng.uniform((x, y), (x + size, y + size)))) for _ in range(rng.integers(3, 7))]
        sheet.draw.polygon(points, fill=colour)
    else:
        blotch = synthetic.background((size, size), rng.uniform(0, 255, 3), rng)
        sheet.image.paste(Image.fromarray(np.clip(blotch, 0, 255).astype(np.uint8)), (int(x), int(y)))
    wide, tall = (2 * size, size / 2) if 0.3 <= kind < 0.6 else (size, size)
    sheet.regions.append(("figure", (x, y, x + wide, y + tall)))
    sheet.y += size + 0.4 * sheet.size


def chart(sheet: Sheet) -> None:
    """Bars or a curve between axes, whose labels run upwards or aslant, too, as in papers and reports."""
    rng, font = sheet.rng, sheet.font(sheet.rng.uniform(0.6, 1.0))
    em, top, upright, aslant = font.size, sheet.y, len(sheet.boxes), len(sheet.aslant)
    left = sheet.left + 6 * em
    right = min(sheet.right - em, left + rng.uniform(12, 40) * em)
    bottom = top + rng.uniform(7, 20) * em
    if right - left < 8 * em or bottom + 7 * em > sheet.image.height:
        return rule(sheet)
    if rng.random() < 0.5:
        sheet.line(corpus.phrase(rng, 1, 4), font, left, sheet.gap(font))
        top += 2 * em
    count = int(rng.integers(2, 8))
    steps = np.linspace(left, right, count + 1)
    heights = bottom - rng.uniform(0.05, 1, count) * (bottom - top)
    colours = [tuple(int(c) for c in rng.uniform(0, 230, 3)) for _ in range(count)]
    ticks, unit = int(rng.integers(2, 6)), corpus.pick(rng, (0.1, 0.5, 1, 5, 20, 100, 250))
    for tick in range(ticks + 1):
        y = bottom - tick / ticks * (bottom - top)
        sheet.draw.line((left - (right - left if rng.random() < 0.1 else 4), y, left, y), sheet.ink, 1)
        sheet.y, text = y - 0.6 * em, f"{tick * unit:g}"
        sheet.word(left - 0.6 * em - sheet.length(text, font), text, font)
    middles = (steps[:-1] + steps[1:]) / 2
    if rng.random() < 0.6:
        for x, y, colour in zip(middles, heights, colours, strict=True):
            wide = 0.35 * (steps[1] - steps[0])
            sheet.draw.rectangle((x - wide, y, x + wide, bottom), colour)
    else:
        sheet.draw.line([*zip(middles.tolist(), heights.tolist(), strict=True)], colours[0], int(rng.integers(1, 4)))
    sheet.draw.line((left, top, left, bottom), sheet.ink, 1)
    sheet.draw.line((left, bottom, right, bottom), sheet.ink, 1)
    degrees = float(rng.choice([0.0, rng.uniform(20, 80), -rng.uniform(20, 80), 90.0]))
    for x in middles.tolist():
        words = [corpus.entry(rng) if degrees or rng.random() < 0.5 else corpus.digits(rng, 1, 4)]
        if degrees or sheet.length(words[0], font) < 0.9 * (steps[1] - steps[0]):
            sheet.slanting(words, font, degrees, (x, bottom + em), 0.5 if not degrees else float(degrees > 0))
    side = 90.0 if rng.random() < 0.85 else -90.0
    sheet.slanting(corpus.phrase(rng, 1, 4), font, side, (sheet.left + 0.8 * em, (top + bottom) / 2), 0.5)
    drawn = [corners(sheet.boxes[upright:]), *(word.quad[None] for word in sheet.aslant[aslant:])]
    points = np.concatenate([*drawn, [[[left, top], [right, bottom]] * 2]]).reshape(-1, 2)
    (left, top), (right, bottom_most) = points.min(0).tolist(), points.max(0).tolist()
    sheet.regions.append(("figure", (left, top, right, bottom_most)))
    sheet.y = bottom + (6 if degrees else 3) * em


def beside(sheet: Sheet) -> None:
    """A line that runs up or down the edge of a page, as the stamp of an archive or a form's number."""
    rng, font = sheet.rng, sheet.font(sheet.rng.uniform(0.6, 1.4))
    words = [corpus.word(rng) if rng.random() < 0.5 else corpus.entry(rng) for _ in range(rng.integers(1, 7))]
    x = 0.8 * font.size if rng.random() < 0.7 else sheet.image.width - 0.8 * font.size
    y, before = rng.uniform(0.3, 0.7) * sheet.image.height, len(sheet.aslant)
    sheet.slanting(words, font, 90.0 if rng.random() < 0.8 else -90.0, (x, y), 0.5)
    if sheet.aslant[before:]:
        points = np.concatenate([word.quad for word in sheet.aslant[before:]])
        sheet.regions.append(("text", (*points.min(0).tolist(), *points.max(0).tolist())))


LABELS = ("text", "title", "list", "table", "figure")  # of regions
LABEL: dict[Callable[[Sheet], None], str] = {
    heading: "title", paragraph: "text", fields: "text", items: "list", bullets: "list", table: "table",
}  # fmt: skip


def put(block: Callable[[Sheet], None], sheet: Sheet) -> None:
    """Lets a block draw itself, and notes the region of its words."""
    before, top = len(sheet.boxes), sheet.y
    block(sheet)
    new = sheet.boxes[before:]
    if block in LABEL and new:
        (left, upper, _, _), (_, _, right, lower) = np.min(new, 0).tolist(), np.max(new, 0).tolist()
        if block is table:  # the grid has edges beyond its words
            left, upper, right = min(left, sheet.left), min(upper, top), max(right, sheet.right)
        sheet.regions.append((LABEL[block], (left, upper, right, lower)))


KINDS: dict[str, dict[Callable[[Sheet], None], float]] = {
    "receipt": {heading: 2, items: 4, fields: 3, rule: 2, paragraph: 0.3, picture: 0.4},
    "invoice": {heading: 1, fields: 3, table: 2, items: 1, paragraph: 1, picture: 0.5, rule: 0.5},
    "letter": {heading: 1, paragraph: 4, bullets: 0.7, fields: 1, picture: 0.3},
    "form": {heading: 1, fields: 5, paragraph: 1, bullets: 0.3, table: 0.5, rule: 0.5},
    "table": {heading: 0.5, table: 4, paragraph: 0.5, chart: 0.7},
    "book": {heading: 0.6, paragraph: 5, bullets: 0.7, picture: 0.4, table: 0.3, chart: 0.4},
    "report": {heading: 0.5, paragraph: 1, chart: 3, table: 0.5},
}
EDGED = 0.15  # of wide pages, those with a line along an edge
UPWARDS = 0.15  # of tables, those whose heads run upwards


# ---------------------------------------------------------------- pages


def sheet(kind: str, rng: Rng) -> Sheet:
    """A filled sheet of this kind, before anything looks at it."""
    narrow = kind == "receipt"
    width = int(rng.integers(320, 620)) if narrow else int(rng.integers(620, 1100))
    height = int(width * (rng.uniform(1.2, 2.6) if narrow else rng.uniform(0.9, 1.45)))
    paper = np.clip(np.full(3, rng.uniform(200, 255)) + rng.uniform(-18, 8, 3), 0, 255)
    canvas = np.clip(synthetic.background((height, width), paper, rng), 0, 255).astype(np.uint8)
    margin = int(width * rng.uniform(0.02, 0.1))
    size = int(rng.integers(13, 25)) if narrow else int(rng.integers(11, 22))
    red, green, blue = np.clip(rng.uniform(0, 95) + rng.uniform(-15, 25, 3), 0, 255).astype(int).tolist()
    page = Sheet(
        Image.fromarray(canvas),
        rng,
        margin,
        width - margin,
        margin,
        size,
        fonts.any_path(rng, 0.75),
        (red, green, blue),
        tracking=float(rng.uniform(-0.03, 0.16)) if rng.random() < 0.3 else 0.0,
        spacing=float(rng.uniform(0.7, 1.4)) if rng.random() < 0.5 else 1.0,
        shaky=float(rng.uniform(0.01, 0.06)) if rng.random() < 0.15 else 0.0,
    )
    columns = 2 if kind in ("book", "letter") and width > 850 and rng.random() < 0.5 else 1
    gutter = int(rng.uniform(1.2, 2.5) * size)
    column = (width - 2 * margin - (columns - 1) * gutter) // columns
    blocks, weights = list(KINDS[kind]), np.array(list(KINDS[kind].values()))
    for index in range(columns):
        page.left = margin + index * (column + gutter)
        page.right, page.y = page.left + column, margin
        put(heading, page)
        while not page.full:
            put(blocks[int(rng.choice(len(blocks), p=weights / weights.sum()))], page)
            if rng.random() < 0.1:
                page.face, page.size = fonts.any_path(rng, 0.75), max(10, int(page.size * rng.uniform(0.85, 1.2)))
            page.feed(rng.uniform(0, 0.8))
    if not narrow and rng.random() < EDGED:
        beside(page)
    return page


def corners(boxes: list[tuple[float, float, float, float]]) -> np.ndarray:
    """Polygons (N, 4, 2) float32 of boxes (left, top, right, bottom), a little away from the ink."""
    if not boxes:
        return np.zeros((0, 4, 2), np.float32)
    x0, y0, x1, y1 = np.array(boxes, np.float32).T
    pad = np.clip(0.06 * (y1 - y0), 0.5, 2)
    x0, y0, x1, y1 = x0 - pad, y0 - pad, x1 + pad, y1 + pad
    return np.stack([x0, y0, x1, y0, x1, y1, x0, y1], 1).reshape(-1, 4, 2)


def document(rng: Rng, kind: str | None = None) -> Sample:
    """A document as a scanner or a camera shows it."""
    page = sheet(kind or corpus.pick(rng, list(KINDS)), rng)
    image, homography = shown(page, rng)
    polygons = np.concatenate([corners(page.boxes), *(word.quad[None] for word in page.aslant)])
    middles = [*page.middles, *(word.middles for word in page.aslant)]
    texts = (*page.texts, *(word.text for word in page.aslant))
    if homography is not None:
        polygons = augment.move(polygons, homography)
        middles = [augment.move(points[None], homography)[0] for points in middles]
    parts = _parts(page, homography)
    classes = _classes(parts, image.shape[:2])
    return Sample(augment.degrade(image, rng, 0.8), polygons, texts, tuple(middles), classes, parts)


def layout(rng: Rng, kind: str | None = None) -> Regions:
    """A document as a scanner or a camera shows it, and what each pixel is part of."""
    page = document(rng, kind)
    assert page.classes is not None  # of documents they are known
    return Regions(page.image, page.classes)


def _parts(page: Sheet, homography: np.ndarray | None) -> tuple[tuple[str, np.ndarray], ...]:
    """The regions of a sheet, moved as it was."""
    parts = []
    for label, (left, top, right, bottom) in page.regions:
        outline = np.array([[[left, top], [right, top], [right, bottom], [left, bottom]]], np.float32)
        parts.append((label, (outline if homography is None else augment.move(outline, homography))[0]))
    return tuple(parts)


def _classes(parts: tuple[tuple[str, np.ndarray], ...], size: tuple[int, int]) -> np.ndarray:
    classes = np.zeros(size, np.uint8)
    for label, outline in parts:
        cv2.fillPoly(classes, [np.round(outline).astype(np.int32)], LABELS.index(label) + 1)
    return classes


def shown(page: Sheet, rng: Rng) -> tuple[np.ndarray, np.ndarray | None]:
    """A sheet (H, W, 3) uint8 as it lies before the camera, and the homography (3, 3) that moved it, if one did."""
    image = np.asarray(page.image)
    photographed = rng.random() < 0.4
    angle, skew, margin = (10.0, 0.06, 0.06) if photographed else (2.0, 0.005, 0.0)
    if rng.random() >= 0.75:
        return image, None
    homography, size = augment.perspective(image.shape[:2], rng, angle, skew, rng.uniform(0, margin))
    desk = synthetic.background(size, rng.uniform(0, 255, 3), rng)
    desk = np.clip(desk, 0, 255).astype(np.uint8)
    image = cv2.warpPerspective(
        image, homography, size[::-1], desk, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_TRANSPARENT
    )
    return image, homography


def scene(rng: Rng, size: tuple[int, int] = (512, 640)) -> Sample:
    """A street or a shelf: patches of colour with words on them, in perspective."""
    height, width = size
    image = synthetic.background(size, rng.uniform(20, 235, 3), rng)
    for _ in range(rng.integers(4, 25)):
        points = rng.uniform((-0.2 * width, -0.2 * height), (1.2 * width, 1.2 * height), (1, 2))
        points = (points + rng.normal(0, rng.uniform(20, 200), (int(rng.integers(3, 6)), 2))).astype(np.int32)
        if rng.random() < 0.7:
            cv2.fillConvexPoly(image, cv2.convexHull(points), rng.uniform(0, 255, 3).tolist())
        else:
            cv2.polylines(image, [points], True, rng.uniform(0, 255, 3).tolist(), int(rng.integers(1, 8)))
    image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 4))
    sample = signs(image, np.zeros(size, np.uint8), rng)
    return sample._replace(image=augment.degrade(sample.image, rng))


def signs(image: np.ndarray, taken: np.ndarray, rng: Rng) -> Sample:
    """A picture with up to 13 words painted on it, and where those are.

    Args:
        image: (H, W, 3) float32, painted in place.
        taken: (H, W) uint8, not 0 where no word may stand; gets those that come to stand there.
        rng: draws all else.
    """
    polygons: list[np.ndarray] = []
    middles: list[np.ndarray] = []
    texts: list[str] = []
    for _ in range(rng.integers(2, 14)):
        text = corpus.word(rng)
        place = _sign(text, image, taken, rng)
        if place is not None:
            polygons.append(place[:4])
            middles.append(place[4:])
            texts.append(text)
    pixels = np.clip(image, 0, 255).astype(np.uint8)
    return Sample(pixels, np.array(polygons, np.float32).reshape(-1, 4, 2), tuple(texts), tuple(middles))


def _sign(text: str, image: np.ndarray, taken: np.ndarray, rng: Rng) -> np.ndarray | None:
    """Paints a word somewhere free on the picture, in place; where there is no room, or its font lacks letters, None.

    Returns:
        (4 + L, 2): the corners of its polygon, and the middles of its characters.
    """
    size = int(np.exp(rng.uniform(np.log(10), np.log(90))))
    face = fonts.any_path(rng)
    if not fonts.draws(face, text):
        return None
    whole, centres = synthetic.mask(text, fonts.font(face, size), rng)
    if not whole.any():  # some fonts have empty glyphs
        return None
    coverage = synthetic.trim(whole)
    homography, (height, width) = augment.perspective(coverage.shape, rng, 18, 0.15, 0.02)
    if height >= image.shape[0] or width >= image.shape[1] or height < 6:
        return None
    y, x = int(rng.integers(image.shape[0] - height)), int(rng.integers(image.shape[1] - width))
    window = np.s_[y : y + height, x : x + width]
    if taken[window].any():
        return None
    taken[window] = 1
    tall, wide = coverage.shape
    outline = np.array([[0, 0], [wide, 0], [wide, tall], [0, tall]], np.float32)
    first = np.flatnonzero(whole.any(0))[:1].sum()  # column of the ink's beginning, which is now the first
    places = np.concatenate([outline, np.stack([centres - first, np.full(len(text), tall / 2)], 1).astype(np.float32)])
    coverage = cv2.warpPerspective(coverage, homography, (width, height))
    paper, ink = synthetic.colours(rng)
    view = image[window]
    if rng.random() < 0.6:
        view[:] = synthetic.background((height, width), paper, rng)
    elif abs(view.mean() - ink.mean()) < 50:
        ink = np.full(3, 255.0 if view.mean() < 128 else 0.0)
    synthetic.blend(view, coverage, ink)
    return augment.move(places[None], homography)[0] + np.array([x, y], np.float32)
