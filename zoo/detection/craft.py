"""CRAFT: characters, and which of them belong together. Baek et al. 2019, https://arxiv.org/abs/1904.01941.

    image (B, H, W, 3) → C2..C5 (strides 4..32), and C6 of two more convolutions on C5
      up:    U5 = up([C6, C5]);  U4 = up([U5, C4]);  U3 = up([U4, C3]);  U2 = up([U3, C2])      (B, H/2, W/2, 32)
      head:  3×3, 3×3, 3×3, 1×1, 1×1 convolutions                                               (B, H/2, W/2, 2) logits

"logits" holds two maps between 0 and 1, more or less, since the paper learns them as they are: how near a pixel is to
the middle of a character, and how near to the middle of the gap between two characters of a word.
"""

from __future__ import annotations

import keras
from keras import layers

from zoo.backbones import backbone
from zoo.layers import IMAGENET, Upsample, conv, conv_bn, normalize


def up(x, feature, filters: int, name: str):
    """Joined, reduced by a 1×1 and a 3×3 convolution, enlarged: (B, h, w, C) twice → (B, 2h, 2w, filters)."""
    x = layers.Concatenate(name=f"{name}_join")([x, feature])
    x = conv_bn(x, 2 * filters, 1, f"{name}_1")
    x = conv_bn(x, filters, 3, f"{name}_2")
    return Upsample(2, aligned=False, name=f"{name}_enlarge")(x)


def craft(
    *,
    features: str,
    channels: tuple[int, ...] = (256, 128, 64, 32),
    image_size: tuple[int | None, int | None] = (None, None),
    name: str = "craft",
) -> keras.Model:
    """The network from a page's pixels to {"logits": (B, H/2, W/2, 2)}: characters and links.

    Args:
        features: a backbone, such as "vgg16_bn".
        channels: of the four steps upwards, from the coarsest on.
        image_size: (height, width) in pixels, multiples of 32; None leaves a side free.
        name: of the model.
    """
    image = keras.Input((*image_size, 3), name="image")
    maps = backbone(features, normalize(image, *IMAGENET, 32))
    x = conv_bn(maps[-1], maps[-1].shape[-1], 3, "stage6_1", dilation=2)
    x = conv_bn(x, maps[-1].shape[-1], 1, "stage6_2")
    for level, feature, filters in zip((5, 4, 3, 2), reversed(maps), channels, strict=True):
        x = up(x, feature, filters, f"up{level}")
    for index, (filters, kernel) in enumerate(((1, 3), (1, 3), (2, 3), (2, 1)), 1):
        x = conv(x, channels[-1] // filters, kernel, f"head{index}", bias=True)
        x = layers.ReLU(name=f"head{index}_relu")(x)
    logits = layers.Conv2D(2, 1, dtype="float32", name="logits")(x)
    return keras.Model(image, {"logits": logits}, name=name)
