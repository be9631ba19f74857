"""PSENet on a ResNet-50: learns each word's kernels, from a half of its size to the whole.

Wang et al. 2019, https://arxiv.org/abs/1903.12473.

    zoo train detection.psenet_resnet50 --run runs/psenet_resnet50 --data DATA

Not trained yet: no weights were released, and neither score nor hours are known. Meant for a GPU.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import cv2
import numpy as np
from keras import ops

from recipes import losses, recipe
from recipes.detection import targets
from recipes.detection.db_resnet50 import RECIPE as DB
from recipes.detection.task import Task
from zoo import geometry
from zoo.registry import Card

SMALLEST = 0.5  # ratio of the smallest kernel: m of eq. 2


def ratios(kernels: int) -> list[float]:
    """The ratios of n kernels, from `SMALLEST` to 1 (eq. 2)."""
    return [1 - (1 - SMALLEST) * (kernels - i) / (kernels - 1) for i in range(1, kernels + 1)]


def maps(polygons: np.ndarray, ignore: np.ndarray, size: tuple[int, int], kernels: int = 7) -> dict[str, np.ndarray]:
    """The targets of one picture (section 3.3).

    Args:
        polygons: (N, 4, 2) in pixels; they may reach beyond the picture.
        ignore: (N,) bool: neither text nor background.
        size: height and width in pixels.
        kernels: number of sizes.

    Returns:
        "kernels" (H, W, kernels) uint8: the words shrunk by each ratio; "mask" (H, W) uint8: what counts.
    """
    drawn, mask = [np.zeros(size, np.uint8) for _ in range(kernels)], np.ones(size, np.uint8)
    for polygon, skipped in zip(polygons, ignore, strict=True):
        parts = [] if skipped or targets.narrow(polygon) else [geometry.shrink(polygon, r) for r in ratios(kernels)]
        if not all(parts) or not parts:
            cv2.fillPoly(mask, [targets.pixels(polygon)], 0)
            continue
        for canvas, part in zip(drawn, parts, strict=True):
            cv2.fillPoly(canvas, [targets.pixels(outline) for outline in part], 1)
    return {"kernels": np.stack(drawn, -1), "mask": mask}


def loss(target: dict, outputs: dict, share: float = 0.7, ratio: int = 3):
    """L = λ·L_words + (1 - λ)·L_kernels: (B,), eq. 4 to 7; each a dice.

    L_words counts of the background only the hardest pixels; L_kernels is the mean over the smaller kernels, and looks
    only where words are found.

    Args:
        target: "kernels" (B, H, W, n) and "mask" (B, H, W): see `maps`.
        outputs: "logits" (B, H, W, n).
        share: λ.
        ratio: pixels of background for each of text; of a picture without text all count.
    """
    true, mask = ops.cast(target["kernels"], "float32"), ops.cast(target["mask"], "float32")
    found = ops.sigmoid(outputs["logits"])
    text, words = true[..., -1], found[..., -1]
    whole = losses.dice(text, words, mask * losses.hardest(words, text, mask, ratio))
    inside = mask * ops.cast(words >= 0.5, "float32")
    count = outputs["logits"].shape[-1] - 1
    parts = sum(losses.dice(true[..., i], found[..., i], inside) for i in range(count)) / count
    return share * whole + (1 - share) * parts


def make(how: recipe.Recipe, card: Card, data) -> Task:
    kernels = {"kernels": card.options["kernels"]} if "kernels" in card.options else {}
    return Task(how, card, data, maps=partial(maps, **kernels), loss=loss)


RECIPE = replace(DB, model="psenet_resnet50", task=__name__)
