"""CRAFT on a VGG-16: learns where characters are, and which of them belong together.

Baek et al. 2019, https://arxiv.org/abs/1904.01941.

    zoo train detection.craft_vgg16_bn --run runs/craft_vgg16_bn --data DATA

Words are divided into equal parts, one for each character, as the paper does where it knows the word alone.

Not trained yet: no weights were released, and neither score nor hours are known. Meant for a GPU.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from keras import ops

from recipes import losses, recipe
from recipes.detection import targets, task
from recipes.detection.db_resnet50 import RECIPE as DB
from zoo import geometry
from zoo.registry import Card

STRIDE = 2  # pixels of the image for one of the maps
DEVIATION = 0.5  # of a Gaussian, in halves of its box
REACH = 1.5  # halves of its box, up to which a Gaussian is drawn
NARROW = 0.5  # width over height of a character, where a word's length is not known
SQUARE = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float32)


def maps(
    polygons: np.ndarray, ignore: np.ndarray, size: tuple[int, int], lengths: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """The targets of one picture (section 3.2.1).

    Args:
        polygons: (N, 4, 2) in pixels; they may reach beyond the picture.
        ignore: (N,) bool: neither text nor background.
        size: height and width in pixels, even.
        lengths: (N,) characters of each word; None, or 0, where they are not known.

    Returns:
        "region" and "link" (H/2, W/2) float32: 1 in the middle of a character, or of a gap; "mask" (H/2, W/2) uint8:
        what counts.
    """
    shape = (size[0] // STRIDE, size[1] // STRIDE)
    region, link, mask = np.zeros(shape, np.float32), np.zeros(shape, np.float32), np.ones(shape, np.uint8)
    for index, (polygon, skipped) in enumerate(zip(polygons / STRIDE, ignore, strict=True)):
        if skipped or targets.narrow(polygon * STRIDE):
            cv2.fillPoly(mask, [targets.pixels(polygon)], 0)
            continue
        known = 0 if lengths is None else int(lengths[index])
        parts = characters(polygon, known or guessed(polygon))
        for part in parts:
            gaussian(part, region)
        for part in links(parts):
            gaussian(part, link)
    return {"region": region, "link": link, "mask": mask}


def guessed(polygon: np.ndarray) -> int:
    """How many characters a word may have, by its shape."""
    (width,), (height,) = geometry.sides(polygon[None])
    return max(1, round(float(width / max(height, 1e-6) / NARROW)))


def characters(polygon: np.ndarray, count: int) -> np.ndarray:
    """(count, 4, 2): a word's quadrilateral divided into equal parts along its upper and lower side."""
    part = (np.arange(count + 1) / count)[:, None]
    above = polygon[0] + part * (polygon[1] - polygon[0])
    below = polygon[3] + part * (polygon[2] - polygon[3])
    return np.stack([above[:-1], above[1:], below[1:], below[:-1]], 1).astype(np.float32)


def links(parts: np.ndarray) -> np.ndarray:
    """(M - 1, 4, 2): boxes between neighbours of (M, 4, 2), from the middles of the triangles above and below."""
    middle = parts.mean(1)
    above, below = (parts[:, 0] + parts[:, 1] + middle) / 3, (parts[:, 2] + parts[:, 3] + middle) / 3
    return np.stack([above[:-1], above[1:], below[1:], below[:-1]], 1)


def gaussian(quad: np.ndarray, canvas: np.ndarray) -> None:
    """Draws a Gaussian fitted into a quadrilateral (4, 2), in place; where it meets others the higher one counts."""
    height, width = canvas.shape
    middle = quad.mean(0)
    outer = middle + REACH * (quad - middle)
    left, top = np.floor(outer.min(0)).astype(int).clip(0)
    right, bottom = np.ceil(outer.max(0)).astype(int).clip(0, (width, height))
    if left >= right or top >= bottom:
        return
    matrix = cv2.getPerspectiveTransform(quad.astype(np.float32), SQUARE)
    y, x = np.mgrid[top:bottom, left:right] + 0.5
    places = np.stack([x, y, np.ones_like(x)], -1) @ matrix.T
    u, v = places[..., 0] / places[..., 2], places[..., 1] / places[..., 2]
    inside = (np.abs(u) <= REACH) & (np.abs(v) <= REACH)
    value = np.where(inside, np.exp(-(u**2 + v**2) / (2 * DEVIATION**2)), 0).astype(np.float32)
    window = canvas[top:bottom, left:right]
    np.maximum(window, value, out=window)


def loss(target: dict, outputs: dict, ratio: int = 3, text: float = 0.1):
    """The squared differences of both maps: (B,), eq. 4, half from text and half from the hardest background.

    Args:
        target: "region", "link" and "mask", each (B, H, W): see `maps`.
        outputs: "logits" (B, H, W, 2).
        ratio: pixels of background for each of text; of a picture without text all count.
        text: score from which a pixel is text.
    """
    mask = ops.cast(target["mask"], "float32")
    total = 0.0
    for index, key in enumerate(("region", "link")):
        true = ops.cast(target[key], "float32")
        error = (outputs["logits"][..., index] - true) ** 2
        inside = ops.cast(true >= text, "float32")
        ground = losses.hardest(error, inside, mask, ratio) * (1 - inside)
        total = total + losses.mean(error, inside * mask) + losses.mean(error, ground * mask)
    return total


class Task(task.Task):
    """Batches whose words are divided into characters."""

    def target(self, page: task.Page) -> dict[str, np.ndarray]:
        lengths = np.array([len(text) for text in page.texts], int) if page.texts else None
        return maps(page.polygons, page.ignore, self.recipe.size, lengths)


def make(how: recipe.Recipe, card: Card, data) -> Task:
    return Task(how, card, data, loss=loss)


RECIPE = replace(DB, model="craft_vgg16_bn", task=__name__)
