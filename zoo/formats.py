"""A document as text, JSON, JSON lines, hOCR, and as a picture."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from html import escape

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from zoo.page import Block, Document, Line, Page, Word

# ---------------------------------------------------------------- text


def as_text(document: Document) -> str:
    """The text: lines, an empty one between blocks, a form feed between pages."""
    return document.text + "\n"


def as_json(document: Document) -> str:
    """All that is known, as one JSON object; `Document.from_dict` takes it back."""
    return json.dumps(document.to_dict(), ensure_ascii=False, indent=1) + "\n"


def as_jsonl(document: Document) -> str:
    """A line of JSON for each page, its words in reading order.

    {"image", "page", "width", "height", "words": [{"polygon", "text", "confidence"}], "seconds"}
    """
    return "".join(json.dumps(_record(page), ensure_ascii=False) + "\n" for page in document.pages)


def _record(page: Page) -> dict:
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
    title = f'image "{page.source}"; bbox 0 0 {page.width} {page.height}; ppageno {page.number - 1}'
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


def _attribute(text: str) -> str:
    return escape(_printable(text), quote=True)


def _printable(text: str) -> str:
    """The text without what XML 1.0 forbids."""
    return "".join(c for c in text if c in "\t\n\r" or (c >= " " and not "\ud800" <= c <= "\udfff" and c < "\ufffe"))


FORMATS: Mapping[str, Callable[[Document], str]] = {
    "text": as_text,
    "json": as_json,
    "jsonl": as_jsonl,
    "hocr": as_hocr,
}

# ---------------------------------------------------------------- picture

SURE, UNSURE = (0x1B, 0x7F, 0x4B), (0xC6, 0x28, 0x28)  # green, red
DOUBT = (0xD9, 0x8A, 0x00)  # amber, half-way
PAPER = (0xFF, 0xFF, 0xFF)


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
    right = Image.new("RGB", (width, height), PAPER)
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
    return np.concatenate([left, line, np.asarray(right)], 1)


def colour(confidence: float) -> tuple[int, int, int]:
    """Red at 0, amber at a half, green at 1."""
    position = 2 * min(max(confidence, 0.0), 1.0)
    low, high = (UNSURE, DOUBT) if position < 1 else (DOUBT, SURE)
    share = position % 1 if position < 2 else 1.0
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(low, high, strict=True))
    return red, green, blue


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _write(target: Image.Image, polygon: np.ndarray, text: str, ink: tuple[int, int, int]) -> None:
    """Draws the text as large as its polygon (4, 2) lets it be."""
    across, down = polygon[1] - polygon[0], polygon[3] - polygon[0]
    width, height = float(np.hypot(*across)), float(np.hypot(*down))
    if width < 2 or height < 2:
        return
    font = _font(max(4, round(0.82 * height)))
    ascent, descent = font.getmetrics() if isinstance(font, ImageFont.FreeTypeFont) else (round(height), 0)
    length = max(1, round(font.getlength(text)))
    mask = Image.new("L", (length, ascent + descent))
    ImageDraw.Draw(mask).text((0, 0), text, 255, font)
    # Stretched to the width of the word, but not so far that it looks like another font.
    squeeze = float(np.clip(width / length, 0.4, 1.3))
    middle = polygon.mean(0)
    along, upright = across / width * squeeze, down / height * min(1.0, height / (ascent + descent))
    matrix = np.linalg.inv(np.stack([along, upright], 1))  # page → mask
    shift = np.array([length, ascent + descent]) / 2 - matrix @ middle
    extent = np.abs(np.stack([along * length, upright * (ascent + descent)])).sum(0) / 2 + 1
    x0, y0 = np.maximum(np.floor(middle - extent), 0).astype(int).tolist()
    x1, y1 = np.minimum(np.ceil(middle + extent), target.size).astype(int).tolist()
    if x1 <= x0 or y1 <= y0:
        return
    shift = shift + matrix @ (x0, y0)
    data = (*matrix[0], shift[0], *matrix[1], shift[1])
    patch = mask.transform((x1 - x0, y1 - y0), Image.Transform.AFFINE, data, Image.Resampling.BICUBIC)
    target.paste(ink, (x0, y0), patch)
