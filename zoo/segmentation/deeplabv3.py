"""DeepLabV3: an atrous pyramid over a dense map. Chen et al. 2017, https://arxiv.org/abs/1706.05587.

    image (B, H, W, 3) → backbone whose last stages dilate instead of striding (B, H/s, W/s, F)
                       → 1×1, three dilated 3×3, mean of the map, side by side (B, H/s, W/s, 5·C)
                       → project, convolution → (B, H/s, W/s, K) → ×s → logits (B, H, W, K)

Section 3.3 and figure 5; s = 8 by ResNet-50 (F = 2048) and 16 by MobileNetV3-Large (F = 960), both with the rates that
torchvision's `deeplabv3_resnet50` and `deeplabv3_mobilenet_v3_large` have, whose heads these are, too.
"""

from __future__ import annotations

import keras
from keras import layers, ops

from zoo.backbones import backbone
from zoo.layers import Upsample, conv_bn, normalize
from zoo.segmentation.unet import MEAN, STD

RATES = (12, 24, 36)


@keras.saving.register_keras_serializable(__name__)
class Spread(layers.Layer):
    """What is said of a whole map (B, 1, 1, C), at every place of another (B, h, w, C')."""

    def call(self, whole, places):
        batch, height, width, _ = ops.shape(places)
        return ops.broadcast_to(whole, (batch, height, width, whole.shape[-1]))

    def compute_output_shape(self, whole_shape, places_shape):
        return (*places_shape[:-1], whole_shape[-1])


def pyramid(x, channels: int, rates: tuple[int, ...]):
    """(B, h, w, C) → (B, h, w, channels): what lies here, around at several distances, and in the whole map."""
    parts = [conv_bn(x, channels, 1, "near")]
    parts += [conv_bn(x, channels, 3, f"rate{rate}", dilation=rate) for rate in rates]
    mean = layers.GlobalAveragePooling2D(keepdims=True, name="whole_mean")(x)
    mean = conv_bn(mean, channels, 1, "whole")
    parts.append(Spread(name="whole_spread")(mean, x))
    return conv_bn(layers.Concatenate(name="pyramid")(parts), channels, 1, "project")


def deeplabv3(
    *,
    features: str,
    classes: int,
    dilated: int = 2,
    channels: int = 256,
    rates: tuple[int, ...] = RATES,
    dropout: float = 0.5,
    image_size: tuple[int | None, int | None] = (None, None),
    name: str = "deeplabv3",
) -> keras.Model:
    """The network from pixels to {"logits": (B, H, W, classes)}.

    Args:
        features: a ResNet or a MobileNetV3 of `zoo.backbones`.
        classes: of a pixel.
        dilated: how many stages of it dilate: s is 32 / 2^dilated.
        channels: of each part of the pyramid.
        rates: dilations of its convolutions, in pixels of the map.
        dropout: share of the pyramid's values that training sets to 0.
        image_size: (height, width) in pixels, multiples of s; None leaves a side free.
        name: of the model.
    """
    image = keras.Input((*image_size, 3), name="image")
    x = backbone(features, normalize(image, MEAN, STD, 32 >> dilated), dilated=dilated)[-1]
    x = layers.Dropout(dropout, name="dropout")(pyramid(x, channels, rates))
    x = layers.Conv2D(classes, 1, name="scores")(conv_bn(x, channels, 3, "decide"))
    logits = Upsample(32 >> dilated, False, dtype="float32", name="logits")(x)
    return keras.Model(image, {"logits": logits}, name=name)
