"""Synthetic words: text in any installed Latin font, as scanners and cameras would see it.

Plain Python and NumPy, seeded: the same seed gives the same pictures on the same machine and fonts. Pages are in
`recipes.data.documents`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from recipes.data import augment, corpus, fonts
from zoo.charset import Charset

Rng = np.random.Generator
TRIES = 100  # of words together, before there is one less
MOST_TRIES = 100_000  # of a word, before the alphabet is taken for one that has none
GLYPHS = 36  # pixels of the em at which words are drawn before they are brought to size
SMALL = 0.14  # chance of small print


class Strip(NamedTuple):
    """A crop of one word or line (H, W, 3) uint8 and its text.

    `centres` are the x of its characters' middles where they are known, as in synthetic words.
    """

    image: np.ndarray
    text: str
    centres: np.ndarray | None = None


def mask(text: str, font: ImageFont.FreeTypeFont, rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    """Coverage (H, W) uint8 of the text drawn in one line, and the x of its characters' middles.

    Now and then it is drawn letter by letter, spaced out.
    """
    if rng.random() < 0.88 or len(text) > 20:
        coverage, left = fonts.drawn(font, text)
        ends = fonts.ends(font, text)
        return coverage, (ends[:-1] + ends[1:]) / 2 - left
    widest = int(font.size) if len(text) < 12 and rng.random() < 0.2 else int(font.size) // 3  # as on a front
    spacing = int(rng.integers(-1, max(3, widest)))
    _, _, right, bottom = font.getbbox(text)
    canvas = np.zeros((int(bottom) + 4, int(right) + spacing * len(text) + 3 * int(font.size)), np.uint8)
    pen, centres = 0.0, []
    for character in text:
        glyph = font.getmask(character, mode="L")
        width, height = glyph.size
        x, y = font.getbbox(character)[:2]
        x, y = max(0, int(pen + x)), max(0, int(y))
        if width and height:
            patch = np.asarray(glyph, np.uint8).reshape(height, width)
            view = canvas[y : y + height, x : x + width]
            np.maximum(view, patch[: view.shape[0], : view.shape[1]], out=view)
        centres.append(pen + font.getlength(character) / 2)
        pen += font.getlength(character) + spacing
    drawn = np.flatnonzero(canvas.any(0))
    return trim(canvas), np.array(centres) - (drawn[0] if len(drawn) else 0)


def inked(text: str, rng: Rng, common: float, hand: float = 0.0, em: int = GLYPHS) -> tuple[np.ndarray, np.ndarray]:
    """What `mask` gives for a font that draws the text: many have no rare characters, or empty glyphs for them.

    `em` is the font's size in pixels.

    Raises:
        ValueError: none of the fonts drawn has.
    """
    titled = len(text) > 1 and text.isupper() and rng.random() < 0.08
    for _ in range(16):
        path = fonts.path_for(text, rng, common, hand)
        coverage, centres = small_capitals(text, path, rng, em) if titled else mask(text, fonts.font(path, em), rng)
        if coverage.any():
            return spaced(text, coverage, centres, rng) if " " in text else (coverage, centres)
    raise ValueError(f"no font has ink for {text!r}; take an alphabet that they draw")


def spaced(text: str, coverage: np.ndarray, centres: np.ndarray, rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    """What `mask` gave for a text with spaces, these now narrower or wider than the font has them: print varies."""
    factor = np.exp(rng.uniform(np.log(0.6), np.log(2.0)))
    centres = centres.copy()
    for place in [i for i, character in enumerate(text) if character == " "]:
        ink = np.flatnonzero(coverage.any(0))
        before, after = ink[ink < centres[place]], ink[ink >= centres[place]]
        if not len(before) or not len(after):
            continue
        first, last = int(before[-1]) + 1, int(after[0])  # of the space, and of what comes after it
        width = max(2, round(factor * (last - first)))
        gap = np.zeros((len(coverage), width), coverage.dtype)
        coverage = np.concatenate([coverage[:, :first], gap, coverage[:, last:]], 1)
        centres[place] = first + width / 2
        centres[place + 1 :] += width - (last - first)
    return coverage, centres


def small_capitals(text: str, path: Path, rng: Rng, em: int) -> tuple[np.ndarray, np.ndarray]:
    """What `mask` gives for a text whose first letter is larger than the others on its line, as titles have it."""
    faces = [fonts.font(path, size) for size in (em, round(em * rng.uniform(0.65, 0.85)))]
    ends = np.append(0.0, faces[0].getlength(text[0]) + fonts.ends(faces[1], text[1:]))
    canvas = Image.new("L", (int(ends[-1]) + 2 * em, 3 * em))
    draw = ImageDraw.Draw(canvas)
    draw.text((em, 2 * em), text[0], 255, faces[0], "ls")
    draw.text((em + ends[1], 2 * em), text[1:], 255, faces[1], "ls")
    coverage = np.asarray(canvas)
    drawn = np.flatnonzero(coverage.any(0))
    return trim(coverage), (ends[:-1] + ends[1:]) / 2 + em - (drawn[0] if len(drawn) else 0)


def trim(coverage: np.ndarray) -> np.ndarray:
    """Without empty rows and columns around the ink; at least one pixel stays."""
    rows, columns = np.flatnonzero(coverage.any(1)), np.flatnonzero(coverage.any(0))
    if not len(rows):
        return coverage[:1, :1]
    return coverage[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def pen_weight(coverage: np.ndarray, rng: Rng) -> np.ndarray:
    """Ink that spread or thinned, or that dots of a printer left out."""
    draw = rng.random()
    if draw < 0.1:
        return cv2.dilate(coverage, np.ones((2, 2), np.uint8))
    if draw < 0.15:
        return cv2.erode(coverage, np.ones((2, 2), np.uint8))
    if draw < 0.22:
        holes = rng.random(coverage.shape, np.float32) < rng.uniform(0.03, 0.25)
        return np.where(holes, coverage // 3, coverage).astype(np.uint8)
    return coverage


def embolden(coverage: np.ndarray, rng: Rng) -> np.ndarray:
    """Strokes up to 4 pixels heavier, as of posters and signs; less where that would close the letters."""
    bold = cv2.dilate(np.pad(coverage, 3), np.ones((int(rng.integers(1, 4)), int(rng.integers(2, 5))), np.uint8))
    return coverage if np.mean(bold > 127) > 0.5 else bold[3:-3, 3:-3]


def wave(coverage: np.ndarray, rng: Rng) -> np.ndarray:
    """Text on an arc or a wave, as signs have it."""
    height, width = coverage.shape
    bend = rng.uniform(0.1, 0.45) * height * rng.choice((-1, 1))
    phase, turns = rng.uniform(0, np.pi), rng.uniform(0.5, 1.0)
    shift = bend * np.sin(phase + np.pi * turns * np.arange(width, dtype=np.float32) / width)
    extra = int(abs(bend)) + 2
    padded = np.pad(coverage, ((extra, extra), (0, 0)))
    y, x = np.mgrid[0 : padded.shape[0], 0:width].astype(np.float32)
    return trim(cv2.remap(padded, x, y + shift.astype(np.float32), cv2.INTER_LINEAR))


def background(size: tuple[int, int], colour: np.ndarray, rng: Rng) -> np.ndarray:
    """A surface (H, W, 3) float32 around one colour: plain, shaded, blotched, striped, or a wall of bricks."""
    height, width = size
    surface = np.empty((height, width, 3), np.float32)
    surface[:] = colour
    kind = rng.random()
    if kind < 0.5:
        cells = (2, 3) if kind < 0.25 else (int(rng.integers(3, 8)), int(rng.integers(4, 16)))
        field = rng.standard_normal((*cells, 3 if kind < 0.1 else 1)).astype(np.float32) * rng.uniform(3, 32)
        surface += cv2.resize(field, (width, height), interpolation=cv2.INTER_CUBIC).reshape(height, width, -1)
    elif kind < 0.6:
        stripes = np.sin(np.arange(width if kind < 0.55 else height) * rng.uniform(0.2, 2) + rng.uniform(0, 6))
        surface += (stripes[None, :, None] if kind < 0.55 else stripes[:, None, None]) * rng.uniform(3, 25)
    elif kind < 0.66:
        surface += bricks(size, rng)[..., None] * rng.uniform(5, 30) * rng.choice((-1, 1))
    return surface


def bricks(size: tuple[int, int], rng: Rng) -> np.ndarray:
    """The joints of a wall (H, W) float32: 1 where they are, and stones between that differ by up to a half."""
    high = rng.uniform(0.15, 0.6) * size[0]
    y, x = np.mgrid[0 : size[0], 0 : size[1]].astype(np.float32) + rng.uniform(0, 99)
    row = np.floor(y / high)
    across = x / (high * rng.uniform(2, 4)) + row / 2
    stones = rng.uniform(-0.5, 0.5, 257)[(7 * row + np.floor(across)).astype(int) % 257]
    thin = max(1.0, 0.1 * high)
    return np.where((y % high < thin) | (across % 1 < 0.04), 1.0, stones).astype(np.float32)


def painted(rng: Rng) -> np.ndarray:
    """A dark or strong colour (3,), as walls, signs and night have them."""
    hue, saturation, value = rng.uniform(0, 180), 255 * rng.uniform(0, 1) ** 0.7, rng.uniform(0, 170)
    return cv2.cvtColor(np.array([[[hue, saturation, value]]], np.float32).astype(np.uint8), cv2.COLOR_HSV2RGB)[
        0, 0
    ].astype(float)


def colours(rng: Rng, coloured: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Colours (3,) of paper and ink that can be told apart: dark on light; the part `coloured` any, half as signs."""
    if rng.random() >= coloured:
        paper, ink = np.full(3, rng.uniform(170, 255)), np.full(3, rng.uniform(0, 110))
        paper, ink = paper + rng.uniform(-15, 10, 3), ink + rng.uniform(-10, 30, 3)
    elif rng.random() < 0.5:
        paper, ink = (
            painted(rng),
            rng.uniform(215, 255) - np.array([0, 0, 90 if rng.random() < 0.3 else 0]) * rng.uniform(0, 2),
        )
        if rng.random() < 0.3:
            paper, ink = ink, paper
    else:
        paper, ink = rng.uniform(0, 255, 3), rng.uniform(0, 255, 3)
        grey = np.array([0.3, 0.59, 0.11])
        for _ in range(8):
            if abs((paper - ink) @ grey) > 45:
                break
            paper, ink = rng.uniform(0, 255, 3), rng.uniform(0, 255, 3)
    return np.clip(paper, 0, 255), np.clip(ink, 0, 255)


def neighbours(canvas: np.ndarray, text: np.ndarray, rng: Rng) -> np.ndarray:
    """The canvas of coverage with parts of other lines or of a rule at its edges, as crops of documents have them."""
    height, width = canvas.shape
    draw = rng.random()
    if draw < 0.1:
        other = text[:, :: int(rng.choice((-1, 1)))]
        part = int(rng.integers(1, 4))
        strip = cv2.resize(other, (width, max(4, other.shape[0])))[-part:] if draw < 0.05 else None
        if strip is not None:
            np.maximum(canvas[: len(strip)], strip, out=canvas[: len(strip)])
        else:
            strip = cv2.resize(other, (width, max(4, other.shape[0])))[:part]
            np.maximum(canvas[-len(strip) :], strip, out=canvas[-len(strip) :])
    elif draw < 0.15:
        row = int(rng.choice((rng.integers(0, 3), height - 1 - rng.integers(0, 3))))
        canvas[max(0, min(row, height - 1))] = 255
    return canvas


def beside(coverage: np.ndarray, centres: np.ndarray, rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    """A word's coverage (H, W) and centres with a part of a letter of the next word, or of the last, at its edge."""
    height, ink = len(coverage), np.flatnonzero(coverage.any(0))
    if not len(ink):
        return coverage, centres
    gap, part = (max(1, int(share * height)) for share in rng.uniform((0.12, 0.04), (0.4, 0.25)))
    space = np.zeros((height, gap), coverage.dtype)
    if rng.random() < 0.6:
        return np.concatenate([coverage, space, coverage[:, ink[0] : ink[0] + part]], 1), centres
    before = coverage[:, max(0, ink[-1] + 1 - part) : ink[-1] + 1]
    return np.concatenate([before, space, coverage], 1), centres + before.shape[1] + gap


# What print has for the marks of a keyboard: within or after a word, and before it.
TYPESET = {"'": ("’", "‘"), '"': ("”“", "“„"), "-": ("–—‐", "–—")}
PRINTED = 0.4  # chance of each of these in a text


def typeset(text: str, charset: Charset, rng: Rng) -> str:
    """The text as print would have it, a character for each: with marks that the alphabet has only plain ones for."""
    for mark, (after, before) in TYPESET.items():
        if mark not in text or rng.random() >= PRINTED:
            continue
        after, before = ("".join(c for c in marks if c not in charset.characters) or mark for marks in (after, before))
        closing, opening = corpus.pick(rng, after), corpus.pick(rng, before)
        starts = [i for i, c in enumerate(text) if c == mark and (not i or not text[i - 1].isalnum())]
        text = "".join(opening if i in starts else closing if c == mark else c for i, c in enumerate(text))
    return text


def draw_word(text: str, rng: Rng, difficulty: float = 1.0, hand: float = 0.0, shown: str = "") -> Strip:
    """The word as a crop 20 to 48 pixels high, or lower where it is small print, with a little of what surrounds it.

    Args:
        text: without white space but for single spaces between words.
        rng: draws all else.
        difficulty: from 0, clean print in everyday fonts, to 1, all that can happen to a word.
        hand: chance of a font that looks written by hand.
        shown: what is drawn for it, of as many characters; by default itself.
    """
    small = rng.random() < SMALL * difficulty
    if small and rng.random() < 0.5:
        return on_screen(text, rng, hand, shown)
    coverage, centres = inked(shown or text, rng, 0.9 - 0.5 * difficulty, hand)
    if rng.random() < difficulty:
        coverage = pen_weight(coverage, rng)
    scene = rng.random() < 0.5 * difficulty
    if rng.random() < (0.12 if scene else 0.03 * difficulty) and len(text) > 2:
        coverage = wave(coverage, rng)
    if scene and rng.random() < 0.3:
        coverage = embolden(coverage, rng)
    angle, skew = (6.0, 0.12) if scene else (1.5, 0.02)
    if scene and rng.random() < 0.3:  # seen from the side or from below
        angle, skew = 12.0, 0.22
    if rng.random() < 0.7:
        homography, size = augment.perspective(coverage.shape, rng, angle, skew)
        middles = np.stack([centres, np.full(len(text), coverage.shape[0] / 2)], 1)
        centres = augment.move(middles[None], homography)[0, :, 0]
        coverage = cv2.warpPerspective(coverage, homography, size[::-1], flags=cv2.INTER_AREA)
    height, width = coverage.shape
    top, bottom = (rng.uniform(-0.03, 0.3, 2) * height).astype(int)
    left, right = (rng.uniform(-0.02, 0.35, 2) * min(height, width)).astype(int)
    coverage = coverage[max(0, -top) : height - max(0, -bottom), max(0, -left) : width - max(0, -right)]
    borders = [max(0, int(border)) for border in (top, bottom, left, right)]
    coverage = cv2.copyMakeBorder(coverage, *borders, cv2.BORDER_CONSTANT)
    centres = centres + left
    if rng.random() < 0.08 * difficulty:
        coverage, centres = beside(coverage, centres, rng)
    padded = coverage.shape[1]
    target = int(rng.integers(20, 49))
    aspect = np.exp(rng.uniform(np.log(0.45), np.log(1.35))) if scene else rng.uniform(0.75, 1.25)
    width = max(4, round(coverage.shape[1] * target / coverage.shape[0] * aspect))
    coverage = cv2.resize(coverage, (width, target), interpolation=cv2.INTER_AREA)
    image = paint(neighbours(coverage, coverage.copy(), rng), rng, scene, 0.5 * difficulty)
    image = augment.degrade(image, rng, difficulty)
    centres = centres * width / padded
    return thumbnail(image, text, centres, rng) if small else Strip(image, text, centres)


def on_screen(text: str, rng: Rng, hand: float = 0.0, shown: str = "") -> Strip:
    """Small print drawn at its own size, as a browser does: letters of few pixels, hinted, and not those of a larger
    font shrunk."""
    coverage, centres = inked(shown or text, rng, 0.6, hand, int(rng.integers(8, 17)))
    top, bottom, left, right = (int(border) for border in rng.integers(0, 4, 4))
    coverage = cv2.copyMakeBorder(coverage, top, bottom, left, right, cv2.BORDER_CONSTANT)
    image, centres = paint(coverage, rng, False, 0.4), centres + left
    return thumbnail(image, text, centres, rng) if rng.random() < 0.5 else Strip(image, text, centres)


def thumbnail(image: np.ndarray, text: str, centres: np.ndarray, rng: Rng) -> Strip:
    """A word's crop as `augment.thumbnail` has it, its centres moved along."""
    low = augment.thumbnail(image, rng)
    return Strip(low, text, centres * low.shape[1] / image.shape[1])


def paint(coverage: np.ndarray, rng: Rng, scene: bool, coloured: float = 0.5) -> np.ndarray:
    """Ink on paper (H, W, 3) uint8; in scenes now and then shaded, solid, with a shadow, or with an outline."""
    paper, ink = colours(rng, coloured)
    image = background(coverage.shape, paper, rng)
    draw = rng.random()
    if scene and draw < 0.2:
        sides = ink * rng.uniform(0.2, 0.8) if rng.random() < 0.6 else rng.uniform(0, 255, 3)
        blend(image, depth(coverage, rng), sides)
    elif scene and draw < 0.44:
        edge = cv2.dilate(coverage, np.ones((3, 3), np.uint8))
        offset = rng.integers(-2, 3, 2)
        edge = np.roll(edge, offset, (0, 1)) if rng.random() < 0.6 else edge
        blend(image, edge, rng.uniform(0, 255, 3) if rng.random() < 0.5 else 255.0 * (paper.mean() < 128) + np.zeros(3))
    fill: np.ndarray = ink
    if scene and rng.random() < 0.25:  # lit from above, or metal
        ramp = np.linspace(rng.uniform(-60, 60), rng.uniform(-60, 60), len(coverage))[:, None, None]
        fill = ink + ramp + rng.standard_normal((*coverage.shape, 1)) * rng.uniform(0, 20)
    blend(image, coverage, fill)
    return np.clip(image, 0, 255).astype(np.uint8)


def depth(coverage: np.ndarray, rng: Rng) -> np.ndarray:
    """The sides of letters that are solid, or their shadow on a wall: their coverage drawn on in one direction.

    They go as far as a sixth of the height.
    """
    reach = rng.uniform(0.04, 0.17) * len(coverage)
    turn = rng.uniform(0, 2 * np.pi)
    size = 2 * int(np.ceil(reach)) + 1
    kernel = np.zeros((size, size), np.uint8)
    middle = size // 2  # where a letter's own pixel lies
    end = middle + round(reach * np.cos(turn)), middle + round(reach * np.sin(turn))
    cv2.line(kernel, (middle, middle), end, 1)
    return cv2.dilate(coverage, kernel)


def blend(image: np.ndarray, coverage: np.ndarray, colour: np.ndarray) -> None:
    """Covers the picture (H, W, 3) float32 in place with a colour, or one for each pixel, where there is coverage."""
    alpha = cv2.cvtColor(coverage, cv2.COLOR_GRAY2RGB).astype(np.float32)
    alpha /= 255
    change = np.empty_like(image)
    change[:] = colour
    change -= image
    change *= alpha
    image += change


def words(charset: Charset, seed: int, longest: int = 24) -> Iterator[Strip]:
    """Endless words of the alphabet with up to `longest` characters.

    The n-th word depends on the seed and n only, so a stream can be taken up anywhere: see `word_at`.
    """
    index = 0
    while True:
        yield word_at(charset, seed, index, longest)
        index += 1


def word_at(
    charset: Charset,
    seed: int,
    index: int,
    longest: int = 24,
    difficulty: float = 1.0,
    together: float = 0.0,
    hand: float = 0.0,
    texts: Callable[[Rng], str] | None = None,
) -> Strip:
    """The word number `index` of the stream `seed`, drawn as `draw_word` does.

    Args:
        charset: the alphabet.
        seed, index: of the word.
        longest: characters at most.
        difficulty: from 0 to 1.
        together: chance that it is several words with spaces between them: two or three, in long ones up to a word for
            eight characters.
        hand: chance of a font that looks written by hand.
        texts: draws the text, of `longest` characters at most; without, it is a word of `corpus.word`.

    Raises:
        ValueError: no word is of the alphabet.
    """
    rng = np.random.default_rng((seed, index))
    count = int(rng.integers(2, max(4, 1 + longest // 8))) if together and rng.random() < together else 1
    text, tries = "", 0
    while not 0 < len(text) <= longest:
        tries += 1
        if tries > MOST_TRIES:
            raise ValueError(
                f"no synthetic word of {longest} letters at most is of the alphabet {charset.characters!r}"
            )
        if tries % TRIES == 0:  # so many seldom are as short
            count = max(1, count - 1)
        words = [texts(rng)] if texts else [corpus.word(rng) for _ in range(count)]
        words = ["".join(filter(fonts.known, charset.plain(word))) for word in words]
        text = " ".join(words) if all(words) else ""
    return draw_word(text, rng, difficulty, hand, typeset(text, charset, rng))
