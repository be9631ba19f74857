"""EAST on a ResNet-50: one rotated rectangle for every pixel of text.

Zhou et al. 2017, https://arxiv.org/abs/1704.03155.

    zoo train detection.east_resnet50 --run runs/east_resnet50 --data DATA

Not trained yet: no weights were released, and neither score nor hours are known. Meant for a GPU.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import cv2
import numpy as np
from keras import ops

from recipes import losses
from recipes.detection import targets
from recipes.detection.db_resnet50 import RECIPE as DB
from recipes.detection.task import Task

STRIDE = 4  # pixels of the image for one of the maps
SHRINK = 0.3  # of a corner's shorter edge, by which it moves inwards along its edges


def maps(polygons: np.ndarray, ignore: np.ndarray, size: tuple[int, int]) -> dict[str, np.ndarray]:
    """The targets of one picture: see sections 3.3.1 and 3.3.2.

    Args:
        polygons: (N, 4, 2) in pixels; they may reach beyond the picture.
        ignore: (N,) bool: neither text nor background.
        size: height and width in pixels, multiples of 4.

    Returns:
        "region" and "mask" (H/4, W/4) uint8: text, and what counts at all; "geometry" (H/4, W/4, 5) float32: distances
        of a pixel's centre to the upper, right, lower and left side of its rectangle in pixels of the picture, and the
        angle of the rectangle.
    """
    height, width = size[0] // STRIDE, size[1] // STRIDE
    region, mask = np.zeros((height, width), np.uint8), np.ones((height, width), np.uint8)
    geometry = np.zeros((height, width, 5), np.float32)
    for polygon, skipped in zip(polygons, ignore, strict=True):
        if skipped or targets.narrow(polygon):
            cv2.fillPoly(mask, [targets.pixels(polygon / STRIDE)], 0)
            continue
        inner = np.zeros_like(region)
        cv2.fillPoly(inner, [targets.pixels(shrunken(polygon) / STRIDE)], 1)
        region |= inner
        rows, columns = np.nonzero(inner)
        geometry[rows, columns] = distances((np.stack([columns, rows], 1) + 0.5) * STRIDE, polygon)
    return {"region": region, "mask": mask, "geometry": geometry}


def shrunken(quad: np.ndarray) -> np.ndarray:
    """The quadrilateral (4, 2) with its corners moved inwards: along the two longer edges first, then the others."""
    edges = np.linalg.norm(np.roll(quad, -1, 0) - quad, axis=1)  # edge i leads from corner i to i + 1
    reach = SHRINK * np.minimum(edges, np.roll(edges, 1))  # of each corner
    first = 0 if edges[0] + edges[2] >= edges[1] + edges[3] else 1
    corners = quad.astype("float64")
    for start in (first, first + 2, first + 1, first + 3):
        a, b = start % 4, (start + 1) % 4
        along = (corners[b] - corners[a]) / max(float(np.linalg.norm(corners[b] - corners[a])), 1e-6)
        corners[a], corners[b] = corners[a] + reach[a] * along, corners[b] - reach[b] * along
    return corners


def distances(points: np.ndarray, quad: np.ndarray) -> np.ndarray:
    """(N, 5) float32: distances of points (N, 2) to the sides of the smallest rectangle around `quad`, and its angle.

    The angle is in radians, clockwise, within ±π/4; sides are called after where they lie.
    """
    (x, y), (width, height), degrees = cv2.minAreaRect(quad.astype(np.float32))
    quarters = round(degrees / 90)  # OpenCV's versions differ in which side they begin with
    if quarters % 2:
        width, height = height, width
    angle = np.radians(degrees - 90 * quarters)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    right, down = ((points - (x, y)) @ turn).T
    across = [height / 2 + down, width / 2 - right, height / 2 - down, width / 2 + right]
    return np.stack([*np.maximum(across, 0.5), np.full(len(points), angle)], 1).astype(np.float32)


def loss(target: dict, outputs: dict, angle_weight: float = 10.0):
    """L = L_score + L_box + λ·L_angle: (B,), eq. 3 to 10.

    L_score is a cross-entropy of which text and background make up a half each, L_box = -log IoU of the rectangles as
    if both had the same angle, L_angle = 1 - cos(difference).

    Args:
        target: "region" and "mask" (B, H, W), "geometry" (B, H, W, 5): see `maps`.
        outputs: "logits" (B, H, W, 1), "geometry" (B, H, W, 5).
        angle_weight: λ.
    """
    region, mask = (ops.cast(target[key], "float32") for key in ("region", "mask"))
    true, found = ops.cast(target["geometry"], "float32"), outputs["geometry"]
    entropy = losses.binary_cross_entropy(region, outputs["logits"][..., 0])
    score = losses.mean(entropy, region * mask) / 2 + losses.mean(entropy, (1 - region) * mask) / 2
    common = ops.minimum(true[..., :4], found[..., :4])
    both = area(common)
    box = ops.log((area(true) + area(found) - both + 1) / (both + 1))
    turn = 1 - ops.cos(found[..., 4] - true[..., 4])
    return score + losses.mean(box + angle_weight * turn, region * mask)


def area(geometry):
    """(…) pixels of rectangles by their distances (…, 4 or 5)."""
    return (geometry[..., 0] + geometry[..., 2]) * (geometry[..., 1] + geometry[..., 3])


make = partial(Task, maps=maps, loss=loss)
RECIPE = replace(DB, model="east_resnet50", task=__name__)
