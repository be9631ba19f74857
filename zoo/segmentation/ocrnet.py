"""OCRNet: a pixel is described by the objects it may belong to. Yuan et al. 2020, https://arxiv.org/abs/1909.11065.

    image (B, H, W, 3) → features → coarse logits (B, h, w, K), pixels (B, h, w, C)
    coarse → soft regions → a description of each class's region (B, K, C) → attention of pixels over them (B, h, w, C)
    pixels and their objects' context → (B, h, w, C) → ×s → logits (B, H, W, K)

The features are HRNet's four maps at the finest resolution, or the last two of a ResNet or a MobileNetV3 that dilates
instead of striding. "coarse" is given as well, enlarged, for the second loss of training (eq. 6).
"""

from __future__ import annotations

import math

import keras
from keras import layers, ops

from zoo.backbones import backbone
from zoo.layers import Upsample, conv, conv_bn, normalize
from zoo.segmentation.unet import MEAN, STD


@keras.saving.register_keras_serializable(__name__)
class Regions(layers.Layer):
    """Means of the pixels (B, h, w, C), weighted by how much each is of a class (B, h, w, K): (B, K, C) (eq. 2)."""

    def call(self, pixels, scores):
        classes = ops.reshape(scores, (ops.shape(scores)[0], -1, scores.shape[-1]))
        weight = ops.softmax(ops.cast(classes, "float32"), 1)  # over all pixels
        flat = ops.reshape(pixels, (ops.shape(pixels)[0], -1, pixels.shape[-1]))
        return ops.matmul(ops.transpose(ops.cast(weight, flat.dtype), (0, 2, 1)), flat)

    def compute_output_shape(self, pixels_shape, scores_shape):
        return (pixels_shape[0], scores_shape[-1], pixels_shape[-1])


@keras.saving.register_keras_serializable(__name__)
class Relate(layers.Layer):
    """What pixels find in regions: queries (B, h, w, C), keys and values (B, K, C) → (B, h, w, C) (eq. 3 and 4)."""

    def call(self, query, key, value):
        flat = ops.reshape(query, (ops.shape(query)[0], -1, query.shape[-1]))
        scores = ops.matmul(flat, ops.transpose(key, (0, 2, 1))) / math.sqrt(query.shape[-1])
        weight = ops.cast(ops.softmax(ops.cast(scores, "float32"), -1), value.dtype)
        return ops.reshape(ops.matmul(weight, value), ops.shape(query))

    def compute_output_shape(self, query_shape, key_shape, value_shape):
        return query_shape


def transform(x, channels: int, depth: int, name: str):
    """`depth` 1×1 convolutions with normalization; of regions (B, K, C), too."""
    line = len(x.shape) == 3
    x = ops.expand_dims(x, 2) if line else x
    for index in range(1, depth + 1):
        x = conv_bn(x, channels, 1, f"{name}{index}")
    return ops.squeeze(x, 2) if line else x


def context(pixels, coarse, channels: int):
    """(B, h, w, C): pixels together with what the objects say that they may belong to (eq. 5)."""
    regions = Regions(name="regions")(pixels, coarse)
    found = Relate(name="relate")(
        transform(pixels, channels, 2, "query"),
        transform(regions, channels, 2, "key"),
        transform(regions, channels, 1, "value"),
    )
    found = transform(found, pixels.shape[-1], 1, "context")
    return conv_bn(layers.Concatenate(name="augmented")([found, pixels]), pixels.shape[-1], 1, "augment")


def maps(image, features: str):
    """Two maps (B, h, w, C) of one size: that of which coarse regions are made, and that of the pixels."""
    if not features.startswith("hrnet"):
        return backbone(features, image, dilated=2)[-2:]
    fine, *others = backbone(features, image)
    parts = [fine] + [Upsample(2**level, False, name=f"map{level + 2}_up")(x) for level, x in enumerate(others, 1)]
    whole = layers.Concatenate(name="maps")(parts)
    return whole, whole


def ocrnet(
    *,
    features: str,
    classes: int,
    channels: int = 512,
    image_size: tuple[int | None, int | None] = (None, None),
    name: str = "ocrnet",
) -> keras.Model:
    """The network from pixels to {"logits": (B, H, W, classes), "coarse": (B, H, W, classes)}.

    Args:
        features: an HRNet, a ResNet or a MobileNetV3 of `zoo.backbones`.
        classes: of a pixel.
        channels: of a pixel's description; attention has half as many.
        image_size: (height, width) in pixels, multiples of 32 with an HRNet, else of 8; None leaves a side free.
        name: of the model.
    """
    image = keras.Input((*image_size, 3), name="image")
    stride, multiple = (4, 32) if features.startswith("hrnet") else (8, 8)
    early, late = maps(normalize(image, MEAN, STD, multiple), features)
    coarse = conv(conv_bn(early, channels, 3, "coarse"), classes, 1, "coarse_scores", bias=True)
    x = context(conv_bn(late, channels, 3, "pixels"), coarse, channels // 2)
    x = layers.Conv2D(classes, 1, name="scores")(layers.Dropout(0.05, name="dropout")(x))

    def large(scores, name: str):
        return Upsample(stride, False, dtype="float32", name=name)(scores)

    return keras.Model(image, {"logits": large(x, "logits"), "coarse": large(coarse, "coarse_large")}, name=name)
