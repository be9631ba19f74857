"""CTPN on a VGG-16: learns lines of text, piece by piece. Tian et al. 2016, https://arxiv.org/abs/1609.03605.

    zoo train detection.ctpn_vgg16 --run runs/ctpn_vgg16 --data DATA

Words are joined into lines before the network learns them, and before validation compares them: it cannot see gaps
that are narrower than its pieces.

Not trained yet: no weights were released, and neither score nor hours are known. Meant for a GPU.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from keras import ops

from recipes import losses, recipe
from recipes.detection import targets, task
from recipes.detection.db_resnet50 import RECIPE as DB
from zoo import geometry
from zoo.decoding.ctpn import HEIGHTS
from zoo.registry import Card

STRIDE = 16  # pixels: width of a piece
JOINED = 2.0  # heights: gap between two words of one line at most
POSITIVE, NEGATIVE = 0.7, 0.5  # intersection over union of an anchor with text
NEAR = 2  # pieces from the end of a line in which its side is learnt


def joined(page: task.Page) -> task.Page:
    """The page with lines in place of words; what does not count stays as it is."""
    words = page.polygons[~page.ignore]
    lines = [part for line in geometry.lines(words) for part in _parts(words[line])]
    polygons = np.concatenate([np.array(lines, np.float32).reshape(-1, 4, 2), page.polygons[page.ignore]])
    return task.Page(page.image, polygons, np.arange(len(polygons)) >= len(lines))


def _parts(words: np.ndarray) -> list[np.ndarray]:
    """Boxes (4, 2) of the words (N, 4, 2) of a line, cut where the gap is wide."""
    _, heights = geometry.sides(words)
    gaps = words[1:, [0, 3], 0].mean(1) - words[:-1, [1, 2], 0].mean(1)
    cuts = np.flatnonzero(gaps > JOINED * np.minimum(heights[1:], heights[:-1])) + 1
    return [_hull(part) for part in np.split(words, cuts)]


def _hull(words: np.ndarray) -> np.ndarray:
    """(4, 2): from the first word's left side to the last one's right side, as high as the highest of them."""
    start, stop = words[0, [0, 3]].mean(0), words[-1, [1, 2]].mean(0)
    along = (stop - start) / max(float(np.linalg.norm(stop - start)), 1e-6)
    across = np.array([-along[1], along[0]])
    depth = (words.reshape(-1, 2) - start) @ across
    corners = [start + depth.min() * across, stop + depth.min() * across]
    return np.array([*corners, stop + depth.max() * across, start + depth.max() * across])


def maps(polygons: np.ndarray, ignore: np.ndarray, size: tuple[int, int]) -> dict[str, np.ndarray]:
    """The targets of one picture (sections 3.1 to 3.4).

    Args:
        polygons: (N, 4, 2) in pixels, of lines that run from left to right.
        ignore: (N,) bool: neither text nor background.
        size: height and width in pixels, multiples of 16.

    Returns:
        "text" (h, w, k) float32, 1 where an anchor holds text; "mask" (h, w, k), where that counts; "vertical"
        (h, w, 2·k); "side" (h, w, k) and "side_mask" (h, w, k), where a line's end is near.
    """
    shape = (size[0] // STRIDE, size[1] // STRIDE, len(HEIGHTS))
    text, side, side_mask = (np.zeros(shape, np.float32) for _ in range(3))
    best, mask, vertical = np.zeros(shape, np.float32), np.ones(shape, np.float32), np.zeros((*shape, 2), np.float32)
    for polygon, skipped in zip(polygons, ignore, strict=True):
        columns, top, bottom = pieces(polygon, shape[1])
        overlap = overlaps(top, bottom, shape[0])  # (h, M, k)
        window = np.s_[:, columns]
        if skipped or targets.narrow(polygon):
            mask[window] = np.where(overlap > 0, 0, mask[window])
            continue
        # A piece that no anchor fits well is learnt by the one that fits best.
        held = (overlap > POSITIVE) | (overlap == np.maximum(overlap.max((0, 2), keepdims=True), 1e-6))
        held &= overlap > best[window]
        best[window] = np.maximum(best[window], overlap)
        text[window] = np.where(held, 1, text[window])
        row = (np.arange(shape[0]) + 0.5)[:, None, None] * STRIDE
        shift = ((top + bottom)[None, :, None] / 2 - row) / HEIGHTS
        growth = np.broadcast_to(np.log((bottom - top)[None, :, None] / HEIGHTS), shift.shape)
        vertical[window] = np.where(held[..., None], np.stack([shift, growth], -1), vertical[window])
        offset = _ends(polygon, columns)[None, :, None]
        side[window] = np.where(held, offset, side[window])
        side_mask[window] = np.where(held, np.abs(offset) <= NEAR, side_mask[window])
    mask = np.where((text == 0) & (best >= NEGATIVE), 0, mask)
    flat = vertical.reshape(*shape[:2], -1)
    return {"text": text, "mask": mask, "vertical": flat, "side": side, "side_mask": side_mask * text}


def pieces(polygon: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The columns (M,) of which a line covers a half, and where it begins and ends in them, (M,) pixels each.

    A line that covers no half of a column has the one in which its middle lies.
    """
    left, right = polygon[[0, 3], 0].mean(), polygon[[1, 2], 0].mean()
    columns = np.arange(round(float(left) / STRIDE), round(float(right) / STRIDE))
    columns = columns if len(columns) else np.array([int((left + right) / 2 // STRIDE)])
    columns = columns[(columns >= 0) & (columns < width)]
    x = (columns + 0.5) * STRIDE
    top, bottom = (_height(a, b, x) for a, b in ((polygon[0], polygon[1]), (polygon[3], polygon[2])))
    return columns, top, np.maximum(bottom, top + 1)


def _height(a: np.ndarray, b: np.ndarray, x: np.ndarray) -> np.ndarray:
    """y of the line through a and b at x."""
    run = float(b[0] - a[0])
    return a[1] + (x - a[0]) * float(b[1] - a[1]) / (run if abs(run) > 1 else 1.0)


def overlaps(top: np.ndarray, bottom: np.ndarray, rows: int) -> np.ndarray:
    """(rows, M, k) intersection over union of M pieces with the anchors of their columns."""
    middle = ((np.arange(rows) + 0.5) * STRIDE)[:, None, None]
    half = np.array(HEIGHTS) / 2
    top, bottom = top[None, :, None], bottom[None, :, None]
    common = (np.minimum(bottom, middle + half) - np.maximum(top, middle - half)).clip(0)
    return common / (bottom - top + 2 * half - common)


def _ends(polygon: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """(M,): from the middles of columns to the nearer end of the line, in columns (eq. 4)."""
    ends = np.array([polygon[[0, 3], 0].mean(), polygon[[1, 2], 0].mean()]) / STRIDE - (columns[:, None] + 0.5)
    return np.take_along_axis(ends, np.abs(ends).argmin(1)[:, None], 1)[:, 0]


def loss(target: dict, outputs: dict, side_weight: float = 2.0, ratio: int = 3):
    """L = L_text + L_vertical + λ·L_side: (B,), eq. 5.

    L_text is a cross-entropy of which text and the hardest background make up a half each.

    Args:
        target: see `maps`, with a first axis B.
        outputs: "logits" (B, h, w, k), "vertical" (B, h, w, 2·k), "side" (B, h, w, k).
        side_weight: λ.
        ratio: anchors of background for each of text; of a picture without text all count.
    """
    text, mask, side_mask = (_flat(ops.cast(target[key], "float32")) for key in ("text", "mask", "side_mask"))
    logits = _flat(outputs["logits"])
    entropy = losses.binary_cross_entropy(text, logits)
    ground = losses.hardest(ops.sigmoid(logits), text, mask, ratio) * (1 - text) * mask
    score = losses.mean(entropy, text * mask) / 2 + losses.mean(entropy, ground) / 2
    vertical = losses.smooth(_flat(outputs["vertical"], 2) - _flat(ops.cast(target["vertical"], "float32"), 2))
    side = losses.smooth(_flat(outputs["side"]) - _flat(ops.cast(target["side"], "float32")))
    return score + losses.mean(ops.sum(vertical, -1), text) + side_weight * losses.mean(side, side_mask)


def _flat(x, last: int = 1):
    """(B, h, w, last·k) → (B, h·w, k), or with `last` values at the end."""
    shape = (ops.shape(x)[0], -1, x.shape[-1] // last)
    return ops.reshape(x, shape) if last == 1 else ops.reshape(x, (*shape, last))


class Task(task.Task):
    """Batches and validation pages with lines in place of words."""

    def target(self, page: task.Page) -> dict[str, np.ndarray]:
        return super().target(joined(page))

    def held_out(self) -> dict[str, list[task.Page]]:
        return {name: [joined(page) for page in pages] for name, pages in super().held_out().items()}


def make(how: recipe.Recipe, card: Card, data) -> Task:
    return Task(how, card, data, maps=maps, loss=loss)


RECIPE = replace(DB, model="ctpn_vgg16", task=__name__)
