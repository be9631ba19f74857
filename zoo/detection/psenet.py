"""PSENet: kernels of words at several sizes, which part words that touch. Wang et al. 2019,
https://arxiv.org/abs/1903.12473.

    image (B, H, W, 3) → C2..C5 (strides 4..32)
      pyramid:  P2..P5 of 256 channels, all enlarged to P2's size and joined      (B, H/4, W/4, 4·256)
      head:     3×3 convolution, 1×1 convolution, enlarged by 4                   (B, H, W, n) logits

"logits" is the probability that a pixel lies in a word's kernel, before the sigmoid: n kernels, from the smallest to
the whole word.
"""

from __future__ import annotations

import keras
from keras import layers

from zoo.backbones import backbone
from zoo.layers import IMAGENET, Upsample, conv_bn, fpn, normalize


def psenet(
    *,
    features: str,
    kernels: int = 7,
    channels: int = 256,
    image_size: tuple[int | None, int | None] = (None, None),
    name: str = "psenet",
) -> keras.Model:
    """The network from a page's pixels to {"logits": (B, H, W, kernels)}.

    Args:
        features: a backbone, such as "resnet50".
        kernels: number of sizes, the whole word among them.
        channels: of the pyramid.
        image_size: (height, width) in pixels, multiples of 32; None leaves a side free.
        name: of the model.
    """
    image = keras.Input((*image_size, 3), name="image")
    levels = fpn(backbone(features, normalize(image, *IMAGENET, 32)), channels)
    enlarged = [
        Upsample(2**index, aligned=False, name=f"enlarge{index + 2}")(x) if index else x
        for index, x in enumerate(levels)
    ]
    x = conv_bn(layers.Concatenate(name="fused")(enlarged), channels, 3, "head")
    x = layers.Conv2D(kernels, 1, dtype="float32", name="kernels")(x)
    logits = Upsample(4, aligned=False, dtype="float32", name="logits")(x)
    return keras.Model(image, {"logits": logits}, name=name)
