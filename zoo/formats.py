"""A document as text, paragraphs, JSON, JSON lines, hOCR, and as a picture."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from html import escape

import cv2
import numpy as np

from zoo.page import Block, Document, Line, Page, Word

LONE = re.compile("[\ud800-\udfff]")  # halves of a character, by which Python names bytes that are no UTF-8

# ---------------------------------------------------------------- text


def as_text(document: Document) -> str:
    """The text: lines, an empty one between blocks, a form feed between pages."""
    return document.text + "\n"


def as_paragraphs(document: Document) -> str:
    """A line for each paragraph, with words whole that are divided at ends of lines."""
    return "".join(paragraph + "\n" for paragraph in document.paragraphs)


def as_json(document: Document) -> str:
    """All that is known, as one JSON object; `Document.from_dict` takes it back."""
    return whole(json.dumps(document.to_dict(), ensure_ascii=False, indent=1)) + "\n"


def as_jsonl(document: Document) -> str:
    """A line of JSON for each page, its words in reading order.

    {"image", "page", "width", "height", "words": [{"polygon", "text", "confidence"}], "seconds"}
    """
    return "".join(whole(json.dumps(record(page), ensure_ascii=False)) + "\n" for page in document.pages)


def whole(text: str) -> str:
    """JSON that can be written as UTF-8: bytes of a file's name that are no UTF-8 are escaped, and come back so."""
    return LONE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def record(page: Page) -> dict:
    """What a line of JSON says of a page."""
    words = [
        {
            "polygon": [[round(float(x), 2), round(float(y), 2)] for x, y in word.polygon],
            "text": word.text,
            "confidence": round(word.confidence, 4),
        }
        for word in page.words
    ]
    return {
        "image": page.source,
        "page": page.number,
        "width": page.width,
        "height": page.height,
        "words": words,
        "seconds": round(page.seconds, 4),
    }


# ---------------------------------------------------------------- hOCR

HOCR = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN" "http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">
 <head>
  <title>{title}</title>
  <meta http-equiv="Content-Type" content="text/html; charset=utf-8" />
  <meta name="ocr-system" content="ocrzoo" />
  <meta name="ocr-capabilities" content="ocr_page ocr_carea ocr_line ocrx_word" />
 </head>
 <body>
{pages} </body>
</html>
"""


def as_hocr(document: Document) -> str:
    """XHTML with the classes of the hOCR standard 1.2: ocr_page, ocr_carea, ocr_line, ocrx_word."""
    pages = "".join(_hocr_page(page, number) for number, page in enumerate(document.pages, 1))
    return HOCR.format(title=_attribute(document.pages[0].source if document.pages else ""), pages=pages)


def _hocr_page(page: Page, number: int) -> str:
    source = page.source.replace('"', "%22")  # as in an address: nothing else ends a text within quotes
    title = f'image "{source}"; bbox 0 0 {page.width} {page.height}; ppageno {page.number - 1}'
    blocks = "".join(_hocr_block(block, f"{number}_{i}") for i, block in enumerate(page.blocks, 1))
    return f'  <div class="ocr_page" id="page_{number}" title="{_attribute(title)}">\n{blocks}  </div>\n'


def _hocr_block(block: Block, place: str) -> str:
    rows = "".join(_hocr_line(line, f"{place}_{i}") for i, line in enumerate(block.lines, 1))
    return f'   <div class="ocr_carea" id="block_{place}" title="{_bbox(block.words)}">\n{rows}   </div>\n'


def _hocr_line(line: Line, place: str) -> str:
    words = " ".join(_hocr_word(word, f"{place}_{i}") for i, word in enumerate(line.words, 1))
    return f'    <span class="ocr_line" id="line_{place}" title="{_bbox(line.words)}">{words}</span>\n'


def _hocr_word(word: Word, place: str) -> str:
    title = f"{_bbox((word,))}; x_wconf {round(100 * word.confidence)}"
    return f'<span class="ocrx_word" id="word_{place}" title="{title}">{escape(_printable(word.text))}</span>'


def _bbox(words: tuple[Word, ...]) -> str:
    points = np.concatenate([word.polygon for word in words])
    return "bbox " + " ".join(str(round(float(side))) for side in (*points.min(0), *points.max(0)))


FORBIDDEN = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # by XML 1.0
WHITE = {ord(character): f"&#{ord(character)};" for character in "\t\n\r"}  # would be read as spaces in an attribute


def _attribute(text: str) -> str:
    return escape(_printable(text), quote=True).translate(WHITE)


def _printable(text: str) -> str:
    """The text without what XML forbids."""
    return FORBIDDEN.sub("", text)


FORMATS: Mapping[str, Callable[[Document], str]] = {
    "text": as_text,
    "paragraphs": as_paragraphs,
    "json": as_json,
    "jsonl": as_jsonl,
    "hocr": as_hocr,
}

# ---------------------------------------------------------------- picture

SURE, UNSURE = (0x1B, 0x7F, 0x4B), (0xC6, 0x28, 0x28)  # green, red
DOUBT = (0xD9, 0x8A, 0x00)  # amber, half-way
WEIGHT = 500  # of the letters; 400 is regular, 700 bold


def overlay(image: np.ndarray, page: Page, *, side: int = 2400) -> np.ndarray:
    """The page with its words marked, and beside it the words as read, each in its place.

    From green to red the colour tells the confidence. Turned text is drawn turned.

    Args:
        image: (H, W, 3) uint8, the page or a reduced copy of it.
        page: what was read there.
        side: pixels of the longer side of the page in the result, at most.

    Returns:
        (h, 2 w + gap, 3) uint8 RGB.
    """
    scale = min(1.0, side / max(image.shape[:2])) * image.shape[1] / page.width
    height, width = max(1, round(page.height * scale)), max(1, round(page.width * scale))
    left = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    right = np.full_like(left, 255)
    marks = left.copy()
    for word in page.words:
        polygon = word.polygon.astype("float64") * scale
        cv2.fillPoly(marks, [np.rint(polygon).astype(int)], colour(word.confidence))
        _write(right, polygon, word.text, colour(word.confidence))
    left = cv2.addWeighted(left, 0.8, marks, 0.2, 0)
    thickness = max(1, round(max(height, width) / 900))
    for word in page.words:
        points = np.rint(word.polygon * scale).astype(int)
        cv2.polylines(left, [points], True, colour(word.confidence), thickness, cv2.LINE_AA)
    line = np.full((height, max(2, width // 200), 3), 0xB0, "uint8")
    return np.concatenate([left, line, right], 1)


COLOURS = np.array(  # of classes of pixels; the first, the background, is not painted
    [[0, 0, 0], [33, 150, 243], [244, 67, 54], [76, 175, 80], [255, 193, 7], [156, 39, 176], [0, 188, 212]], "uint8"
)


def painted(pixels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """The picture (H, W, 3) uint8 with its classes (H, W) painted over, but for the background."""
    return np.where(classes[..., None] > 0, pixels // 2 + COLOURS[classes % len(COLOURS)] // 2, pixels)


def parts(pixels: np.ndarray, classes: np.ndarray, labels: Sequence[str], *, side: int = 2400) -> np.ndarray:
    """The page with its parts painted over, and below it which colour is which.

    Args:
        pixels: (H, W, 3) uint8.
        classes: (H, W) uint8, places in `labels`.
        labels: names of the classes, the background's first.
        side: pixels of the longer side of the page in the result, at most.

    Returns:
        (h + legend, w, 3) uint8 RGB.
    """
    scale = min(1.0, side / max(pixels.shape[:2]))
    size = max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale))
    page = cv2.resize(painted(pixels, classes), size, interpolation=cv2.INTER_AREA)
    names = list(enumerate(labels))[1:]
    cell = size[0] // max(1, len(names))
    letters = int(np.clip(cell / (0.7 * max(map(len, labels)) + 2), 6, 22))
    legend = np.full((2 * letters + 2, size[0], 3), 255, "uint8")
    for place, (index, name) in enumerate(names):
        left = place * cell
        ink = COLOURS[index % len(COLOURS)]
        legend[letters // 2 : -letters // 2, left : left + letters] = ink
        cv2.putText(legend, name, (left + 3 * letters // 2, 3 * letters // 2), ink.tolist(), _font(), letters, WEIGHT)
    return np.concatenate([page, legend])


def colour(confidence: float) -> tuple[int, int, int]:
    """Red at 0, amber at a half, green at 1."""
    position = 2 * min(max(confidence, 0.0), 1.0)
    low, high = (UNSURE, DOUBT) if position < 1 else (DOUBT, SURE)
    share = position % 1 if position < 2 else 1.0
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(low, high, strict=True))
    return red, green, blue


@cache
def _font() -> cv2.FontFace:
    return cv2.FontFace("sans")  # comes with OpenCV, with accents and signs of currency


def _write(target: np.ndarray, polygon: np.ndarray, text: str, ink: tuple[int, int, int]) -> None:
    """Draws the text into `target` (H, W, 3), as large as its polygon (4, 2) lets it be."""
    across, down = polygon[1] - polygon[0], polygon[3] - polygon[0]
    width, height = float(np.hypot(*across)), float(np.hypot(*down))
    if width < 2 or height < 2:
        return
    mask = _mask(text, max(6, round(0.8 * height)))
    # Stretched to the width of the word, but not so far that it looks like another font.
    stretch = float(np.clip(width / mask.shape[1], 0.4, 1.3))
    along, upright = across / width * stretch, down / height * min(1.0, height / mask.shape[0])
    matrix = np.stack([along, upright], 1)  # (2, 2) from the mask to the page
    low = polygon.mean(0) - matrix @ np.array(mask.shape[::-1]) / 2  # where the mask's top left comes to lie
    corners = low + np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) * mask.shape[::-1] @ matrix.T
    x0, y0 = np.maximum(np.floor(corners.min(0)), 0).astype(int).tolist()
    x1, y1 = np.minimum(np.ceil(corners.max(0)) + 1, target.shape[1::-1]).astype(int).tolist()
    if x1 <= x0 or y1 <= y0:
        return
    shift = (low - (x0, y0))[:, None]
    alpha = cv2.warpAffine(mask, np.hstack([matrix, shift]), (x1 - x0, y1 - y0), flags=cv2.INTER_AREA)[..., None] / 255
    part = target[y0:y1, x0:x1]
    part[:] = np.rint(part * (1 - alpha) + np.array(ink) * alpha)


def _mask(text: str, size: int) -> np.ndarray:
    """(h, w) uint8, 255 where there is ink: the text at `size` pixels, with room for accents and descenders."""
    ascent, descent = round(1.05 * size), round(0.3 * size)
    x, _, length, _ = cv2.getTextSize((1, 1), text, (0, 0), _font(), size, WEIGHT)
    mask = np.zeros((ascent + descent, max(1, x + length + 1)), "uint8")
    cv2.putText(mask, text, (0, ascent), 255, _font(), size, WEIGHT)
    return mask
