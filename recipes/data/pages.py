"""Pages to learn from, real or synthetic, and what may be done with them before a network sees them."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from recipes.data import augment, datasets, documents

Rng = np.random.Generator
SCENES = 0.25  # part of the synthetic pages
ROOM = 0.05  # of a page that is a photograph, words cover less than this part


class Page(NamedTuple):
    """A picture (H, W, 3) uint8, polygons (N, 4, 2) of its words, and which of them do not count (N,) bool.

    Attributes:
        texts: of the words; empty where they are not known.
        middles: (L, 2) of each word's characters; (0, 2) where they are not known.
        classes: (H, W) uint8, what each pixel is part of, as `documents.Regions` has it; None where it is not known.
    """

    image: np.ndarray
    polygons: np.ndarray
    ignore: np.ndarray
    texts: tuple[str, ...] = ()
    middles: tuple[np.ndarray, ...] = ()
    classes: np.ndarray | None = None

    def chosen(self, wanted: np.ndarray) -> Page:
        """The page with those words alone that are wanted (N,) bool."""
        kept = np.flatnonzero(wanted)
        return self._replace(
            polygons=self.polygons[kept],
            ignore=self.ignore[kept],
            texts=tuple(self.texts[i] for i in kept) if self.texts else (),
            middles=tuple(self.middles[i] for i in kept) if self.middles else (),
        )


def synthetic(rng: Rng) -> Page:
    """A synthetic document or scene."""
    sample = documents.scene(rng) if rng.random() < SCENES else documents.document(rng)
    ignore = np.zeros(len(sample.polygons), bool)
    return Page(sample.image, sample.polygons, ignore, sample.texts, sample.middles, sample.classes)


def labelled(entry: datasets.Entry) -> Page:
    """A real page with its words; lines are cut into words where their gaps tell, else they do not count."""
    seen, entry = entry.seen()
    polygons, texts, illegible = datasets.words(entry, seen.pixels)
    classes = datasets.classes(entry, seen.pixels.shape[:2])
    return Page(seen.pixels, polygons, illegible, tuple(texts), classes=classes)


def signed(page: Page, rng: Rng) -> Page:
    """A photograph with more words painted on it, so that few of them show many; other pages as they are.

    Gupta et al. 2016, https://arxiv.org/abs/1604.06646, without its depths and surfaces.
    """
    taken = np.zeros(page.image.shape[:2], np.uint8)
    cv2.fillPoly(taken, list(np.rint(page.polygons).astype(np.int32)), 1)
    if page.classes is not None or taken.mean() >= ROOM:
        return page
    sample = documents.signs(page.image.astype(np.float32), taken, rng)
    unknown = (np.zeros((0, 2), np.float32),) * len(page.polygons)
    return page._replace(
        image=sample.image,
        polygons=np.concatenate([page.polygons, sample.polygons]),
        ignore=np.concatenate([page.ignore, np.zeros(len(sample.polygons), bool)]),
        texts=page.texts + sample.texts,
        middles=(page.middles or unknown) + sample.middles,
    )


def varied(page: Page, rng: Rng) -> Page:
    """A real page as another camera would have taken it."""
    if rng.random() < 0.5:
        image, homography = augment.seen(page.image, rng, 6.0, 0.03)
        classes = page.classes
        if classes is not None:
            classes = cv2.warpPerspective(classes, homography, image.shape[1::-1], flags=cv2.INTER_NEAREST)
        middles = tuple(augment.move(points[None], homography)[0] for points in page.middles)
        page = page._replace(
            image=image, polygons=augment.move(page.polygons, homography), middles=middles, classes=classes
        )
    return page._replace(image=augment.degrade(page.image, rng, 0.5))


def scaled(page: Page, scale: float) -> Page:
    """The page with its sides multiplied."""
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    image, classes = cv2.resize(page.image, None, fx=scale, fy=scale, interpolation=how), page.classes
    if classes is not None:
        classes = cv2.resize(classes, image.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    middles = tuple(points * np.float32(scale) for points in page.middles)
    return page._replace(image=image, polygons=page.polygons * np.float32(scale), middles=middles, classes=classes)


def crop(page: Page, size: tuple[int, int], rng: Rng) -> Page:
    """A window of the page, mostly around a word; zeros where the page ends, as in a letterbox."""
    extent = np.array(size[::-1])
    room = np.maximum(np.array(page.image.shape[1::-1]) - extent, 0)
    corner = rng.uniform(0, room + 1)
    if len(page.polygons) and rng.random() < 0.8:
        centre = page.polygons[int(rng.integers(len(page.polygons)))].mean(0)
        corner = centre - rng.uniform(0.2, 0.8, 2) * extent
    x, y = np.clip(corner, 0, room).astype(int)
    moved = np.array([x, y], np.float32)
    polygons = page.polygons - moved
    inside = (polygons.max(1) > 0).all(1) & (polygons.min(1) < extent).all(1) if len(polygons) else np.zeros(0, bool)
    page = page._replace(polygons=polygons, middles=tuple(points - moved for points in page.middles))
    classes = None if page.classes is None else _window(page.classes, x, y, size)
    return page.chosen(inside)._replace(image=_window(page.image, x, y, size), classes=classes)


def _window(picture: np.ndarray, x: int, y: int, size: tuple[int, int]) -> np.ndarray:
    """The part of a picture from (x, y) on, with zeros where the picture ends."""
    part = picture[y : y + size[0], x : x + size[1]]
    window = np.zeros((*size, *picture.shape[2:]), np.uint8)
    window[: part.shape[0], : part.shape[1]] = part
    return window
