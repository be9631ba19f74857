"""SVTR: three stages of mixing that shrink in height alone. Du et al. 2022, https://arxiv.org/abs/2205.00159.

    image (B, 32, W, 3) → two convolutions /4, positions (B, 8, W/4, C) → mixing blocks, merge → (B, 4, W/4, 2C)
                        → mixing blocks, merge → (B, 2, W/4, 4C) → mixing blocks → mean of each column (B, T = W/4, C')
                        → logits (B, T, K), the last class being CTC's blank

The first half of the blocks looks around each place (strokes), the second everywhere (the text). The width is fixed:
each place has a learnt code.
"""

from __future__ import annotations

from typing import NamedTuple

import keras
import numpy as np
from keras import layers, ops

from zoo.attention import Attention, FeedForward, gelu, layer_norm
from zoo.charset import Charset
from zoo.layers import conv, norm, normalize
from zoo.recognition.crnn import MEAN, STD


class Size(NamedTuple):
    """Channels, blocks and heads of each of the three stages, blocks that look around, channels of a step."""

    widths: tuple[int, int, int]
    depths: tuple[int, int, int]
    heads: tuple[int, int, int]
    local: int
    output: int


SIZES = {  # table 1 of the paper
    "svtr_tiny": Size((64, 128, 256), (3, 6, 3), (2, 4, 8), 6, 192),
    "svtr_small": Size((96, 192, 256), (3, 6, 6), (3, 6, 8), 8, 192),
    "svtr_base": Size((128, 256, 384), (3, 6, 9), (4, 8, 12), 8, 256),
    "svtr_test": Size((8, 16, 16), (1, 2, 1), (2, 4, 2), 2, 12),
}
WINDOW = (7, 11)  # rows and columns around a place that local mixing sees (section 3.3)
RATIO = 4  # the feed-forward layers are so many times wider
DROP = 0.1  # part of the samples that skip the last block in training; the first is always taken


def around(height: int, width: int) -> np.ndarray:
    """(S, S) bool, S = height · width: the places that each place of a map sees in `WINDOW`."""
    row, column = np.divmod(np.arange(height * width), width)
    near = np.abs(row[:, None] - row) <= WINDOW[0] // 2
    return near & (np.abs(column[:, None] - column) <= WINDOW[1] // 2)


@keras.saving.register_keras_serializable(__name__)
class Mixing(Attention):
    """Attention of the places (B, S, C) of a map over those around, or over all.

    Args:
        heads, width: as of `Attention`.
        grid: height and width of the map where a place sees `WINDOW`; () where it sees all.
    """

    def __init__(self, heads: int, width: int, grid: tuple[int, ...] = (), **kwargs):
        super().__init__(heads, width, **kwargs)
        self.grid = tuple(grid)

    def build(self, shape):
        super().build(shape)

    def call(self, x):
        return self.ask(x, self.memory(x), around(*self.grid) if self.grid else None)

    def compute_output_shape(self, shape):
        return shape

    def get_config(self):
        return super().get_config() | {"grid": self.grid}


@keras.saving.register_keras_serializable(__name__)
class Positions(layers.Layer):
    """Adds a learnt code of each place to a sequence (B, S, C)."""

    def build(self, shape):
        small = keras.initializers.TruncatedNormal(stddev=0.02)
        self.codes = self.add_weight(shape=(1, *shape[1:]), initializer=small, name="codes")

    def call(self, x):
        return x + ops.cast(self.codes, x.dtype)

    def compute_output_shape(self, shape):
        return shape


def add(x, y, name: str, drop: float):
    """x + y, or x alone for some samples in training (stochastic depth)."""
    if drop:
        y = layers.Dropout(drop, noise_shape=(None, 1, 1), name=f"{name}_drop")(y)
    return layers.Add(name=f"{name}_add")([x, y])


def block(x, heads: int, grid: tuple[int, ...], name: str, drop: float):
    """Normalise, mix places, add; normalise, feed forward, add (figure 5)."""
    y = Mixing(heads, x.shape[-1], grid, name=f"{name}_mixing")(layer_norm(f"{name}_mixing_norm")(x))
    x = add(x, y, f"{name}_mixing", drop)
    y = FeedForward(RATIO * x.shape[-1], name=f"{name}_feed")(layer_norm(f"{name}_feed_norm")(x))
    return add(x, y, f"{name}_feed", drop)


def embed(image, width: int):
    """(B, H, W, 3) → (B, H/4, W/4, width) by two convolutions that overlap (figure 3b)."""
    x = image
    for index, filters in ((1, width // 2), (2, width)):
        x = norm(conv(x, filters, 3, f"stem{index}_conv", stride=2), f"stem{index}_norm")
        x = layers.Activation(gelu, name=f"stem{index}_gelu")(x)
    return x


def svtr(
    *,
    size: str = "svtr_tiny",
    charset: str = "french",
    image_size: tuple[int, int] = (32, 128),
    name: str = "svtr",
) -> keras.Model:
    """The network from a strip's pixels to {"logits": (B, W/4, characters + 1)}.

    Args:
        size: a key of `SIZES`.
        charset: name of an alphabet in `zoo.charset`, or the characters themselves, in the order of the classes.
        image_size: (height, width) in pixels, multiples of 16 and 4.
        name: of the model.

    Raises:
        ValueError: there is no such size, or the image's does not divide.
    """
    if size not in SIZES:
        raise ValueError(f"no SVTR is named {size!r}; there are: {', '.join(SIZES)}")
    if None in image_size or image_size[0] % 16 or image_size[1] % 4:
        raise ValueError(f"an image of {tuple(image_size)} pixels does not divide by 16 rows and 4 columns")
    chosen = SIZES[size]
    drops = np.linspace(0, DROP, sum(chosen.depths)).tolist()
    image = keras.Input((*image_size, 3), name="image")
    x, number = embed(normalize(image, MEAN, STD), chosen.widths[0]), 0
    for stage, (filters, depth, heads) in enumerate(zip(*chosen[:3], strict=True), 1):
        if stage > 1:  # merging: half the height (section 3.4)
            x = conv(x, filters, 3, f"stage{stage}_merge", stride=(2, 1), bias=True)
            x = layer_norm(f"stage{stage}_merge_norm")(x)
        _, rows, columns, _ = x.shape
        x = layers.Reshape((rows * columns, filters), name=f"stage{stage}_sequence")(x)
        x = Positions(name="positions")(x) if stage == 1 else x
        for index in range(1, depth + 1):
            grid = (rows, columns) if number < chosen.local else ()
            x, number = block(x, heads, grid, f"stage{stage}_block{index}", drops[number]), number + 1
        x = layers.Reshape((rows, columns, filters), name=f"stage{stage}_map")(x)
    x = ops.mean(layer_norm("columns_norm")(x), 1)  # combining: (B, W/4, C)
    x = layers.Dense(chosen.output, "hard_silu", name="columns")(x)
    x = layers.Dropout(0.1, name="columns_dropout")(x)
    logits = layers.Dense(len(Charset(charset)) + 1, dtype="float32", name="logits")(x)
    return keras.Model(image, {"logits": logits}, name=name)
