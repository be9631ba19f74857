"""Regions of a page, by a network that gives boxes of classes. NumPy and OpenCV only, as all that reads.

page (H, W, 3) → laid at the top left of black → run → decoding → regions, each with label, score and polygon
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
class Region:
    """A part of a page: a table, a title, a paragraph …

    Attributes:
        label: what it is.
        score: in [0, 1].
        polygon: (4, 2) float32, page pixels, clockwise from the top left.
    """

    label: str
    score: float
    polygon: np.ndarray

    def to_dict(self) -> dict[str, Any]:
        """The region in plain Python values."""
        return {"label": self.label, "score": self.score, "polygon": np.asarray(self.polygon).tolist()}


class Finder:
    """The regions of a page.

    Args:
        run: from (1, H, W, 3) uint8 to named outputs (1, N, …).
        labels: names of the classes, in their order.
        size: (height, width) in pixels of what `run` is given.
        decode: what makes polygons, scores and classes of the outputs, or its dotted name: see `zoo.decoding`.
        **options: keyword arguments of `decode`.

    Raises:
        ValueError: there is no such decoding, or a value is none that it may have.
        TypeError: it takes no such option.
    """

    def __init__(
        self,
        run: Run,
        *,
        labels: Sequence[str],
        size: Sequence[int] = (1024, 1024),
        decode: str | Callable = "zoo.decoding.turned:regions",
        **options: Any,
    ):
        limits.sides(2, size=size)
        self.run, self.labels = run, tuple(labels)
        self.size = (int(size[0]), int(size[1]))
        self.decode = decoding.checked(decode, options, "regions")
        self.outputs, self.options = decoding.outputs(self.decode), options

    def __call__(self, pixels: np.ndarray) -> list[Region]:
        """The regions of a page (H, W, 3) uint8, or as `image.from_array` takes it, the surest first.

        Raises:
            ValueError: it is no picture, or the network has another number of classes.
        """
        pixels = image.from_array(np.asarray(pixels))
        batch, scale = fitted(pixels, self.size)
        given = self.run(batch[None])
        outputs = {name: np.asarray(given[name])[0] for name in self.outputs}
        if outputs["logits"].shape[-1] != len(self.labels):
            found = outputs["logits"].shape[-1]
            raise ValueError(f"the network tells {found} classes; there are {len(self.labels)} labels")
        polygons, scores, classes = self.decode(*outputs.values(), **self.options)
        limit = np.array(pixels.shape[1::-1], "float32")
        polygons = (polygons * np.array(self.size[::-1]) * scale).clip(0, limit).astype("float32")
        found = zip(polygons, scores, classes, strict=True)
        # What lies beyond the page has no area on it.
        return [Region(self.labels[kind], float(score), box) for box, score, kind in found if geometry.area(box) > 1]


def fitted(pixels: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A page as large as `size` lets it be, at the top left of black (*size, 3) uint8, and what leads back (2,)."""
    inner, scale = image.letterbox(pixels, size, 1)
    result = np.zeros((*size, 3), "uint8")
    result[: inner.shape[0], : inner.shape[1]] = inner
    return result, scale


def finder(name: str | os.PathLike, runtime: str = "auto", **options: Any) -> Finder:
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

    card = registry.card_for(name, "layout")
    return Finder(runtimes.connect(name, runtime), **card.reading | options)
