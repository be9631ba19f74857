"""LW-DETR: regions of a page as turned boxes, by queries to a ViTDet. Chen et al. 2024.

    image (B, H, W, 3) → ViTDet → maps (B, h, w, ·), joined → memory (B, h, w, C)
                       → at each place of it a box and its classes → the Q likeliest boxes (B, Q, 6)
                       → decoder: queries see each other and a few points of the memory around their boxes, which each
                         layer moves → logits (B, Q, K), boxes (B, Q, 6)

https://arxiv.org/abs/2406.03459. Equal to docTR's `lw_detr_s` and `lw_detr_m`, whose boxes are turned: centre, width
and height in shares of the picture's sides, sine and cosine of the turn. The classes have no background; their
probabilities are sigmoids.

For training (`teacher`) there are several groups of queries, which do not see each other (section 3.2, after Chen et
al. 2022, https://arxiv.org/abs/2207.13085), and what the proposals and each layer of the decoder give is an output:
logits (B, 1 + layers, groups, Q, K), boxes (B, 1 + layers, groups, Q, 6). Reading takes the first group alone.

Rows and columns at the edges of a picture that are black throughout are taken for padding, in which nothing is seen.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import keras
import numpy as np
from keras import layers, ops

from zoo.attention import Attention, FeedForward, layer_norm
from zoo.backbones.vit_det import vit_det
from zoo.detection.db import MEAN, STD
from zoo.layers import conv_bn, normalize
from zoo.sampling import DeformAttention, rows

BLOCKS = 3  # of the projector
SIDE = 0.05  # of the boxes that proposals begin with, in shares of the picture's sides
EDGE = 0.01  # centres nearer to the edge than this propose nothing
SMALLEST, LARGEST = -5.0, 3.5  # logarithms by which a side may change at once
NEVER = -1e9
PRIOR = 0.01  # probability of each class when training begins
OUTPUTS = ("logits", "boxes")
UNTURNED = (0.0, 0.0, 0.0, 0.0, 0.0, 1.0)  # the change that leaves a box as it is


# ---------------------------------------------------------------- boxes


def refine(boxes, deltas):
    """Boxes (…, 6) moved, scaled and turned by deltas (…, 6)."""
    centre = boxes[..., :2] + deltas[..., :2] * boxes[..., 2:4]
    size = ops.exp(ops.clip(deltas[..., 2:4], SMALLEST, LARGEST)) * boxes[..., 2:4]
    turn = unit(deltas[..., 4:])
    sine = boxes[..., 4] * turn[..., 1] + boxes[..., 5] * turn[..., 0]
    cosine = boxes[..., 5] * turn[..., 1] - boxes[..., 4] * turn[..., 0]
    return ops.concatenate([centre, size, unit(ops.stack([sine, cosine], -1))], -1)


def unit(vectors):
    """Vectors (…, 2) of length 1, but for those of none."""
    return vectors / ops.sqrt(ops.maximum(ops.sum(vectors**2, -1, keepdims=True), 1e-12))


def waves(boxes, width: int):
    """(B, Q, 2 · width) codes of boxes (B, Q, 6): sines and cosines by turns of y, x, width and height."""
    half = width // 2
    slow = (2 * np.pi / 10_000 ** (2 * (np.arange(half) // 2) / half)).astype("float32")
    angle = boxes[..., :4, None] * slow  # (B, Q, 4, half)
    codes = ops.stack([ops.sin(angle[..., 0::2]), ops.cos(angle[..., 1::2])], -1)  # (B, Q, 4, half / 2, 2)
    codes = ops.reshape(codes, (-1, ops.shape(boxes)[1], 4, half))
    return ops.concatenate([codes[:, :, i] for i in (1, 0, 2, 3)], -1)


def turns(boxes):
    """(B, Q, 4) sine and cosine of the turn of boxes (B, Q, 6), and of its double."""
    sine, cosine = boxes[..., 4:5], boxes[..., 5:]
    return ops.concatenate([sine, cosine, 2 * sine * cosine, cosine**2 - sine**2], -1)


def within(image, patch: int):
    """(B, H / patch, W / patch) float32: 1 where a patch of an image (B, H, W, 3) holds a pixel that is no padding."""
    light = ops.cast(ops.max(image, -1) > 0, "float32")  # (B, H, W)
    rows_, columns = (_between(ops.max(light, axis), light.shape[3 - axis]) for axis in (2, 1))
    inside = rows_[:, :, None] * columns[:, None]
    inside = ops.maximum(inside, 1 - ops.max(inside, (1, 2), keepdims=True))  # a picture all black is a picture
    shape = (-1, inside.shape[1] // patch, patch, inside.shape[2] // patch, patch)
    return ops.max(ops.reshape(inside, shape), (2, 4))


def _between(light, length: int):
    """(B, L) float32: 1 from the first to the last that is not 0 of (B, L)."""
    before = np.triu(np.ones((length, length), "float32"))
    return ops.cast((ops.matmul(light, before) > 0) & (ops.matmul(light, before.T) > 0), "float32")


# ---------------------------------------------------------------- layers


def dense(units: int, name: str, **options) -> layers.Dense:
    return layers.Dense(units, kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.02), name=name, **options)


def pair(width: int, name: str) -> list[layers.Dense]:
    """Two dense layers with ReLU between them, named `name`1 and `name`2."""
    return [dense(width, f"{name}1", activation="relu"), dense(width, f"{name}2")]


def box_layers(width: int, name: str) -> list[layers.Dense]:
    """Dense layers to deltas; they begin with what leaves a box as it is."""
    last = layers.Dense(
        6, kernel_initializer="zeros", bias_initializer=keras.initializers.Constant(UNTURNED), dtype="float32",
        name=f"{name}3",
    )  # fmt: skip
    return [*(dense(width, f"{name}{index}", activation="relu") for index in (1, 2)), last]


def class_layer(classes: int, name: str) -> layers.Dense:
    """A dense layer to logits, which begin with the probability `PRIOR`."""
    rare = keras.initializers.Constant(-math.log((1 - PRIOR) / PRIOR))
    return dense(classes, name, bias_initializer=rare, dtype="float32")


def through(x, chain: list):
    for layer in chain:
        x = layer(x)
    return x


@keras.saving.register_keras_serializable(__name__)
class Propose(layers.Layer):
    """The likeliest boxes of each group: memory (B, h, w, C), inside (B, h, w) → logits (B, G·Q, K), boxes (B, G·Q, 6).

    Args:
        classes: K.
        count: Q.
        groups: that have weights.
        used: G, the first of them.
    """

    def __init__(self, classes: int, count: int, groups: int, used: int, **kwargs):
        super().__init__(**kwargs)
        self.classes, self.count, self.groups, self.used = classes, count, groups, used

    def build(self, memory_shape, inside_shape):
        _, height, width, channels = memory_shape
        self.seen, self.norms, self.kinds, self.boxes = [], [], [], []
        for index in range(1, self.groups + 1):
            self.seen.append(dense(channels, f"group{index}_dense"))
            self.norms.append(layer_norm(f"group{index}_norm"))
            self.kinds.append(class_layer(self.classes, f"group{index}_class"))
            self.boxes += box_layers(channels, f"group{index}_box")
        for layer in [*self.seen, *self.norms, *self.kinds, *self.boxes]:
            layer.build((None, None, channels))
        x, y = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
        start = np.stack([x, y, *2 * [np.full_like(x, SIDE)], np.zeros_like(x), np.ones_like(x)], -1)
        self.start = start.reshape(1, height * width, 6).astype("float32")

    def call(self, memory, inside):
        places = self.start.shape[1]
        centres = self.start[..., :2]
        central = ((centres > EDGE) & (centres < 1 - EDGE)).all(-1).astype("float32")  # (1, places)
        known = ops.reshape(inside, (-1, places)) * central
        memory = ops.reshape(memory, (-1, places, memory.shape[-1])) * ops.cast(known, memory.dtype)[..., None]
        start = self.start * known[..., None]
        logits, boxes = zip(*(self._group(i, memory, start, known) for i in range(self.used)), strict=True)
        return ops.concatenate(logits, 1), ops.concatenate(boxes, 1)

    def _group(self, index: int, memory, start, known):
        x = self.norms[index](self.seen[index](memory))
        logits = self.kinds[index](x)
        _, best = ops.top_k(ops.where(known > 0, ops.max(logits, -1), NEVER), self.count)
        deltas = through(rows(x, best), self.boxes[3 * index : 3 * index + 3])
        return rows(logits, best), refine(rows(start, best), deltas)

    def compute_output_shape(self, memory_shape, inside_shape):
        rows_ = self.used * self.count
        return (memory_shape[0], rows_, self.classes), (memory_shape[0], rows_, 6)

    def compute_output_spec(self, memory, inside):
        shapes = self.compute_output_shape(memory.shape, inside.shape)
        return tuple(keras.KerasTensor(shape, "float32") for shape in shapes)

    def get_config(self):
        own = {"classes": self.classes, "count": self.count, "groups": self.groups, "used": self.used}
        return super().get_config() | own


@keras.saving.register_keras_serializable(__name__)
class Learnt(layers.Layer):
    """The same learnt rows for each sample: (B, …) → (B, used, width).

    Args:
        count: rows that have weights.
        used: the first of them.
        width: of a row.
        start: of each row; None draws them.
    """

    def __init__(self, count: int, used: int, width: int, start: tuple[float, ...] | None = None, **kwargs):
        super().__init__(**kwargs)
        self.count, self.used, self.width, self.start = count, used, width, start

    def build(self, shape):
        small = keras.initializers.RandomNormal(stddev=0.02)
        start = keras.initializers.Constant(np.array(self.start, "float32")) if self.start else small
        self.codes = self.add_weight(shape=(self.count, self.width), initializer=start, name="codes")

    def call(self, like):
        codes = ops.cast(self.codes[: self.used], self.compute_dtype)
        return ops.broadcast_to(codes, (ops.shape(like)[0], self.used, self.width))

    def compute_output_shape(self, shape):
        return (shape[0], self.used, self.width)

    def get_config(self):
        own = {"count": self.count, "used": self.used, "width": self.width, "start": self.start}
        return super().get_config() | own


@keras.saving.register_keras_serializable(__name__)
class GroupAttention(Attention):
    """Attention of queries (B, G·Q, C) to those of their group; their places (B, G·Q, C) say who looks at whom.

    Args:
        groups: G.
    """

    def __init__(self, heads: int, width: int, groups: int, **kwargs):
        super().__init__(heads, width, **kwargs)
        self.groups = groups

    def build(self, queries_shape, places_shape):
        super().build(queries_shape)

    def call(self, queries, places):
        count, shape = queries.shape[1], (-1, queries.shape[1] // self.groups, self.width)
        queries, placed = ops.reshape(queries, shape), ops.reshape(queries + places, shape)
        memory = self._split(self.key(placed)), self._split(self.value(queries))
        return ops.reshape(self.ask(placed, memory), (-1, count, self.width))

    def compute_output_shape(self, queries_shape, places_shape):
        return queries_shape

    def get_config(self):
        return super().get_config() | {"groups": self.groups}


# ---------------------------------------------------------------- network


def project(maps: list, channels: int):
    """One map (B, h, w, C) of several of one size: a bottleneck whose every step is kept ("C2f")."""
    half = channels // 2
    x = conv_bn(layers.Concatenate(name="join")(maps), 2 * half, 1, "join", activation="silu")
    kept = [x[..., :half], x[..., half:]]
    for index in range(1, BLOCKS + 1):
        x = conv_bn(kept[-1], half, 3, f"step{index}a", activation="silu")
        kept.append(conv_bn(x, half, 3, f"step{index}b", activation="silu"))
    x = conv_bn(layers.Concatenate(name="merge")(kept), channels, 1, "merge", activation="silu")
    return layer_norm("memory_norm", 1e-6)(x)


class Sizes(NamedTuple):
    """Of a decoder's layers, as `lw_detr` takes them."""

    heads: tuple[int, int]
    points: int
    hidden: int
    groups: int


def decoder_layer(x, boxes, places, memory, inside, sizes: Sizes, name: str):
    """Queries (B, N, C) that saw each other, and what lies at their boxes (B, N, 6) in the memory (B, h, w, C)."""
    y = GroupAttention(sizes.heads[0], x.shape[-1], sizes.groups, name=f"{name}_self")(x, places)
    x = layer_norm(f"{name}_self_norm")(layers.Add(name=f"{name}_self_add")([x, y]))
    asked = layers.Add(name=f"{name}_ask")([x, places])
    y = DeformAttention(sizes.heads[1], sizes.points, name=f"{name}_look")(asked, boxes, [memory], [inside])
    x = layer_norm(f"{name}_look_norm")(layers.Add(name=f"{name}_look_add")([x, y]))
    y = FeedForward(sizes.hidden, "relu", name=f"{name}_feed")(x)
    return layer_norm(f"{name}_norm")(layers.Add(name=f"{name}_feed_add")([x, y]))


def decode(x, boxes, memory, inside, *, classes: int, depth: int, sizes: Sizes) -> list:
    """Logits (B, N, K) and boxes (B, N, 6) after each layer, of queries (B, N, C) and their first boxes (B, N, 6)."""
    width, given, look = x.shape[-1], [], boxes
    place, turn = pair(width, "place"), pair(width, "turn")
    norm, kind, box = layer_norm("decoder_norm"), class_layer(classes, "class"), box_layers(width, "box")
    for index in range(1, depth + 1):
        name = f"layer{index}"
        places = layers.Add(name=f"{name}_places")([through(waves(look, width), place), through(turns(look), turn)])
        x = decoder_layer(x, look, places, memory, inside, sizes, name)
        known = norm(x)
        deltas = through(known, box)
        given.append((kind(known), refine(boxes, deltas)))
        boxes = refine(look, deltas)  # a layer learns from the boxes of the next, too, but from none after that
        look = ops.stop_gradient(boxes)
    return given


def lw_detr(
    *,
    features: str = "vit_det_s",
    classes: int = 11,
    image_size: tuple[int, int] = (1024, 1024),
    channels: int = 256,
    queries: int = 195,
    groups: int = 13,
    depth: int = 3,
    heads: tuple[int, int] = (8, 16),
    points: int = 2,
    hidden: int = 2048,
    patch: int = 16,
    side: int = 64,
    teacher: bool = False,
    name: str = "lw_detr",
) -> keras.Model:
    """The network from pixels to "logits" (B, Q, K) and "boxes" (B, Q, 6).

    Args:
        features: a key of `zoo.backbones.vit_det.SIZES`.
        classes: K.
        image_size: (height, width) in pixels, multiples of 4 · patch.
        channels: of memory and queries.
        queries: Q, no more than the picture has patches.
        groups: of queries, of which reading uses one.
        depth: layers of the decoder.
        heads: among which channels are shared, where queries see each other and where they see the memory.
        points: that each head looks at.
        hidden: width of the feed-forward layers.
        patch: side of a patch in pixels.
        side: of the square of patches for which positions have learnt codes.
        teacher: the graph for training, with all groups and what each layer gives.
        name: of the model.
    """
    image = keras.Input((*image_size, 3), name="image")
    inside, used = within(image, patch), groups if teacher else 1
    memory = project(vit_det(normalize(image, MEAN, STD), features, patch, side), channels)
    proposed = Propose(classes, queries, groups, used, dtype="float32", name="propose")(memory, inside)
    deltas = Learnt(groups * queries, used * queries, 6, UNTURNED, dtype="float32", name="references")(memory)
    x = Learnt(groups * queries, used * queries, channels, name="queries")(memory)
    boxes = refine(ops.stop_gradient(proposed[1]), deltas)
    sizes = Sizes(tuple(heads), points, hidden, used)  # type: ignore[arg-type]  # a card gives a list
    given = [proposed, *decode(x, boxes, memory, inside, classes=classes, depth=depth, sizes=sizes)]
    if not teacher:
        return keras.Model(image, dict(zip(OUTPUTS, given[-1], strict=True)), name=name)
    parts = [
        ops.reshape(ops.stack(part, 1), (-1, depth + 1, groups, queries, part[0].shape[-1]))
        for part in zip(*given, strict=True)
    ]
    return keras.Model(image, dict(zip(OUTPUTS, parts, strict=True)), name=name)
