"""Regions of pages by LW-DETR. Chen et al. 2024, https://arxiv.org/abs/2406.03459.

    zoo train layout.lw_detr_s --run runs/lw_detr_s --data DATA

Each true box is given to one query of each group, so that all fit best together, at the proposals and after each layer
of the decoder; sums of costs are least by the Hungarian method. Losses and weights are docTR's, which the paper's are
(section 3.3) but for the overlap of turned boxes: they are taken for normal distributions (Llerena et al. 2021,
https://arxiv.org/abs/2106.06072).

Not trained yet: no weights were released, and neither score nor hours are known. Meant for a GPU.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from keras import ops
from scipy.optimize import linear_sum_assignment

from recipes.layout.task import Task
from recipes.recipe import Recipe
from recipes.step import on_host

ALPHA, GAMMA = 0.25, 2.0  # of classes: the weight of probability beside overlap, and of what is easy
COST = {"class": 2.0, "place": 5.0, "overlap": 2.0}
WEIGHT = {"class": 1.0, "place": 5.0, "overlap": 2.0}
PIXELS = 1024.0  # of a side: overlaps are measured in them, since what keeps them finite is as large as small boxes
TINY = 1e-7


def loss(target: dict, outputs: dict) -> dict:
    """The (B,) parts "class", "place" and "overlap": sums over proposals and layers, means over groups and true boxes.

    Args:
        target: see `targets.boxes`, with a first axis B.
        outputs: "logits" (B, L, G, Q, K) and "boxes" (B, L, G, Q, 6) of the network for training.
    """
    logits, boxes = outputs["logits"], outputs["boxes"]
    _, levels, groups, queries, classes = logits.shape
    logits = ops.reshape(logits, (-1, levels * groups, queries, classes))
    boxes = ops.reshape(boxes, (-1, levels * groups, queries, 6))
    return {key: value / groups for key, value in sets(target, logits, boxes).items()}


def sets(target: dict, logits, boxes) -> dict:
    """The (B,) parts of the loss, summed over the sets S of logits (B, S, Q, K) and boxes (B, S, Q, 6)."""
    kind, true = ops.cast(target["kind"], "int32"), ops.cast(target["boxes"], "float32")  # (B, M), (B, M, 6)
    classes = ops.one_hot(kind, logits.shape[-1])[:, None]  # (B, 1, M, K)
    place = matched(kind, cost(logits, boxes, classes, true))  # (B, S, M)
    chosen = ops.one_hot(place, logits.shape[2])  # (B, S, M, Q): none where there is no box, or no query is left
    own, some = ops.matmul(chosen, boxes), ops.cast(place >= 0, "float32")
    overlap = alike(own, true[:, None])
    sure = ops.sum(ops.matmul(chosen, ops.sigmoid(logits)) * classes, -1)  # (B, S, M)
    aim = sure**ALPHA * ops.clip(overlap, 0.0, 1.0) ** (1 - ALPHA)
    aim = ops.stop_gradient(ops.maximum(aim, 0.01)) * some
    spread = ops.swapaxes(chosen, -1, -2)  # from boxes to queries
    positive, held = (ops.matmul(spread, part[..., None] * classes) for part in (aim, some))  # (B, S, Q, K)
    negative = ops.where(held > 0, 1 - positive, ops.sigmoid(logits) ** GAMMA)
    entropy = -positive * ops.log_sigmoid(logits) - negative * ops.log_sigmoid(-logits)
    distance = ops.sum(ops.abs(own[..., :4] - true[:, None, :, :4]), -1)
    count = ops.maximum(ops.sum(ops.cast(kind >= 0, "float32"), -1), 1.0)
    parts = {"class": ops.sum(entropy, (1, 2, 3)), "place": ops.sum(distance * some, (1, 2))}
    parts["overlap"] = ops.sum((1 - overlap) * some, (1, 2))
    return {key: WEIGHT[key] * value / count for key, value in parts.items()}


def cost(logits, boxes, classes, true):
    """(B, S, Q, M): what it costs to give a query a true box."""
    probability, eps = ops.sigmoid(logits), 1e-8
    absent = (1 - ALPHA) * probability**GAMMA * -ops.log(1 - probability + eps)
    present = ALPHA * (1 - probability) ** GAMMA * -ops.log(probability + eps)
    kind = ops.matmul(present - absent, ops.swapaxes(classes, -1, -2))
    place = ops.sum(ops.abs(boxes[..., :, None, :4] - true[:, None, None, :, :4]), -1)
    overlap = alike(boxes[..., :, None, :], true[:, None, None])
    return COST["class"] * kind + COST["place"] * place - COST["overlap"] * overlap


def matched(kind, costs):
    """(B, S, M) int32: the query of each true box, or -1. No gradient flows through it."""
    _, count, _, most = costs.shape
    return on_host(assign, (costs.shape[0], count, most), "int32", kind, costs)


def assign(kind: np.ndarray, costs: np.ndarray) -> np.ndarray:
    """What `matched` gives, by the Hungarian method: costs (B, S, Q, M), and kinds (B, M), -1 for no box."""
    result = np.full((*costs.shape[:2], costs.shape[3]), -1, "int32")
    for row, own in enumerate(kind):
        (true,) = np.nonzero(own >= 0)
        for index, part in enumerate(np.nan_to_num(costs[row][:, :, true], nan=1e9)):
            queries, columns = linear_sum_assignment(part)
            result[row, index, true[columns]] = queries
    return result


def alike(one, other):
    """The likeness of turned boxes (…, 6), as normal distributions, in [0, 1]: 1 - their Hellinger distance (eq. 7)."""
    (x1, y1, a1, b1, c1), (x2, y2, a2, b2, c2) = normal(one), normal(other)
    a, b, c, x, y = a1 + a2, b1 + b2, c1 + c2, x1 - x2, y1 - y2
    whole = a * b - c**2
    apart = 0.25 * (a * y**2 + b * x**2 - 2 * c * x * y) / (whole + TINY)  # eq. 3
    own = ops.sqrt(ops.maximum(a1 * b1 - c1**2, TINY) * ops.maximum(a2 * b2 - c2**2, TINY))
    shape = 0.5 * ops.log(ops.maximum(whole, TINY) / (4 * own + TINY) + TINY)  # eq. 4
    return 1 - ops.sqrt(1 - ops.exp(-ops.clip(apart + shape, TINY, 100.0)) + TINY)


def normal(boxes):
    """Means x, y and covariances a, b, c of turned boxes (…, 6), in pixels (eq. 2)."""
    x, y, width, height = (boxes[..., i] * PIXELS for i in range(4))
    wide, high = (ops.maximum(side, 1e-6 * PIXELS) ** 2 / 12 for side in (width, height))
    length = ops.sqrt(ops.maximum(boxes[..., 4] ** 2 + boxes[..., 5] ** 2, 1e-12))
    sine, cosine = boxes[..., 4] / length, boxes[..., 5] / length
    a, b = wide * cosine**2 + high * sine**2, wide * sine**2 + high * cosine**2
    return x, y, a, b, (wide - high) * cosine * sine


make = partial(Task, loss=loss)
RECIPE = Recipe(
    model="lw_detr_s",
    task=__name__,
    options={"teacher": True},
    real=("docbank_pages",),
    batch=16,
    steps=60_000,
    rate=1e-4,
    warmup=1000,
    clip=0.1,
    ema=0.9997,
    layer_decay=0.8,
    checkpoint_every=500,
    validate_every=2000,
    validation=200,
)
