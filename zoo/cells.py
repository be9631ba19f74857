"""The cells of a table, by a network that gives maps of them. NumPy and OpenCV only, as all that reads.

page (H, W, 3) → letterbox → run → decoding → cells, each with its rows, columns and polygon
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from zoo import decoding, geometry, image, limits, registry

Run = Callable[[np.ndarray], Mapping[str, np.ndarray]]


@dataclass(frozen=True, eq=False)
class Cell:
    """A cell of a table.

    Attributes:
        rows, columns: the first and the last, from 0.
        score: in [0, 1].
        polygon: (4, 2) float32, page pixels, clockwise from the top left.
    """

    rows: tuple[int, int]
    columns: tuple[int, int]
    score: float
    polygon: np.ndarray

    def to_dict(self) -> dict[str, Any]:
        """The cell in plain Python values."""
        places = {"rows": list(self.rows), "columns": list(self.columns)}
        return {**places, "score": self.score, "polygon": np.asarray(self.polygon).tolist()}


class CellFinder:
    """The cells of a table that fills a picture.

    Args:
        run: from (1, H, W, 3) uint8 to named maps (1, H / s, W / s, C).
        size: (height, width) in pixels into which a page is fitted.
        multiple: of the sides of what `run` is given.
        decode: what makes cells, scores and places of the maps, or its dotted name: see `zoo.decoding`.
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
        decode: str | Callable = "zoo.decoding.cells:table",
        **options: Any,
    ):
        limits.sides(2, size=size)
        limits.pixels(multiple=multiple)
        self.run, self.multiple = run, multiple
        self.size = (int(size[0]), int(size[1]))
        self.decode = decoding.checked(decode, options, "cells")
        self.outputs, self.options = decoding.outputs(self.decode), options

    def __call__(self, pixels: np.ndarray) -> list[Cell]:
        """The cells of a picture (H, W, 3) uint8, or as `image.from_array` takes it, row by row.

        Raises:
            ValueError: it is no picture.
        """
        pixels = image.from_array(np.asarray(pixels))
        batch, scale = image.letterbox(pixels, self.size, self.multiple)
        given = self.run(batch[None])
        maps = [np.asarray(given[name])[0] for name in self.outputs]
        stride = batch.shape[0] / maps[0].shape[0]
        polygons, scores, places = self.decode(*maps, stride=stride, **self.options)
        limit = np.array(pixels.shape[1::-1], "float32")
        polygons = (polygons * scale).clip(0, limit).astype("float32")
        found = [
            Cell((int(a), int(b)), (int(c), int(d)), float(score), polygon)
            for polygon, score, (a, b, c, d) in zip(polygons, scores, places, strict=True)
            if geometry.area(polygon) > 1  # of what was seen in the padding nothing is left
        ]
        return sorted(found, key=lambda cell: (cell.rows, cell.columns))


def cell_finder(name: str | os.PathLike, runtime: str = "auto", **options: Any) -> CellFinder:
    """The finder with the network of a card.

    Args:
        name: of a card, or a run's folder.
        runtime: where the network runs: see `zoo.runtime`.
        **options: stand over the card's values for reading.

    Raises:
        LookupError: there is no such card.
        ValueError: the card is of another task, or there is no such runtime.
        TypeError: an unknown option.
    """
    from zoo import runtime as runtimes

    card = registry.card_for(name, "tables")
    return CellFinder(runtimes.connect(name, runtime), **card.reading | options)
