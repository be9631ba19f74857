"""Fonts for synthetic documents: the Latin ones among those installed on the machine."""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path

import numpy as np
from PIL import Image, ImageFont

from zoo.charset import without_marks

FOLDERS = (
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "~/.fonts",
    "~/.local/share/fonts",
    "/Library/Fonts",
    "C:/Windows/Fonts",
)
PROBE = "aBgM7&é"
TRIES = 16  # fonts that are asked for a text
NOT_TEXT = re.compile(
    r"aenigma|symbol|dingbat|math|icon|emoji|braille|music|euterpe|dseg|barcode|unifont|nastaliq|ornament|initial|fraktur|caps|"
    r"bitmap|outline|cegui|lmmi|lmsy|lmex|d050000l|standardsymbols|glyph|chess|dummy|blankenburg|triod|sebaldus",
    re.IGNORECASE,
)

# What offices, tills and web pages print with, and their free metric twins.
EVERYDAY = re.compile(
    r"Liberation|DejaVuSans|Nimbus|Arimo|Tinos|Cousine|Carlito|Caladea|Roboto|OpenSans|FreeSans|FreeMono|Lato|Inter-|"
    r"Courier|Hack|Cantarell|P052|C059|Karla|Inconsolata|URWGothic|ClearSans|Oxygen"
)

# What looks as if written by hand; `zoo data fonts` has a folder of it.
WRITTEN = re.compile(
    r"breip|dancingscript|delphine|domestic|ecolier|femkeklaver|isabella|kaushan|kristi|RomandeADFScript|stevehand|Z003|"
    r"rufscript|TypoScript|joscelyn|dkg|bwht|BecauseWe|[/\\\\]handwriting[/\\\\]",
    re.IGNORECASE,
)


@functools.cache
def families() -> tuple[tuple[Path, ...], ...]:
    """Font files by family, only those that draw Latin letters, digits and accents.

    Raises:
        FileNotFoundError: there are none. `OCRZOO_FONTS` may name more folders, joined as in PATH.
    """
    folders = [*filter(None, os.environ.get("OCRZOO_FONTS", "").split(os.pathsep)), *FOLDERS]
    found: dict[str, list[Path]] = {}
    for folder in folders:
        for path in sorted(Path(folder).expanduser().rglob("*.[to]tf")):
            if not NOT_TEXT.search(str(path)) and is_latin(path):
                found.setdefault(re.split(r"[-_ ]", path.stem)[0].lower(), []).append(path)
    if not found:
        raise FileNotFoundError(f"no Latin fonts in {', '.join(folders)}; install some, such as Debian's fonts-dejavu")
    return tuple(tuple(found[name]) for name in sorted(found))


def is_latin(path: Path) -> bool:
    """Whether the font has its own glyph, not the box for missing ones, for each character of `PROBE`."""
    try:
        font = ImageFont.truetype(str(path), 24)
        missing = bytes(font.getmask("\uffff"))
        glyphs = [_glyph(font, character, missing) for character in PROBE]
    except (OSError, ValueError):
        return False
    return len(set(glyphs)) == len(PROBE) and all(glyphs)


def draws(path: Path, text: str) -> bool:
    """Whether the font has glyphs of its own for all characters of a text beyond ASCII."""
    return all(_has(path, character) for character in set(text) if not character.isascii())


@functools.lru_cache(200_000)
def _has(path: Path, character: str) -> bool:
    face = font(path, 24)
    return bool(_glyph(face, character, bytes(face.getmask("\uffff"))))


def _glyph(face: ImageFont.FreeTypeFont, character: str, missing: bytes) -> bytes:
    """What a font draws for a character; nothing where that is its box for missing ones."""
    glyph = bytes(face.getmask(character))
    return glyph if any(glyph) and glyph != missing else b""


@functools.lru_cache(2048)
def font(path: Path, size: int) -> ImageFont.FreeTypeFont:
    """The font at this size in pixels."""
    return ImageFont.truetype(str(path), size)


def drawn(font: ImageFont.FreeTypeFont, text: str) -> tuple[np.ndarray, int]:
    """Coverage (H, W) uint8 of a text in one line, no larger than its ink, and the x at which that begins."""
    return _character(font, text) if len(text) == 1 else _drawn(font, text)


def _drawn(font: ImageFont.FreeTypeFont, text: str) -> tuple[np.ndarray, int]:
    glyphs, (left, _) = font.getmask2(text, "L")  # with what `getbbox` would lay out the text for once more
    picture = Image.new("L", glyphs.size)
    picture.im.paste(glyphs, (0, 0, *glyphs.size))
    return np.asarray(picture), int(left)


_character = functools.lru_cache(20_000)(_drawn)  # characters by themselves are few, and drawing is most of the work


def ends(font: ImageFont.FreeTypeFont, text: str) -> np.ndarray:
    """(L + 1,) pixels from the start of a text to where each of its characters begins, and to the end of the last.

    What kerning takes is spread over all characters: asking for the length of each beginning would take longer than
    drawing the text.
    """
    if len(text) == 1:
        return np.array([0.0, _advance(font, text)])
    advances = np.cumsum([0.0, *(_advance(font, character) for character in text)])
    return advances * (font.getlength(text) / advances[-1] if advances[-1] else 1.0)


@functools.lru_cache(200_000)
def _advance(font: ImageFont.FreeTypeFont, character: str) -> float:
    return font.getlength(character)


@functools.cache
def everyday() -> tuple[tuple[Path, ...], ...]:
    """The families of `EVERYDAY` that are installed; all families if none is."""
    return tuple(family for family in families() if EVERYDAY.match(family[0].stem)) or families()


@functools.cache
def written() -> tuple[tuple[Path, ...], ...]:
    """The families of `WRITTEN` that are installed; all families if none is."""
    return tuple(family for family in families() if WRITTEN.search(str(family[0]))) or families()


def any_path(rng: np.random.Generator, common: float = 0.4, hand: float = 0.0) -> Path:
    """A file of a family drawn first, so that families with many styles are not drawn more often.

    Args:
        common: probability that the family is one of the everyday ones.
        hand: probability that it is one that looks written by hand, whatever `common`.
    """
    if hand and rng.random() < hand:
        family = written()[int(rng.integers(len(written())))]
        return family[int(rng.integers(len(family)))]
    group = everyday() if rng.random() < common else families()
    family = group[int(rng.integers(len(group)))]
    return family[int(rng.integers(len(family)))]


def path_for(text: str, rng: np.random.Generator, common: float = 0.4, hand: float = 0.0) -> Path:
    """What `any_path` gives that draws all of a text; one of the everyday ones where few do.

    Raises:
        ValueError: neither does one of these.
    """
    for _ in range(TRIES):
        if draws(path := any_path(rng, common, hand), text):
            return path
    found = [family[0] for family in everyday() if draws(family[0], text)]
    if not found:
        raise ValueError(f"no font draws {text!r}; take an alphabet that they draw")
    return found[int(rng.integers(len(found)))]


@functools.lru_cache(4096)
def known(character: str) -> bool:
    """Whether one of the everyday fonts draws it."""
    return any(draws(family[0], character) for family in everyday())


def drawable(path: Path, text: str) -> str:
    """The text as the font can write it: without accents if it lacks one, and without what it lacks then."""
    return text if draws(path, text) else "".join(c for c in without_marks(text) if draws(path, c))
