"""Faster R-CNN: boxes proposed, then looked at one by one. Ren et al. 2015, https://arxiv.org/abs/1506.01497; on a
pyramid: Lin et al. 2016, https://arxiv.org/abs/1612.03144.

    image (B, H, W, 3) → C2..C5 → P2..P6 (strides 4..64, 256 channels)
      proposing: one head over all levels → "anchor_logits" (B, A), "anchor_deltas" (B, A, 4)
                 the best 1000, then the best 300 of which none overlaps a better one → "proposals" (B, N, 4)
      looking:   7 × 7 samples of each, two dense layers → "region_logits" (B, N), "region_deltas" (B, N, 4)
      result:    "corners" (B, N, 4), and "logits" (B, N), very low for those that overlap a better one

A box is left, top, right, bottom in pixels of the image. "logits" is the probability that there is a word in it, before
the sigmoid; the other outputs are for training alone. N is fixed, whatever the image: where there are fewer boxes, the
rest are empty. So all of it is one graph of fixed bounds, which every exporter knows.
"""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from zoo.backbones import backbone
from zoo.layers import IMAGENET, fpn, normalize
from zoo.sampling import RegionAlign, rows

STRIDES = (4, 8, 16, 32, 64)
ANCHOR = 4.0  # of an anchor's area, the square root in strides of its level
RATIOS = (1.0, 2.0, 4.0)  # widths over heights of the anchors at each place: words are wide
SCALES = (10.0, 10.0, 5.0, 5.0)  # of a region's deltas: as the head gives them, they are of about unit variance
LARGEST = math.log(1000 / 16)  # of the logarithm by which a side may grow
NEVER = -100.0  # the logit of what is no box; those of boxes are above
EMPTY = -1e9  # the score of what fills up


# ---------------------------------------------------------------- boxes


def anchors(sizes: list[tuple[Any, Any]], numbers: Any = ops):
    """(A, 4) anchors of the levels' (height, width), place by place from the top left, at each the `RATIOS` in turn."""
    return numbers.concatenate([_level(*size, s, numbers) for size, s in zip(sizes, STRIDES, strict=True)], 0)


def _level(height, width, stride: int, numbers: ModuleType):
    half = ANCHOR * stride / 2 * np.sqrt([[ratio, 1 / ratio] for ratio in RATIOS])
    half = np.concatenate([-half, half], 1).astype("float32")  # (3, 4)
    x = (numbers.arange(width, dtype="float32") + 0.5) * stride
    y = (numbers.arange(height, dtype="float32") + 0.5) * stride
    x, y = numbers.meshgrid(x, y)
    centres = numbers.stack([x, y, x, y], -1)[:, :, None]  # (height, width, 1, 4)
    return numbers.reshape(centres + half, (-1, 4))


def encode(boxes, reference, numbers: Any = ops):
    """(…, 4) how boxes differ from reference boxes: moves in sides, logarithms of how much larger (eq. 2)."""
    (x, y, w, h), (u, v, a, b) = _centred(boxes), _centred(reference)
    return numbers.stack([(x - u) / a, (y - v) / b, numbers.log(w / a), numbers.log(h / b)], -1)


def decode(deltas, reference, height, width):
    """(…, 4) boxes by how they differ from reference boxes, cut at the edges of the image."""
    u, v, a, b = _centred(reference)
    x, y = u + deltas[..., 0] * a, v + deltas[..., 1] * b
    w, h = (side * ops.exp(ops.minimum(deltas[..., i], LARGEST)) / 2 for i, side in ((2, a), (3, b)))
    across, down = (lambda value: ops.clip(value, 0.0, width)), (lambda value: ops.clip(value, 0.0, height))
    return ops.stack([across(x - w), down(y - h), across(x + w), down(y + h)], -1)


def _centred(boxes):
    """Middle x, middle y, width and height of boxes (…, 4), none smaller than a thousandth of a pixel."""
    w, h = boxes[..., 2] - boxes[..., 0] + 1e-3, boxes[..., 3] - boxes[..., 1] + 1e-3
    return boxes[..., 0] + w / 2, boxes[..., 1] + h / 2, w, h


def overlaps(one, other):
    """(B, N, M) intersection over union of boxes (B, N, 4) and (B, M, 4)."""
    one, other = one[:, :, None], other[:, None]
    low, high = ops.maximum(one[..., :2], other[..., :2]), ops.minimum(one[..., 2:], other[..., 2:])
    common = ops.prod(ops.maximum(high - low, 0.0), -1)
    areas = [ops.prod(boxes[..., 2:] - boxes[..., :2], -1) for boxes in (one, other)]
    return common / ops.maximum(areas[0] + areas[1] - common, 1e-6)


def survivors(boxes, overlap: float):
    """(B, N) bool: which boxes, from the best to the worst, overlap no better one that survives by more than `overlap`.

    Greedy suppression as a fixed point: each round asks which boxes those of the last round leave. After n rounds the
    first n are right, and mostly all after a few; the loop ends when nothing changes.
    """
    count = boxes.shape[1]
    better = np.triu(np.ones((count, count), "float32"), 1)  # (i, j): box i comes before j
    over = ops.cast(overlaps(boxes, boxes) > overlap, "float32") * better

    def again(now, changed):
        left = ops.cast(ops.matmul(now[:, None], over)[:, 0] < 0.5, "float32")
        return left, ops.any(left != now)  # told here: ONNX's converter mistakes values that a loop only passes on

    start = ops.ones_like(boxes[..., 0]), ops.convert_to_tensor(True)
    now, _ = ops.while_loop(lambda now, changed: changed, again, start, maximum_iterations=count)
    return now > 0.5


# ---------------------------------------------------------------- layers


@keras.saving.register_keras_serializable(__name__)
class Propose(layers.Layer):
    """The boxes worth looking at: from [image, anchor logits (B, A), deltas (B, A, 4), P2, …] to (B, N, 4).

    Args:
        before: boxes that are compared with each other.
        count: N.
        overlap: intersection over union with a better box, from which a box is left out.
    """

    picks = True  # by scores, which rounding may turn round: see `zoo.alike`

    def __init__(self, before: int = 1000, count: int = 300, overlap: float = 0.7, **kwargs):
        super().__init__(**kwargs)
        self.before, self.count, self.overlap = before, count, overlap

    def call(self, inputs):
        image, scores, deltas, *levels = inputs
        scores, deltas = ops.stop_gradient(scores), ops.stop_gradient(deltas)
        height, width = (ops.cast(ops.shape(image)[axis], "float32") for axis in (1, 2))
        reference = anchors([(ops.shape(x)[1], ops.shape(x)[2]) for x in levels])
        # A small image has fewer anchors than are to be compared: empty boxes stand in.
        scores = ops.pad(scores, [(0, 0), (0, self.before)], constant_values=EMPTY)
        deltas = ops.pad(deltas, [(0, 0), (0, self.before), (0, 0)])
        reference = ops.pad(reference, [(0, self.before), (0, 0)])
        scores, best = ops.top_k(scores, self.before)
        boxes = decode(rows(deltas, best), ops.take(reference, best, axis=0), height, width)
        left = ops.logical_and(survivors(boxes, self.overlap), scores > EMPTY)
        scores, best = ops.top_k(ops.where(left, scores, EMPTY), self.count)
        return ops.where((scores > EMPTY)[..., None], rows(boxes, best), 0.0)

    def compute_output_shape(self, shapes):
        return (shapes[0][0], self.count, 4)

    def get_config(self):
        return super().get_config() | {"before": self.before, "count": self.count, "overlap": self.overlap}


@keras.saving.register_keras_serializable(__name__)
class Refine(layers.Layer):
    """Proposals moved by their deltas: [image, proposals (B, N, 4), deltas (B, N, 4)] → (B, N, 4)."""

    def call(self, inputs):
        image, proposals, deltas = inputs
        height, width = (ops.cast(ops.shape(image)[axis], "float32") for axis in (1, 2))
        return decode(deltas / np.array(SCALES, "float32"), proposals, height, width)

    def compute_output_shape(self, shapes):
        return shapes[1]


@keras.saving.register_keras_serializable(__name__)
class Suppress(layers.Layer):
    """Logits with all but the best of those that overlap made very low: [boxes (B, N, 4), logits (B, N)] → (B, N).

    Args:
        overlap: intersection over union from which two boxes are one.
    """

    def __init__(self, overlap: float = 0.3, **kwargs):
        super().__init__(**kwargs)
        self.overlap = overlap

    def call(self, inputs):
        boxes, logits = inputs
        logits = ops.clip(logits, NEVER + 1, -NEVER)
        _, order = ops.top_k(logits, boxes.shape[1])
        left = survivors(ops.stop_gradient(rows(boxes, order)), self.overlap)
        place = ops.argsort(order, axis=-1)  # back from the best first to the order that was given
        return ops.where(rows(left, place), logits, NEVER)

    def compute_output_shape(self, shapes):
        return shapes[1]

    def get_config(self):
        return super().get_config() | {"overlap": self.overlap}


# ---------------------------------------------------------------- network


def proposing(levels: list, channels: int):
    """Logits (B, A) and deltas (B, A, 4) of all anchors, by one head over all levels."""
    window = layers.Conv2D(channels, 3, padding="same", activation="relu", name="anchor_window")
    score = layers.Conv2D(len(RATIOS), 1, dtype="float32", name="anchor_score")
    move = layers.Conv2D(4 * len(RATIOS), 1, dtype="float32", name="anchor_move")
    seen = [window(x) for x in levels]
    logits = [layers.Reshape((-1,), name=f"anchor_logits{i}")(score(x)) for i, x in enumerate(seen, 2)]
    deltas = [layers.Reshape((-1, 4), name=f"anchor_deltas{i}")(move(x)) for i, x in enumerate(seen, 2)]
    joined = layers.Concatenate(axis=1, dtype="float32", name="anchor_logits")(logits)
    return joined, layers.Concatenate(axis=1, dtype="float32", name="anchor_deltas")(deltas)


def looking(proposals, levels: list, size: int, hidden: int):
    """Logits (B, N) and deltas (B, N, 4) of proposals (B, N, 4)."""
    # P4 is for words of 64 pixels, a quarter of what it is for in photographs.
    x = RegionAlign(size, usual=64.0, name="regions")([proposals, *levels])
    x = layers.Reshape((-1, size * size * x.shape[-1]), name="region_samples")(x)
    for index in (1, 2):
        x = layers.Dense(hidden, activation="relu", name=f"region_dense{index}")(x)
    logits = layers.Dense(1, dtype="float32", name="region_score")(x)
    deltas = layers.Dense(4, dtype="float32", name="region_deltas")(x)
    return logits[..., 0], deltas


def faster_rcnn(
    *,
    features: str,
    channels: int = 256,
    size: int = 7,
    hidden: int = 1024,
    before: int = 1000,
    proposals: int = 300,
    image_size: tuple[int | None, int | None] = (None, None),
    name: str = "faster_rcnn",
) -> keras.Model:
    """The network from a page's pixels to "logits" (B, N), "corners" (B, N, 4), and what training needs besides.

    Args:
        features: a backbone, such as "resnet50".
        channels: of the pyramid.
        size: samples of a region on each side.
        hidden: width of the dense layers that look at regions.
        before: proposals that are compared with each other.
        proposals: N, those of them that are looked at.
        image_size: (height, width) in pixels, multiples of 32; None leaves a side free.
        name: of the model.
    """
    image = keras.Input((*image_size, 3), name="image")
    levels = fpn(backbone(features, normalize(image, *IMAGENET, 32)), channels)
    every = [*levels, layers.MaxPooling2D(1, 2, name="fpn6")(levels[-1])]
    anchor_logits, anchor_deltas = proposing(every, channels)
    found = Propose(before, proposals, dtype="float32", name="proposals")([image, anchor_logits, anchor_deltas, *every])
    region_logits, region_deltas = looking(found, levels, size, hidden)
    corners = Refine(dtype="float32", name="corners")([image, found, region_deltas])
    outputs = {
        "logits": Suppress(dtype="float32", name="logits")([corners, region_logits]),
        "corners": corners,
        "anchor_logits": anchor_logits,
        "anchor_deltas": anchor_deltas,
        "proposals": found,
        "region_logits": region_logits,
        "region_deltas": region_deltas,
    }
    return keras.Model(image, outputs, name=name)
