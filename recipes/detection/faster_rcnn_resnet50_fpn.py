"""Faster R-CNN on a ResNet-50 pyramid: learns which anchors hold words, and what the proposals are.

Ren et al. 2015, https://arxiv.org/abs/1506.01497.

    zoo train detection.faster_rcnn_resnet50_fpn --run runs/faster_rcnn --data DATA

Both stages learn together ("approximate joint training", section 3.2). Of anchors and of proposals, all that hold words
and the hardest of the others make a sample.

Not trained yet: no weights were released, and neither score nor hours are known. Meant for a GPU.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial

import numpy as np
from keras import ops

from recipes import losses
from recipes.detection import targets
from recipes.detection.db_resnet50 import RECIPE as DB
from recipes.detection.task import Task
from zoo.detection.faster_rcnn import SCALES, STRIDES, anchors, encode, overlaps

MOST = 512  # words of a picture; of more, the smallest do not count
POSITIVE, NEGATIVE = 0.7, 0.3  # intersection over union of an anchor with a word
MATCH = 0.5  # of a proposal with a word
WORD, SKIPPED = 1.0, -1.0  # kinds of rows of "words"; 0 is none
RATIO = 3  # of those without a word, for each with one


@cache
def _anchors(size: tuple[int, int]) -> np.ndarray:
    """(A, 4) anchors of a picture of this (height, width)."""
    return anchors([(-(-size[0] // stride), -(-size[1] // stride)) for stride in STRIDES], np).astype("float32")


def maps(polygons: np.ndarray, ignore: np.ndarray, size: tuple[int, int]) -> dict[str, np.ndarray]:
    """The targets of one picture (section 3.1.2).

    Args:
        polygons: (N, 4, 2) in pixels; they may reach beyond the picture.
        ignore: (N,) bool: neither text nor background.
        size: height and width in pixels, multiples of 32.

    Returns:
        "anchor_text" (A,) and "anchor_mask" (A,) float32: which anchors hold words, and which count; "anchor_deltas"
        (A, 4): how the words differ from them; "words" (MOST, 5): left, top, right, bottom, and `WORD` or `SKIPPED`.
    """
    limit = np.array(size[::-1], np.float32)
    corners = np.concatenate([polygons.min(1).clip(0, limit), polygons.max(1).clip(0, limit)], 1)
    skipped = np.array([skip or targets.narrow(p) for p, skip in zip(polygons, ignore, strict=True)], bool)
    order = np.argsort(-np.prod(corners[:, 2:] - corners[:, :2], 1), kind="stable")
    skipped[order[MOST:]] = True
    rows = np.zeros((MOST, 5), np.float32)
    rows[: len(order[:MOST]), :4] = corners[order[:MOST]]
    rows[: len(order[:MOST]), 4] = np.where(skipped[order[:MOST]], SKIPPED, WORD)
    return {**_anchor_maps(corners[~skipped], corners[skipped], _anchors(size)), "words": rows}


def _anchor_maps(words: np.ndarray, skipped: np.ndarray, boxes: np.ndarray) -> dict[str, np.ndarray]:
    best, owner = np.zeros(len(boxes), np.float32), np.zeros(len(boxes), int)
    text = np.zeros(len(boxes), bool)
    for index, word in enumerate(words):
        common, whole = _common(word, boxes)
        share = common / whole
        text |= (share >= max(float(share.max()), 1e-6)) | (share >= POSITIVE)  # at least the one that fits best
        owner = np.where(share > best, index, owner)
        best = np.maximum(best, share)
    mask = text | (best < NEGATIVE)
    for box in skipped:
        common, _ = _common(box, boxes)
        mask &= text | (common <= 0.5 * np.prod(boxes[:, 2:] - boxes[:, :2], 1))
    deltas = np.zeros((len(boxes), 4), np.float32)
    if len(words):
        deltas[text] = encode(words[owner[text]], boxes[text], np)
    return {"anchor_text": text.astype(np.float32), "anchor_mask": mask.astype(np.float32), "anchor_deltas": deltas}


def _common(box: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (N,) that a box (4,) has in common with boxes (N, 4), and that they cover together."""
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    common = np.prod(sides.clip(0), 1)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], 1) + np.prod(box[2:] - box[:2])
    return common, np.maximum(areas - common, 1e-6)


def loss(target: dict, outputs: dict):
    """The sum of both stages' losses: (B,), eq. 1.

    Args:
        target: see `maps`, with a first axis B.
        outputs: of the network.
    """
    text, mask, deltas = (ops.cast(target[f"anchor_{key}"], "float32") for key in ("text", "mask", "deltas"))
    proposing = stage(outputs["anchor_logits"], outputs["anchor_deltas"], text, mask, deltas)
    return proposing + stage(outputs["region_logits"], outputs["region_deltas"], *matched(target, outputs))


def matched(target: dict, outputs: dict):
    """Which proposals hold words, which count (B, N) each, and how the words differ from them (B, N, 4)."""
    words, proposals = ops.cast(target["words"], "float32"), outputs["proposals"]
    boxes, kind = words[..., :4], words[:, None, :, 4]
    share = ops.where(kind == WORD, overlaps(proposals, boxes), 0.0)  # (B, N, M)
    best = ops.one_hot(ops.argmax(share, -1), MOST)  # (B, N, M)
    text = ops.cast(ops.max(share, -1) >= MATCH, "float32")
    # Of a proposal that lies on what is skipped, nothing is known.
    low = ops.maximum(proposals[:, :, None, :2], boxes[:, None, :, :2])
    high = ops.minimum(proposals[:, :, None, 2:], boxes[:, None, :, 2:])
    common = ops.where(kind == SKIPPED, ops.prod(ops.maximum(high - low, 0.0), -1), 0.0)
    area = ops.prod(proposals[..., 2:] - proposals[..., :2], -1)
    known = ops.cast(ops.max(common, -1) <= 0.5 * area, "float32") * ops.cast(area > 0, "float32")
    deltas = encode(ops.matmul(best, boxes), proposals) * np.array(SCALES, "float32")
    return text, ops.maximum(text, known), ops.where(text[..., None] > 0, deltas, 0.0)


def stage(logits, found, text, mask, deltas):
    """Cross-entropy, a half from words and a half from the hardest others, and distance of words' deltas: (B,).

    Args:
        logits, found: (B, N) and (B, N, 4), as a head gives them.
        text, mask, deltas: (B, N) twice and (B, N, 4), as they should be.
    """
    entropy = losses.binary_cross_entropy(text, logits)[..., None]
    text, mask = text[..., None], mask[..., None]  # (B, N, 1)
    ground = losses.hardest(ops.sigmoid(logits)[..., None], text, mask, RATIO) * (1 - text) * mask
    score = losses.mean(entropy, text * mask) / 2 + losses.mean(entropy, ground) / 2
    distance = ops.sum(losses.smooth(found - deltas), -1, keepdims=True)
    return score + losses.mean(distance, text * mask)


make = partial(Task, maps=maps, loss=loss)
RECIPE = replace(DB, model="faster_rcnn_resnet50_fpn", task=__name__)
