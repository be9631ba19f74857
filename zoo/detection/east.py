"""EAST: a rotated rectangle for every pixel of text. Zhou et al. 2017, https://arxiv.org/abs/1704.03155.

    image (B, H, W, 3) → C2..C5 (strides 4..32)
      merging:  M4 = merge(up2(C5), C4);  M3 = merge(up2(M4), C3);  M2 = merge(up2(M3), C2)     (B, H/4, W/4, 32)
      heads:    1×1 convolutions of a 3×3 one            (B, H/4, W/4, 1) logits, (B, H/4, W/4, 5) geometry

"logits" is the probability that a pixel lies in a shrunken word, before the sigmoid. "geometry" holds the distances to
the upper, right, lower and left side of its rectangle in pixels of the image, and the angle by which it is turned
clockwise in radians, within ±π/4.
"""

from __future__ import annotations

import math

import keras
from keras import layers, ops

from zoo.backbones import backbone
from zoo.layers import IMAGENET, Upsample, conv_bn, normalize

UNIT = 8.0  # pixels: a distance where the head gives 0
LARGEST = 5.0  # of the head for a distance: e⁵ · 8 = 1187 pixels


def merging(features: list, channels: tuple[int, ...]):
    """[C2, C3, C4, C5] → (B, H/4, W/4, C): each enlarged, joined with the one before and reduced (figure 3)."""
    x = features[-1]
    for level, feature, filters in zip((4, 3, 2), reversed(features[:-1]), channels, strict=True):
        x = Upsample(2, name=f"enlarge{level}")(x)
        x = layers.Concatenate(name=f"join{level}")([x, feature])
        x = conv_bn(x, filters, 1, f"merge{level}_1")
        x = conv_bn(x, filters, 3, f"merge{level}_2")
    return conv_bn(x, channels[-1], 3, "merged")


def east(
    *,
    features: str,
    channels: tuple[int, ...] = (128, 64, 32),
    image_size: tuple[int | None, int | None] = (None, None),
    name: str = "east",
) -> keras.Model:
    """The network from a page's pixels to {"logits": (B, H/4, W/4, 1), "geometry": (B, H/4, W/4, 5)}.

    Args:
        features: a backbone, such as "resnet50".
        channels: of the three steps of merging, from the coarsest on.
        image_size: (height, width) in pixels, multiples of 32; None leaves a side free.
        name: of the model.
    """
    image = keras.Input((*image_size, 3), name="image")
    x = merging(backbone(features, normalize(image, *IMAGENET, 32)), tuple(channels))
    logits = layers.Conv2D(1, 1, dtype="float32", name="logits")(x)
    distances = layers.Conv2D(4, 1, dtype="float32", name="distances")(x)
    # Words are of all sizes: an exponential makes a step of the head the same share of each.
    distances = UNIT * ops.exp(ops.minimum(distances, LARGEST))
    turn = layers.Conv2D(1, 1, dtype="float32", name="turn")(x)
    turn = (ops.sigmoid(turn) - 0.5) * (math.pi / 2)
    geometry = layers.Concatenate(dtype="float32", name="geometry")([distances, turn])
    return keras.Model(image, {"logits": logits, "geometry": geometry}, name=name)
