"""DB: text regions by differentiable binarization. Liao et al. 2019, https://arxiv.org/abs/1911.08947.

    image (B, H, W, 3) → C2..C5 (strides 4..32)
      top-down:  P5 = lateral5(C5);  Pi = lateral_i(C_i) + up2(P_{i+1})             (B, H/2^i, W/2^i, channels)
      fused:     [smooth2(P2), up2 smooth3(P3), up4 smooth4(P4), up8 smooth5(P5)]   (B, H/4, W/4, channels)
      two heads: 3×3 convolution, two transposed convolutions                       (B, H, W, 1) logits each

"logits" is the probability that a pixel lies in a shrunken text region, "threshold" the level at which the paper
binarises it; both before the sigmoid. Reading and serving use the first alone; a model of that output drops the other
head. Equal to docTR's `db_*`, which enlarges with aligned corners.
"""

from __future__ import annotations

import keras
from keras import layers

from zoo.backbones import backbone
from zoo.layers import Upsample, conv_bn, norm, normalize

MEAN, STD = (0.798, 0.785, 0.772), (0.264, 0.2749, 0.287)


def levels(features: list, channels: int) -> list:
    """[C2, C3, C4, C5] → four maps (B, H/4, W/4, channels / 4): lateral sums from the top down, smoothed, enlarged."""
    lateral = [conv_bn(x, channels, 1, f"lateral{level}") for level, x in enumerate(features, 2)]
    merged = lateral[-1:]
    for level, x in zip((4, 3, 2), reversed(lateral[:-1]), strict=True):
        larger = Upsample(2, name=f"topdown{level}")(merged[0])
        merged.insert(0, layers.Add(name=f"merge{level}")([larger, x]))
    smooth = [conv_bn(x, channels // 4, 3, f"smooth{level}") for level, x in enumerate(merged, 2)]
    return [Upsample(2**index, name=f"enlarge{index + 2}")(x) if index else x for index, x in enumerate(smooth)]


def pyramid(features: list, channels: int):
    """[C2, C3, C4, C5] → (B, H/4, W/4, channels): the levels joined."""
    return layers.Concatenate(name="fused")(levels(features, channels))


def head(x, name: str, output: str):
    """(B, H/4, W/4, C) → (B, H, W, 1) float32 logits; the last layer is called `output`."""
    filters = x.shape[-1] // 4
    x = conv_bn(x, filters, 3, f"{name}_1")
    x = layers.Conv2DTranspose(filters, 2, 2, use_bias=False, name=f"{name}_2_conv")(x)
    x = layers.ReLU(name=f"{name}_2_relu")(norm(x, f"{name}_2_norm"))
    return layers.Conv2DTranspose(1, 2, 2, dtype="float32", name=output)(x)


def db(
    *,
    features: str,
    channels: int = 256,
    image_size: tuple[int | None, int | None] = (None, None),
    name: str = "db",
) -> keras.Model:
    """The network from a page's pixels to {"logits": (B, H, W, 1), "threshold": (B, H, W, 1)}.

    Args:
        features: a backbone, such as "resnet50" or "mobilenet_v3_large".
        channels: of the pyramid, a multiple of 16.
        image_size: (height, width) in pixels, multiples of 32; None leaves a side free.
        name: of the model.
    """
    image = keras.Input((*image_size, 3), name="image")
    fused = pyramid(backbone(features, normalize(image, MEAN, STD, 32)), channels)
    outputs = {"logits": head(fused, "region", "logits"), "threshold": head(fused, "border", "threshold")}
    return keras.Model(image, outputs, name=name)
