"""FAST: text kernels by a searched, plain network. Chen et al. 2021, https://arxiv.org/abs/2111.02394.

    image (B, H, W, 3) → C2..C5 (strides 4..32)
      neck:  a block reduces each to C channels; all are enlarged to C2's size and joined      (B, H/4, W/4, 4·C)
      head:  block, dropout, 1×1 convolution, enlarged by 4                                    (B, H, W, 1) "kernel"
             the largest value around each pixel                                               (B, H, W, 1) "logits"

"kernel" is the probability that a pixel lies in a shrunken text region, "logits" the same for that region dilated,
which undoes a part of the shrinking; both before the sigmoid. Reading and serving use the second alone. Equal to
docTR's `fast_*`.

`reparameterize` turns a trained network into one with a single convolution for each block.
"""

from __future__ import annotations

import keras
from keras import layers

from zoo.backbones import backbone
from zoo.backbones.textnet import block, reparameterize
from zoo.layers import Upsample, normalize

__all__ = ["fast", "reparameterize"]

MEAN, STD = (0.798, 0.785, 0.772), (0.264, 0.2749, 0.287)


def enlarge(x, factor: int, name: str):
    """(B, H, W, C) → (B, factor·H, factor·W, C), bilinear, with the centres of pixels aligned."""
    return Upsample(factor, aligned=False, name=name)(x)


def neck(features: list, channels: int):
    """[C2, C3, C4, C5] → (B, H/4, W/4, 4·channels)."""
    reduced = [block(x, channels, 3, f"neck{level}") for level, x in enumerate(features, 2)]
    enlarged = [enlarge(x, 2**index, f"enlarge{index + 2}") if index else x for index, x in enumerate(reduced)]
    return layers.Concatenate(name="fused")(enlarged)


def fast(
    *,
    features: str,
    dilation: int = 3,
    dropout: float = 0.1,
    image_size: tuple[int | None, int | None] = (None, None),
    name: str = "fast",
) -> keras.Model:
    """The network from a page's pixels to {"logits": (B, H, W, 1), "kernel": (B, H, W, 1)}.

    Args:
        features: a backbone, such as "textnet_base".
        dilation: side in pixels of the window whose largest value counts, odd.
        dropout: share of the head's values that training sets to 0.
        image_size: (height, width) in pixels, multiples of 32; None leaves a side free.
        name: of the model.
    """
    image = keras.Input((*image_size, 3), name="image")
    pyramid = backbone(features, normalize(image, MEAN, STD, 32))
    channels = pyramid[1].shape[-1]
    x = block(neck(pyramid, channels), channels, 3, "head")
    x = layers.Dropout(dropout, name="head_dropout")(x)
    x = layers.Conv2D(1, 1, use_bias=False, dtype="float32", name="score")(x)
    kernel = Upsample(4, aligned=False, dtype="float32", name="kernel")(x)
    logits = layers.MaxPooling2D(dilation, 1, "same", dtype="float32", name="logits")(kernel)
    return keras.Model(image, {"logits": logits, "kernel": kernel}, name=name)
