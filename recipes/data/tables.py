"""Synthetic tables, each filling a page, with the outline of every cell and its place in rows and columns.

Seeded, plain Python and NumPy, drawn on the sheets of `documents` and seen by the same scanner or camera.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image

from recipes.data import augment, corpus, documents, fonts, synthetic
from recipes.data.documents import Rng, Sheet

Place = tuple[int, int, int, int]  # first and last row, first and last column, from 0
ROWS, COLUMNS = (2, 14), (2, 9)
LINES = {"all": 0.4, "rows": 0.25, "few": 0.2, "none": 0.15}  # which of its lines a table shows, how often


class Table(NamedTuple):
    """A page (H, W, 3) uint8, its cells (N, 4, 2) float32 in pixels, and places (N, 4) int: see `Place`."""

    image: np.ndarray
    cells: np.ndarray
    places: np.ndarray


def table(rng: Rng) -> Table:
    """A table as a scanner or a camera shows it."""
    count = int(rng.integers(*ROWS)), int(rng.integers(*COLUMNS))
    size = int(rng.integers(11, 20))
    margin = rng.uniform(0.3, 3, 2) * size
    y = margin[1] + np.cumsum([0, *(size * rng.uniform(1.2, 2.0) * rng.choice([1, 1, 1, 1.8], count[0]))])
    x = margin[0] + np.cumsum([0, *(size * rng.uniform(2.5, 9, count[1]))])
    places = merged(*count, rng)
    sheet = _sheet((int(y[-1] + margin[1]) + 1, int(x[-1] + margin[0]) + 1), size, rng)
    _shade(sheet, x, y)
    for place in places:
        _write(sheet, place, x, y)
    _rule(sheet, places, x, y)
    image, homography = documents.shown(sheet, rng)
    cells = np.array([_corners(place, x, y) for place in places], np.float32)
    if homography is not None:
        cells = augment.move(cells, homography)
    return Table(augment.degrade(image, rng, 0.8), cells, np.array(places, int))


def merged(rows: int, columns: int, rng: Rng) -> list[Place]:
    """The cells of a grid, some of which span several rows or columns, row by row."""
    free, places = np.ones((rows, columns), bool), []
    for _ in range(int(rng.integers(0, 4))):
        row = 0 if rng.random() < 0.5 else int(rng.integers(rows))  # heads span more than others
        column = int(rng.integers(columns))
        high, wide = int(rng.choice([1, 1, 2, 3])), int(rng.choice([1, 2, 2, 3]))
        part = free[row : row + high, column : column + wide]
        if part.all() and part.size > 1:
            part[:] = False
            places.append((row, row + part.shape[0] - 1, column, column + part.shape[1] - 1))
    places += [(row, row, column, column) for row, column in np.argwhere(free).tolist()]
    return sorted(places, key=lambda place: (place[0], place[2]))


def _corners(place: Place, x: np.ndarray, y: np.ndarray) -> list[tuple[float, float]]:
    top, bottom, left, right = y[place[0]], y[place[1] + 1], x[place[2]], x[place[3] + 1]
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _sheet(shape: tuple[int, int], size: int, rng: Rng) -> Sheet:
    """Paper of this (height, width)."""
    paper = np.clip(np.full(3, rng.uniform(200, 255)) + rng.uniform(-18, 8, 3), 0, 255)
    canvas = np.clip(synthetic.background(shape, paper, rng), 0, 255).astype(np.uint8)
    red, green, blue = np.clip(rng.uniform(0, 95) + rng.uniform(-15, 25, 3), 0, 255).astype(int).tolist()
    face = fonts.any_path(rng, 0.75)
    return Sheet(Image.fromarray(canvas), rng, 0, shape[1], 0, size, face, (red, green, blue))


def _shade(sheet: Sheet, x: np.ndarray, y: np.ndarray) -> None:
    """Paints the head, or every other row, in a colour of its own, now and then."""
    kind, colour = sheet.rng.random(), tuple(int(c) for c in sheet.rng.uniform(170, 245, 3))
    chosen = [0] if kind < 0.2 else range(1, len(y) - 1, 2) if kind < 0.35 else []
    for row in chosen:
        sheet.draw.rectangle((x[0], y[row], x[-1], y[row + 1]), fill=colour)


def _write(sheet: Sheet, place: Place, x: np.ndarray, y: np.ndarray) -> None:
    """One or two words or a number in the middle of a cell's height; some cells stay empty."""
    rng, font, pad = sheet.rng, sheet.font(0.75), 0.25 * sheet.size
    (left, top), _, (right, bottom), _ = _corners(place, x, y)
    if rng.random() < 0.07:
        return
    wordy = place[0] == 0 or place[2] == 0 or rng.random() < 0.2
    kinds = (corpus.amount, corpus.code, corpus.date)
    texts = corpus.phrase(rng, 1, 3) if wordy else [corpus.pick(rng, kinds)(rng)]
    words, length = sheet.fitting(texts, font, right - left - 2 * pad)
    room = right - left - 2 * pad - length
    if room < 0:
        return
    across = place[3] > place[2]
    shift = 0.5 if across else 0.0 if wordy else 1.0
    sheet.y = (top + bottom) / 2 - 0.45 * sheet.size
    sheet.line(words, font, left + pad + shift * room, font.getlength(" "))


def _rule(sheet: Sheet, places: list[Place], x: np.ndarray, y: np.ndarray) -> None:
    """Draws lines around all cells, below them, around head and table, or none."""
    rng, width = sheet.rng, int(sheet.rng.integers(1, 3))
    kind = rng.choice(list(LINES), p=list(LINES.values()))
    for place in places if kind in ("all", "rows") else ():
        (left, top), _, (right, bottom), _ = _corners(place, x, y)
        if kind == "all":
            sheet.draw.rectangle((left, top, right, bottom), outline=sheet.ink, width=width)
        else:
            sheet.draw.line((left, bottom, right, bottom), sheet.ink, width)
    for height in (y[0], y[1], y[-1]) if kind == "few" else ():
        sheet.draw.line((x[0], height, x[-1], height), sheet.ink, width)
