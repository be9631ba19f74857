"""VIP: a vision transformer that keeps an image's columns. Cheng et al. 2024, https://arxiv.org/abs/2401.10110.

    image (B, H, W, 3) → two convolutions /4 → local blocks (B, H/4, W/4, C) → mixed blocks (B, H/8, W/4, 2C)
                       → global blocks (B, H/16, W/4, 4C) → mean of each column (B, W/4, C')

Equal to docTR's `vip_tiny` and `vip_base`. Local blocks look along rows and columns, global ones everywhere; in mixed
blocks half of the channels does the one and half the other. W is a multiple of 4 times the widest stripe.
"""

from __future__ import annotations

from typing import NamedTuple

import keras
import numpy as np
from keras import layers, ops

from zoo.attention import FeedForward, attend, gelu, layer_norm
from zoo.layers import conv, depthwise_conv, norm


class Size(NamedTuple):
    """Of the three stages each: channels, blocks, heads, how much wider feed-forward layers are, pixels of a stripe."""

    widths: tuple[int, int, int]
    depths: tuple[int, int, int]
    heads: tuple[int, int, int]
    ratios: tuple[int, int, int]
    stripes: tuple[int, int, int]
    output: int  # channels of the columns


SIZES = {
    "vip_tiny": Size((64, 128, 256), (3, 3, 3), (2, 4, 8), (3, 4, 4), (1, 2, 4), 192),
    "vip_base": Size((128, 256, 384), (3, 6, 9), (4, 8, 12), (4, 4, 4), (1, 2, 4), 256),
    "vip_test": Size((8, 16, 16), (1, 2, 1), (2, 4, 2), (2, 2, 2), (1, 2, 4), 12),
}
REDUCTION = 2  # in which the global half of mixed blocks sees the map
DROP = 0.1  # part of the samples that skip the last block in training; the first is always taken


def heads_of(x, count: int):
    """(B, …, C) → (B, count, S, C / count)."""
    x = ops.reshape(x, (ops.shape(x)[0], -1, count, x.shape[-1] // count))
    return ops.transpose(x, (0, 2, 1, 3))


@keras.saving.register_keras_serializable(__name__)
class MapAttention(layers.Layer):
    """Attention of each place of a map over all places of another: (B, H, W, C), twice (B, h, w, C) → (B, H, W, C)."""

    def __init__(self, heads: int, **kwargs):
        super().__init__(**kwargs)
        self.heads = heads

    def call(self, query, key, value):
        found = attend(*(heads_of(x, self.heads) for x in (query, key, value)))
        return ops.reshape(ops.transpose(found, (0, 2, 1, 3)), ops.shape(query))

    def compute_output_shape(self, query_shape, key_shape, value_shape):
        return query_shape

    def get_config(self):
        return super().get_config() | {"heads": self.heads}


@keras.saving.register_keras_serializable(__name__)
class StripeAttention(layers.Layer):
    """Attention within stripes of a map, plus a convolution of the values there: three (B, H, W, C) → (B, H, W, C).

    Args:
        heads: among which the channels are shared.
        stripe: pixels across a stripe.
        upright: stripes run from top to bottom, else from left to right.
    """

    def __init__(self, heads: int, stripe: int, upright: bool, **kwargs):
        super().__init__(**kwargs)
        self.heads, self.stripe, self.upright = heads, stripe, upright
        self.local = layers.DepthwiseConv2D(3, padding="same", name="local", dtype=self.dtype_policy)

    def build(self, query_shape, key_shape, value_shape):
        self.local.build(query_shape)

    def call(self, query, key, value):
        batch, height, width, channels = ops.shape(query)
        tall, wide = (height, self.stripe) if self.upright else (self.stripe, width)
        grid = (batch, height // tall, width // wide)

        def cut(x):
            x = ops.reshape(x, (grid[0], grid[1], tall, grid[2], wide, channels))
            return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, tall, wide, channels))

        query, key, value = cut(query), cut(key), cut(value)
        found = attend(*(heads_of(x, self.heads) for x in (query, key, value)))
        found = ops.reshape(ops.transpose(found, (0, 2, 1, 3)), ops.shape(value)) + self.local(value)
        found = ops.reshape(found, (*grid, tall, wide, channels))
        return ops.reshape(ops.transpose(found, (0, 1, 3, 2, 4, 5)), (batch, height, width, channels))

    def compute_output_shape(self, query_shape, key_shape, value_shape):
        return query_shape

    def get_config(self):
        own = {"heads": self.heads, "stripe": self.stripe, "upright": self.upright}
        return super().get_config() | own


def add(x, y, name: str, drop: float):
    """x + y, or x alone for some samples in training (stochastic depth)."""
    if drop:
        y = layers.Dropout(drop, noise_shape=(None, 1, 1, 1), name=f"{name}_drop")(y)
    return layers.Add(name=f"{name}_add")([x, y])


def block(x, mixer, ratio: int, name: str, drop: float):
    """Normalise, mix places, add; normalise, feed forward, add."""
    x = add(x, mixer(layer_norm(f"{name}_mixer_norm")(x), name), f"{name}_mixer", drop)
    y = FeedForward(ratio * x.shape[-1], name=f"{name}_feed")(layer_norm(f"{name}_feed_norm")(x))
    return add(x, y, f"{name}_feed", drop)


def cross_shaped(heads: int, stripe: int):
    """A mixer: half of the channels attends within columns, half within rows."""

    def mix(x, name: str):
        width = x.shape[-1]
        parts = ops.split(layers.Dense(3 * width, name=f"{name}_qkv")(x), 6, -1)
        found = [
            StripeAttention(heads // 2, stripe, upright, name=f"{name}_{kind}")(*parts[half::2])
            for half, (kind, upright) in enumerate((("columns", True), ("rows", False)))
        ]
        found = layers.Concatenate(name=f"{name}_both")(found)
        return layers.Dense(width, name=f"{name}_project")(found)

    return mix


def everywhere(heads: int):
    """A mixer: each place attends to all."""

    def mix(x, name: str):
        parts = ops.split(layers.Dense(3 * x.shape[-1], name=f"{name}_qkv")(x), 3, -1)
        return layers.Dense(x.shape[-1], name=f"{name}_project")(MapAttention(heads, name=f"{name}_all")(*parts))

    return mix


def reduced(heads: int):
    """A mixer: each place attends to a smaller map, of overlapping windows."""

    def mix(x, name: str):
        width = x.shape[-1]
        query = conv(x, width, 1, f"{name}_query", bias=True)
        small = depthwise_conv(x, REDUCTION + 3, f"{name}_reduce_conv", stride=(REDUCTION, REDUCTION))
        small = layers.Activation(gelu, name=f"{name}_reduce_gelu")(norm(small, f"{name}_reduce_norm"))
        small = norm(depthwise_conv(small, 1, f"{name}_scale_conv"), f"{name}_scale_norm")
        local = layers.DepthwiseConv2D(3, padding="same", name=f"{name}_local")(small)
        small = layers.Add(name=f"{name}_local_add")([local, small])
        key, value = ops.split(conv(small, 2 * width, 1, f"{name}_memory", bias=True), 2, -1)
        return MapAttention(heads, name=f"{name}_all")(query, key, value)

    return mix


def exchange(width: int, name: str):
    """A function that mixes the channels of a map, by layers that all calls share."""
    inner = max(16, width // 8)
    parts = [
        layers.DepthwiseConv2D(3, padding="same", name=f"{name}_local"),
        layers.Activation(gelu, name=f"{name}_local_gelu"),
        layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_local_norm"),
        layers.Conv2D(inner, 1, name=f"{name}_reduce"),
        layers.Activation(gelu, name=f"{name}_reduce_gelu"),
        layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_reduce_norm"),
        layers.Conv2D(width, 1, name=f"{name}_expand"),
        layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_expand_norm"),
    ]

    def mix(x):
        for part in parts:
            x = part(x)
        return x

    return mix


def shorten(x, filters: int, name: str):
    """(B, H, W, C) → (B, H/2, W, filters)."""
    x = layers.ZeroPadding2D(1, name=f"{name}_pad")(x)
    x = layers.Conv2D(filters, 3, (2, 1), kernel_initializer="he_normal", name=f"{name}_conv")(x)
    return layer_norm(f"{name}_norm")(x)


def mixed(x, size: Size, drops):
    """The second stage: halves of the channels go through a local and a global block, then exchange what they found."""
    heads, ratio = size.heads[1], size.ratios[1]
    mix = exchange(size.widths[1], "stage2_exchange")
    for index, drop in enumerate(drops, 1):
        name = f"stage2_block{index}"
        near, far = ops.split(x, 2, -1)
        near = block(near, cross_shaped(heads, size.stripes[1]), ratio, f"{name}_local", drop)
        far = block(far, reduced(heads // 2), ratio, f"{name}_global", drop)
        x = layers.Concatenate(name=f"{name}_both")([near, far])
        x = layers.Add(name=f"{name}_add")([mix(x), x])
    return x


def vip(image, size: str):
    """(B, W/4, C') of a normalised image (B, H, W, 3); H is known and a multiple of 16.

    Raises:
        ValueError: there is no such size.
    """
    if size not in SIZES:
        raise ValueError(f"no VIP is named {size!r}; there are: {', '.join(SIZES)}")
    chosen = SIZES[size]
    one, two, _ = chosen.depths
    drops = np.linspace(0, DROP, sum(chosen.depths)).tolist()
    x = image
    for index, filters in ((1, chosen.widths[0] // 2), (2, chosen.widths[0])):
        x = norm(conv(x, filters, 3, f"stem{index}_conv", stride=2), f"stem{index}_norm")
        x = layers.Activation(gelu, name=f"stem{index}_gelu")(x)
    for index, drop in enumerate(drops[:one], 1):
        mixer = cross_shaped(chosen.heads[0], chosen.stripes[0])
        x = block(x, mixer, chosen.ratios[0], f"stage1_block{index}", drop)
    x = mixed(shorten(x, chosen.widths[1], "stage1_shorten"), chosen, drops[one : one + two])
    x = shorten(x, chosen.widths[2], "stage2_shorten")
    for index, drop in enumerate(drops[one + two :], 1):
        x = block(x, everywhere(chosen.heads[2]), chosen.ratios[2], f"stage3_block{index}", drop)
    x = ops.mean(layer_norm("columns_norm", 1e-6)(x), 1)  # (B, W/4, C)
    x = layers.Dense(chosen.output, "hard_silu", use_bias=False, name="columns")(x)
    return layers.Dropout(0.1, name="columns_dropout")(x)
