"""ResNet-31: residual blocks for strips. Li et al. 2018, https://arxiv.org/abs/1811.00751, table 1.

    image (B, H, W, 3) → two convolutions, pool /2 → 4 stages: residual blocks, convolution, pool
                       → (B, H/8, W/4, 512); the last two stages do not pool, the second one halves the height only

Equal to docTR's `resnet31`, and with `context=True` to its `magc_resnet31`, the trunk of MASTER: there each stage's
blocks are followed by a global context of several heads. Lu et al. 2019, https://arxiv.org/abs/1910.02562, section 3.2.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import keras
from keras import layers, ops

from zoo.backbones.resnet import residual
from zoo.layers import conv_bn


class Stage(NamedTuple):
    depth: int  # residual blocks
    filters: int
    pool: tuple[int, int] | None


SIZES = {
    "resnet31": (Stage(1, 256, (2, 2)), Stage(2, 256, (2, 1)), Stage(5, 512, None), Stage(3, 512, None)),
    "resnet31_test": (Stage(1, 16, (2, 2)), Stage(1, 16, (2, 1)), Stage(1, 32, None), Stage(1, 32, None)),
}
HEADS = 8  # of the global context
RATIO = 16  # by which its bottleneck is narrower


@keras.saving.register_keras_serializable(__name__)
class Pooling(layers.Layer):
    """Means of a map (B, H, W, C) over all places, weighed by a softmax for each head of channels: (B, 1, 1, C).

    All heads share the weights that make the softmax's scores.
    """

    def __init__(self, heads: int, **kwargs):
        super().__init__(**kwargs)
        self.heads = heads

    def build(self, shape):
        self.scores = layers.Conv2D(1, 1, name="scores", dtype=self.dtype_policy)
        self.scores.build((None, None, None, shape[-1] // self.heads))

    def call(self, x):
        channels = x.shape[-1] // self.heads
        x = ops.reshape(x, (ops.shape(x)[0], -1, self.heads, channels))  # (B, H·W, heads, C / heads)
        weight = ops.softmax(self.scores(x) / math.sqrt(channels), 1)
        return ops.reshape(ops.sum(weight * x, 1), (-1, 1, 1, self.heads * channels))

    def compute_output_shape(self, shape):
        return (shape[0], 1, 1, shape[-1])

    def get_config(self):
        return super().get_config() | {"heads": self.heads}


def global_context(x, name: str):
    """x (B, H, W, C) and what a bottleneck makes of its weighed means, added everywhere."""
    channels = x.shape[-1]
    context = Pooling(HEADS, name=f"{name}_pool")(x)
    context = layers.Conv2D(channels // RATIO, 1, name=f"{name}_reduce")(context)
    context = layers.LayerNormalization(axis=(1, 2, 3), epsilon=1e-5, name=f"{name}_norm")(context)
    context = layers.ReLU(name=f"{name}_relu")(context)
    context = layers.Conv2D(channels, 1, name=f"{name}_expand")(context)
    return layers.Add(name=f"{name}_add")([x, context])


def resnet31(image, size: str = "resnet31", *, context: bool = False, rectified: bool = True):
    """(B, H/8, W/4, C) of a normalised image (B, H, W, 3).

    Args:
        image: pixels of about unit variance.
        size: a key of `SIZES`.
        context: whether each stage has a global context.
        rectified: whether a ReLU follows the stem's second convolution. docTR's recognizers lost it: the classifier
            uses one ReLU in both places, and what takes its features keeps each layer once. Their weights know it so.

    Raises:
        ValueError: there is no such size.
    """
    if size not in SIZES:
        raise ValueError(f"no ResNet-31 is named {size!r}; there are: {', '.join(SIZES)}")
    stem = SIZES[size][0].filters // 4
    x = conv_bn(image, stem, 3, "stem1")
    x = conv_bn(x, 2 * stem, 3, "stem2", activation="relu" if rectified else None)
    x = layers.MaxPooling2D(2, name="stem_pool")(x)
    for index, (depth, filters, pool) in enumerate(SIZES[size], 1):
        for number in range(1, depth + 1):
            x = residual(x, "basic", filters, 1, f"stage{index}_block{number}")
        if context:
            x = global_context(x, f"stage{index}_context")
        x = conv_bn(x, filters, 3, f"stage{index}")
        if pool:
            x = layers.MaxPooling2D(pool, name=f"stage{index}_pool")(x)
    return x
