"""TableCenterNet: cells of a table by their centres, corners, and places in rows and columns. Xiao and Yang 2025.

    image (B, H, W, 3) → StarNet C2..C5 → up and aggregate, by deformable convolutions → (B, H/4, W/4, 32)
                       → logits of centres and corners (B, H/4, W/4, 2), and what stands there:
                         offset (…, 2), corners (…, 8) of a centre, centres (…, 8) around a corner,
                         logical place (…, 2), span (…, 2)

https://arxiv.org/abs/2504.17522. Equal to docTR's `tablecenternet`. The aggregation is that of Yu et al. 2017,
https://arxiv.org/abs/1707.06484, figure 3, with deformable convolutions (Zhou et al. 2019,
https://arxiv.org/abs/1904.07850, section 5).
"""

from __future__ import annotations

import keras
from keras import layers, ops

from zoo.backbones import backbone
from zoo.detection.db import MEAN, STD
from zoo.layers import conv, norm, normalize
from zoo.sampling import DeformConv

HEADS = {"logits": 2, "offset": 2, "corners": 8, "centres": 8, "logical": 2, "span": 2}
RARE = -2.19  # logit of a peak when training begins: one pixel in ten would be one
USED = 3  # maps that the last aggregation takes, from the finest on


@keras.saving.register_keras_serializable(__name__)
class Bias(layers.Layer):
    """A learnt number for each channel, added."""

    def build(self, shape):
        self.bias = self.add_weight(shape=(shape[-1],), initializer="zeros", name="bias")

    def call(self, x):
        return x + ops.cast(self.bias, x.dtype)

    def compute_output_shape(self, shape):
        return shape


@keras.saving.register_keras_serializable(__name__)
class Enlarge(layers.Layer):
    """A transposed convolution of each channel by itself: (B, H, W, C) → (B, factor·H, factor·W, C).

    The window has twice the factor's pixels; zeros are put between those of the map.
    """

    def __init__(self, factor: int, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def build(self, shape):
        side = 2 * self.factor
        self.kernel = self.add_weight(shape=(side, side, shape[-1], 1), initializer="he_normal", name="kernel")

    def call(self, x):
        factor, (_, height, width, channels) = self.factor, ops.shape(x)
        gaps = ((0, 0), (0, 0), (0, factor - 1), (0, 0))  # one axis at a time: LiteRT pads no more than five
        x = ops.pad(ops.reshape(x, (-1, height, 1, width * channels)), gaps)
        x = ops.pad(ops.reshape(x, (-1, width, 1, channels)), gaps)
        x = ops.reshape(x, (-1, height * factor, width * factor, channels))
        after = factor // 2
        edge = (2 * factor - 1 - after, after)
        x = ops.pad(x, ((0, 0), edge, edge, (0, 0)))
        return ops.depthwise_conv(x, ops.cast(ops.flip(self.kernel, (0, 1)), x.dtype), padding="valid")

    def compute_output_shape(self, shape):
        sides = (None if side is None else side * self.factor for side in shape[1:3])
        return (shape[0], *sides, shape[3])

    def get_config(self):
        return super().get_config() | {"factor": self.factor}


def deformable(x, filters: int, name: str):
    """A deformable convolution 3×3, normalization, ReLU: (B, H, W, C) → (B, H, W, filters)."""
    look = layers.Conv2D(27, 3, padding="same", kernel_initializer="zeros", name=f"{name}_look")(x)
    weights = layers.Activation("sigmoid", name=f"{name}_weight")(look[..., 18:])
    x = DeformConv(filters, 3, name=f"{name}_conv")([x, look[..., :18], weights])
    return layers.ReLU(name=f"{name}_relu")(norm(Bias(name=f"{name}_bias")(x), f"{name}_norm"))


def aggregate(maps: list, filters: int, factors: list[int], name: str) -> list:
    """Each map but the first at the resolution of the first, joined with the one before it."""
    result = [maps[0]]
    for index, (x, factor) in enumerate(zip(maps[1:], factors, strict=True), 1):
        x = Enlarge(factor, name=f"{name}_up{index}")(deformable(x, filters, f"{name}_project{index}"))
        x = layers.Add(name=f"{name}_add{index}")([result[-1], x])
        result.append(deformable(x, filters, f"{name}_node{index}"))
    return result


def fuse(maps: list):
    """(B, H/4, W/4, C) from maps at strides 4, 8, 16, 32: ever more of them are brought to ever finer ones."""
    levels: list = []
    for step in range(1, len(maps)):
        start = len(maps) - 1 - step
        maps = maps[:start] + aggregate(maps[start:], maps[start].shape[-1], [2] * step, f"step{step}")
        levels.insert(0, maps[-1])
    factors = [2**index for index in range(1, USED)]
    return aggregate(levels[:USED], levels[0].shape[-1], factors, "last")[-1]


def tablecenternet(
    *,
    features: str = "starnet_s3",
    channels: int = 256,
    image_size: tuple[int | None, int | None] = (None, None),
    name: str = "tablecenternet",
) -> keras.Model:
    """The network from pixels to the maps `HEADS`, each (B, H/4, W/4, …).

    Args:
        features: a backbone.
        channels: of the hidden layer before each map.
        image_size: (height, width) in pixels, multiples of 32; None leaves a side free.
        name: of the model.
    """
    image = keras.Input((*image_size, 3), name="image")
    x, outputs = fuse(backbone(features, normalize(image, MEAN, STD, 32))), {}
    for head, width in HEADS.items():
        hidden = layers.ReLU(name=f"{head}_relu")(conv(x, channels, 3, f"{head}_hidden", bias=True))
        start = keras.initializers.Constant(RARE if head == "logits" else 0.0)
        outputs[head] = layers.Conv2D(width, 1, bias_initializer=start, dtype="float32", name=head)(hidden)
    return keras.Model(image, outputs, name=name)
