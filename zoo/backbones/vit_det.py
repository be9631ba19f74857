"""ViTDet: a vision transformer that keeps the map. Li et al. 2022, https://arxiv.org/abs/2203.16527.

    image (B, H, W, 3) → patches and positions (B, h, w, C) → 4 × 4 windows (B, 16, h/4 · w/4, C)
                       → blocks that look within a window, or everywhere → maps (B, h, w, C) after some of them

Equal to docTR's `vit_det_s` and `vit_det_m`, the trunks of LW-DETR (Chen et al. 2024,
https://arxiv.org/abs/2406.03459, section 3.1): keys have no bias, as in CAE, and each part of a block is weighed by
channels before it is added.
"""

from __future__ import annotations

from typing import NamedTuple

import keras
import numpy as np
from keras import layers, ops

from zoo.attention import FeedForward, attend, layer_norm


class Size(NamedTuple):
    width: int  # channels
    depth: int  # blocks
    heads: int


SIZES = {"vit_det_s": Size(192, 10, 12), "vit_det_m": Size(384, 10, 12), "vit_det_test": Size(16, 4, 2)}
RATIO = 4  # the feed-forward layers are so many times wider
SIDE = 4  # windows along each axis
WINDOWED = (0, 1, 3, 6, 7, 9)  # blocks that look within a window; the others see the whole map
OUTPUTS = (2, 4, 5, 9)  # blocks after which the map is taken
EPSILON = 1e-6
DROP = 0.1  # part of the samples that skip the last block in training; the first is always taken


def cubic(size: int, target: int) -> np.ndarray:
    """The (target, size) matrix that resizes an axis by cubic convolution, pixel centres aligned.

    Keys 1981, doi:10.1109/TASSP.1981.1163711, with PyTorch's a = -0.75; beyond the ends stands the last sample.
    """
    a = -0.75
    position = (np.arange(target) + 0.5) * size / target - 0.5
    first = np.floor(position).astype(int)
    matrix = np.zeros((target, size))
    for offset in (-1, 0, 1, 2):
        x = np.abs(position - (first + offset))
        near = (a + 2) * x**3 - (a + 3) * x**2 + 1
        far = a * (x**3 - 5 * x**2 + 8 * x - 4)
        index = np.clip(first + offset, 0, size - 1)
        np.add.at(matrix, (np.arange(target), index), np.where(x <= 1, near, far))
    return matrix.astype("float32")


@keras.saving.register_keras_serializable(__name__)
class Positions(layers.Layer):
    """Adds learnt codes of the places to a map (B, h, w, C).

    The codes are those of a square of `side` × `side` patches, resized to the map, and one more that is not used.

    Args:
        side: of the square, in patches.
    """

    def __init__(self, side: int, **kwargs):
        super().__init__(**kwargs)
        self.side = side

    def build(self, shape):
        _, height, width, channels = shape
        small = keras.initializers.TruncatedNormal(stddev=0.02)
        self.codes = self.add_weight(shape=(1, 1 + self.side**2, channels), initializer=small, name="codes")
        self.resize = cubic(self.side, height), cubic(self.side, width)
        self.shape = height, width, channels  # a batch in training does not say

    def call(self, x):
        height, width, channels = self.shape
        codes = ops.reshape(self.codes[0, 1:], (self.side, self.side * channels))
        if (height, width) != (self.side, self.side):
            rows, columns = self.resize
            codes = ops.reshape(ops.matmul(rows, codes), (height, self.side, channels))
            codes = ops.matmul(columns, codes)
        return x + ops.cast(ops.reshape(codes, (1, height, width, channels)), x.dtype)

    def compute_output_shape(self, shape):
        return shape

    def get_config(self):
        return super().get_config() | {"side": self.side}


@keras.saving.register_keras_serializable(__name__)
class WindowAttention(layers.Layer):
    """Attention within each window of (B, windows, S, C), or of all over all.

    Args:
        heads: among which the channels are shared.
        everywhere: places see all windows.
    """

    def __init__(self, heads: int, everywhere: bool, **kwargs):
        super().__init__(**kwargs)
        self.heads, self.everywhere = heads, everywhere

    def build(self, shape):
        channels = shape[-1]
        self.qkv = layers.Dense(3 * channels, use_bias=False, name="qkv", dtype=self.dtype_policy)
        self.project = layers.Dense(channels, name="project", dtype=self.dtype_policy)
        self.qkv.build(shape)
        self.project.build(shape)
        self.shape = tuple(shape[1:])
        self.query_bias = self.add_weight(shape=(channels,), initializer="zeros", name="query_bias")
        self.value_bias = self.add_weight(shape=(channels,), initializer="zeros", name="value_bias")

    def call(self, x):
        windows, places, channels = self.shape
        grid = (1, windows * places) if self.everywhere else (windows, places)

        def split(y):
            """(B, windows, S, C) → (B, windows, heads, S, C / heads)."""
            return ops.transpose(ops.reshape(y, (-1, *grid, self.heads, channels // self.heads)), (0, 1, 3, 2, 4))

        query, key, value = ops.split(self.qkv(x), 3, -1)
        query = query + ops.cast(self.query_bias, query.dtype)
        value = value + ops.cast(self.value_bias, value.dtype)
        found = ops.transpose(attend(split(query), split(key), split(value)), (0, 1, 3, 2, 4))
        return self.project(ops.reshape(found, (-1, windows, places, channels)))

    def compute_output_shape(self, shape):
        return shape

    def get_config(self):
        return super().get_config() | {"heads": self.heads, "everywhere": self.everywhere}


@keras.saving.register_keras_serializable(__name__)
class Scale(layers.Layer):
    """A sequence weighed by a learnt factor for each channel."""

    def build(self, shape):
        self.gamma = self.add_weight(shape=(shape[-1],), initializer=keras.initializers.Constant(0.1), name="gamma")

    def call(self, x):
        return x * ops.cast(self.gamma, x.dtype)

    def compute_output_shape(self, shape):
        return shape


def windows(x):
    """(B, h, w, C) → (B, 16, h/4 · w/4, C)."""
    _, height, width, channels = x.shape
    x = ops.reshape(x, (-1, SIDE, height // SIDE, SIDE, width // SIDE, channels))
    return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, SIDE**2, height * width // SIDE**2, channels))


def joined(x, height: int, width: int):
    """(B, 16, h/4 · w/4, C) → (B, h, w, C)."""
    x = ops.reshape(x, (-1, SIDE, SIDE, height // SIDE, width // SIDE, x.shape[-1]))
    return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, height, width, x.shape[-1]))


def add(x, y, name: str, drop: float):
    """x and y weighed, or x alone for some samples in training (stochastic depth)."""
    y = Scale(name=f"{name}_scale")(y)
    if drop:
        y = layers.Dropout(drop, noise_shape=(None, 1, 1, 1), name=f"{name}_drop")(y)
    return layers.Add(name=f"{name}_add")([x, y])


def vit_det(image, size: str, patch: int = 4, side: int = 8) -> list:
    """Maps (B, H / patch, W / patch, C) of a normalised image (B, H, W, 3), after the blocks `OUTPUTS`.

    Args:
        image: pixels of about unit variance; H and W are known multiples of 4 · patch.
        size: a key of `SIZES`.
        patch: side of a patch in pixels.
        side: of the square of patches for which positions have learnt codes.

    Raises:
        ValueError: there is no such size, or the image has no whole number of windows.
    """
    if size not in SIZES:
        raise ValueError(f"no ViTDet is named {size!r}; there are: {', '.join(SIZES)}")
    if any(length is None or length % (SIDE * patch) for length in image.shape[1:3]):
        raise ValueError(f"an image of {image.shape[1:3]} has no {SIDE} × {SIDE} windows of patches of {patch} pixels")
    width, depth, heads = SIZES[size]
    x = Positions(side, name="positions")(layers.Conv2D(width, patch, patch, name="patches")(image))
    _, rows, columns, _ = x.shape
    x, maps = windows(x), []
    for index, drop in enumerate(np.linspace(0, DROP, depth).tolist()):
        name = f"block{index + 1}"
        y = layer_norm(f"{name}_attention_norm", EPSILON)(x)
        y = WindowAttention(heads, index not in WINDOWED, name=f"{name}_attention")(y)
        x = add(x, y, f"{name}_attention", drop)
        y = layer_norm(f"{name}_feed_norm", EPSILON)(x)
        x = add(x, FeedForward(RATIO * width, name=f"{name}_feed")(y), f"{name}_feed", drop)
        if index in OUTPUTS or index == depth - 1:
            maps.append(joined(x, rows, columns))
    return maps
