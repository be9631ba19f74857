"""What cameras, scanners and printers do to a picture, and what hands do to the paper before.

Every function takes and returns (H, W, 3) uint8 and draws from a seeded generator; those that move pixels return the
homography too, so that polygons move along.
"""

from __future__ import annotations

import cv2
import numpy as np

Rng = np.random.Generator


def blur(image: np.ndarray, rng: Rng, largest: float = 1.4) -> np.ndarray:
    """Out of focus, or moved in one direction, by up to about `largest` pixels."""
    if rng.random() < 0.7:
        return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, largest))
    length = int(rng.integers(2, 2 + max(1, round(2 * largest))))
    kernel = np.zeros((length, length), np.float32)
    cv2.line(kernel, tuple(rng.integers(0, length, 2).tolist()), tuple(rng.integers(0, length, 2).tolist()), 1.0)
    return cv2.filter2D(image, -1, kernel / max(kernel.sum(), 1))


def noise(image: np.ndarray, rng: Rng, largest: float = 18.0) -> np.ndarray:
    """Normal noise with a standard deviation of up to `largest` levels, the same or not in each channel."""
    channels = 3 if rng.random() < 0.3 else 1
    grain = rng.standard_normal((*image.shape[:2], channels), np.float32) * rng.uniform(1, largest)
    return np.clip(image + grain, 0, 255).astype(np.uint8)


def jpeg(image: np.ndarray, rng: Rng, lowest: int = 25) -> np.ndarray:
    """Compressed as JPEG with a quality from `lowest` to 90, and back."""
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(lowest, 91))])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)


def coarse(image: np.ndarray, rng: Rng, smallest: float = 0.35) -> np.ndarray:
    """Shrunk to a part of its size, at least `smallest`, and enlarged again: what a low resolution keeps.

    Two of five are JPEG files of that size, whose blocks and rings are enlarged with it, as of a thumbnail.
    """
    height, width = image.shape[:2]
    scale = rng.uniform(smallest, 0.9)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    how = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_NEAREST)[int(rng.choice(3, p=(0.6, 0.3, 0.1)))]
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    small = jpeg(small, rng) if rng.random() < 0.4 else small
    return cv2.resize(small, (width, height), interpolation=how)


def thumbnail(image: np.ndarray, rng: Rng, smallest: int = 8, highest: int = 18) -> np.ndarray:
    """A word as small print has it, `smallest` to `highest` pixels high, or as it is if it is lower.

    Three of five are JPEG files of that size, whose blocks begin anywhere beside the word.
    """
    height, width = image.shape[:2]
    target = min(height, int(rng.integers(smallest, highest + 1)))
    image = cv2.resize(image, (max(1, round(width * target / height)), target), interpolation=cv2.INTER_AREA)
    if rng.random() >= 0.6:
        return image
    top, left = rng.integers(0, 8, 2)  # pixels of a block before the word
    within = cv2.copyMakeBorder(image, top, 8, left, 8, cv2.BORDER_REPLICATE)
    return jpeg(within, rng)[top : top + target, left : left + image.shape[1]]


def light(image: np.ndarray, rng: Rng, darkest: float = 0.45) -> np.ndarray:
    """Lit unevenly: a smooth field of brightness between `darkest` and 1.15 over the picture.

    One of eight has a shadow, too, whose edge runs through the picture, sharp or soft.
    """
    field = rng.uniform(darkest, 1.15, (2, 2) if rng.random() < 0.7 else (3, 4)).astype(np.float32)
    field = cv2.resize(field, image.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    if rng.random() < 0.125:
        height, width = field.shape
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        turn, through = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.9, 2) * (width, height)
        beyond = (x - through[0]) * np.cos(turn) + (y - through[1]) * np.sin(turn)  # pixels past the edge
        shade = np.clip(0.5 + beyond / (0.02 + rng.uniform(0, 0.2) ** 2) / min(height, width), 0, 1)
        field *= 1 - rng.uniform(0.3, 0.7) * shade
    return np.clip(image * field[..., None], 0, 255).astype(np.uint8)


def tint(image: np.ndarray, rng: Rng) -> np.ndarray:
    """Gain and offset of each channel changed a little, as white balance and exposure do."""
    gain, offset = rng.uniform(0.75, 1.15, 3), rng.uniform(-25, 25, 3) * rng.uniform(0, 1)
    return np.clip(image * gain.astype(np.float32) + offset.astype(np.float32), 0, 255).astype(np.uint8)


def degrade(image: np.ndarray, rng: Rng, strength: float = 1.0) -> np.ndarray:
    """Several of the above, each with its own chance; `strength` 0 is none, 1 the usual, 2 harsh."""
    steps = ((light, 0.35), (coarse, 0.3), (blur, 0.35), (tint, 0.3), (noise, 0.4), (jpeg, 0.35))
    for step, chance in steps:
        if rng.random() < chance * strength:
            image = step(image, rng)
    return image


def perspective(size: tuple[int, int], rng: Rng, angle: float, skew: float, margin: float = 0.0):
    """A random view of a (height, width) picture.

    Args:
        size: of the picture.
        rng: draws the view.
        angle: largest rotation either way, in degrees.
        skew: largest move of each corner, as a part of the shorter side.
        margin: empty border around the view, as a part of the longer side; negative cuts into it.

    Returns:
        The homography (3, 3) and the (height, width) that holds all corners after it.
    """
    height, width = size
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    moved = corners + rng.uniform(-skew, skew, (4, 2)).astype(np.float32) * min(size)
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), float(rng.uniform(-angle, angle)), 1.0)
    moved = moved @ turn[:, :2].T + turn[:, 2]
    border = margin * max(size)
    moved = (moved - moved.min(0) + border).astype(np.float32)
    target = np.maximum(np.ceil(moved.max(0) + border), 8).astype(int)
    return cv2.getPerspectiveTransform(corners, moved), (int(target[1]), int(target[0]))


def seen(image: np.ndarray, rng: Rng, angle: float, skew: float) -> tuple[np.ndarray, np.ndarray]:
    """The picture in a random view, cut a little closer, its edge repeated where it ends; and the homography (3, 3)."""
    homography, size = perspective(image.shape[:2], rng, angle, skew, -0.01)
    return cv2.warpPerspective(image, homography, size[::-1], borderMode=cv2.BORDER_REPLICATE), homography


def slanted(image: np.ndarray, slant: float, stretch: float, sway: np.ndarray) -> np.ndarray:
    """A line of writing (H, W, 3) sheared, stretched along the line, and moved up and down along it.

    Args:
        image: dark on light or the other way round; beyond its edges its border is repeated.
        slant: pixels to the right for one pixel up.
        stretch: of the width, which becomes `stretch` times the width and `slant` times the height.
        sway: (N,) parts of the height by which the line is lower at N places along it, smooth in between.
    """
    height, width = image.shape[:2]
    wide = max(4, round(stretch * width + abs(slant) * height))
    y, x = np.mgrid[0:height, 0:wide].astype(np.float32)
    shift = slant * (height / 2 - y)  # of what stands in a row, to the right
    across = (x - (wide - stretch * width) / 2 - shift) / stretch
    lower = cv2.resize(sway.astype(np.float32)[None], (wide, 1), interpolation=cv2.INTER_CUBIC)
    places = across.astype(np.float32), (y - height * lower).astype(np.float32)
    return cv2.remap(image, *places, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def another_hand(image: np.ndarray, rng: Rng) -> np.ndarray:
    """A line of writing as another hand with another pen would have it: slant, width, base line, weight of strokes."""
    places = max(2, image.shape[1] // (2 * image.shape[0]))
    image = slanted(image, rng.uniform(-0.4, 0.4), np.exp(rng.uniform(-0.3, 0.3)), rng.normal(0, 0.04, places))
    draw, size = rng.random(), (2, 2) if image.shape[0] < 48 else (3, 3)
    if draw < 0.2:
        image = cv2.erode(image, np.ones(size, np.uint8))
    elif draw < 0.35:
        image = cv2.dilate(image, np.ones(size, np.uint8))
    return image


def move(polygons: np.ndarray, homography: np.ndarray) -> np.ndarray:
    """Polygons (N, P, 2) under a homography (3, 3)."""
    if not polygons.size:
        return polygons
    return cv2.perspectiveTransform(polygons.reshape(1, -1, 2).astype(np.float32), homography).reshape(polygons.shape)
