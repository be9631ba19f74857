"""Maps that detectors learn from, drawn from polygons.

Liao et al. 2019, https://arxiv.org/abs/1911.08947, section 3.4. With D = area · (1 - r²) / perimeter and r = 0.6 (0.4
in the paper, which leaves less than two pixels of small print): the region is the polygon moved inwards by D; the
border is the band from D inside to D outside of the polygon's outline, where the threshold falls from 0.7 on the
outline to 0.3.
"""

from __future__ import annotations

import cv2
import numpy as np

from zoo import geometry

SHRINK = 0.6
LOW, HIGH = 0.3, 0.7
SMALLEST = 3.0  # pixels; a polygon of which one side is shorter can neither be learnt nor counted against


def maps(polygons: np.ndarray, ignore: np.ndarray, size: tuple[int, int]) -> dict[str, np.ndarray]:
    """The targets of one picture.

    Args:
        polygons: (N, 4, 2) in pixels; they may reach beyond the picture.
        ignore: (N,) bool: neither text nor background.
        size: height and width in pixels.

    Returns:
        "region" and "mask" (H, W) uint8: text, and what counts at all; "border" (H, W) float32: thresholds, LOW away
        from text; "border_mask" (H, W) uint8: where they count.
    """
    region, mask, border_mask = np.zeros(size, np.uint8), np.ones(size, np.uint8), np.zeros(size, np.uint8)
    border = np.zeros(size, np.float32)
    for polygon, skipped in zip(polygons, ignore, strict=True):
        if _drawn(polygon, skipped, region, mask):
            _band(polygon, border, border_mask)
    return {"region": region, "mask": mask, "border": LOW + (HIGH - LOW) * border, "border_mask": border_mask}


def regions(polygons: np.ndarray, ignore: np.ndarray, size: tuple[int, int]) -> dict[str, np.ndarray]:
    """The targets of one picture for LinkNet and FAST, which learn no thresholds; arguments as for `maps`.

    Returns:
        "region" and "mask" as `maps` has them; "text" (H, W) uint8: the same regions before they were shrunk.
    """
    region, mask, text = np.zeros(size, np.uint8), np.ones(size, np.uint8), np.zeros(size, np.uint8)
    for polygon, skipped in zip(polygons, ignore, strict=True):
        if _drawn(polygon, skipped, region, mask):
            cv2.fillPoly(text, [pixels(polygon)], 1)
    return {"region": region, "mask": mask, "text": text}


def _drawn(polygon: np.ndarray, skipped: bool, region: np.ndarray, mask: np.ndarray) -> bool:
    """Draws the shrunken polygon, in place; if nothing can be learnt from it, masks it out and is False."""
    inner = [] if skipped or narrow(polygon) else geometry.shrink(polygon, SHRINK)
    if inner:
        cv2.fillPoly(region, [pixels(part) for part in inner], 1)
    else:
        cv2.fillPoly(mask, [pixels(polygon)], 0)
    return bool(inner)


def pixels(polygon: np.ndarray) -> np.ndarray:
    """Corners on the edges of pixels → indices of the pixels whose centres are nearest."""
    return np.rint(polygon - 0.5).astype(np.int32)


def narrow(polygon: np.ndarray) -> bool:
    width, height = geometry.sides(polygon[None])
    return bool(min(width[0], height[0]) < SMALLEST)


def _band(polygon: np.ndarray, border: np.ndarray, border_mask: np.ndarray) -> None:
    """Draws the band around one outline, in place: 1 on the outline, 0 at the distance D."""
    reach = geometry.area(polygon) * (1 - SHRINK**2) / geometry.perimeter(polygon)
    height, width = border.shape
    left, top = np.floor(polygon.min(0) - reach).astype(int).clip(0)
    right, bottom = np.ceil(polygon.max(0) + reach).astype(int).clip(0, (width, height))
    if left >= right or top >= bottom:
        return
    window = np.s_[top:bottom, left:right]
    y, x = np.mgrid[window].astype(np.float32) + 0.5
    near = 1 - distance(np.stack([x, y], -1), polygon) / reach
    np.maximum(border[window], near, out=border[window])
    border_mask[window] |= near > 0


def distance(points: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """The distance (…) of points (…, 2) to the outline of a polygon (P, 2)."""
    nearest = np.full(points.shape[:-1], np.inf, np.float32)
    for a, b in zip(polygon, np.roll(polygon, -1, 0), strict=True):
        along = b - a
        part = ((points - a) @ along / max(float(along @ along), 1e-9)).clip(0, 1)
        offset = points - a - part[..., None] * along
        np.minimum(nearest, np.hypot(offset[..., 0], offset[..., 1]), out=nearest)
    return nearest
