"""U-Net: down to a small map and up again, each step joined by what was seen before. Ronneberger et al. 2015.

    image (B, H, W, 3) → 4 × (2 convolutions, pool /2) → 2 convolutions (B, H/16, W/16, 16·C)
                       → 4 × (up ×2, join, 2 convolutions) → (B, H, W, C) → logits (B, H, W, K)

https://arxiv.org/abs/1505.04597, figure 1; with padding, so that the map is as large as the image, and normalization.
"""

from __future__ import annotations

import keras
from keras import layers

from zoo.layers import conv_bn, deconv, normalize

MEAN, STD = (0.798, 0.785, 0.772), (0.264, 0.2749, 0.287)


def double(x, filters: int, name: str):
    """Two convolutions 3×3: (B, H, W, C) → (B, H, W, filters)."""
    return conv_bn(conv_bn(x, filters, 3, f"{name}_1"), filters, 3, f"{name}_2")


def unet(
    *,
    classes: int,
    width: int = 64,
    depth: int = 4,
    image_size: tuple[int | None, int | None] = (None, None),
    name: str = "unet",
) -> keras.Model:
    """The network from pixels to {"logits": (B, H, W, classes)}.

    Args:
        classes: of a pixel.
        width: channels of the largest map; each smaller one doubles them.
        depth: number of times that the map is halved.
        image_size: (height, width) in pixels, multiples of 2^depth; None leaves a side free.
        name: of the model.
    """
    image = keras.Input((*image_size, 3), name="image")
    x, seen = normalize(image, MEAN, STD, 2**depth), []
    for level in range(depth):
        x = double(x, width * 2**level, f"down{level + 1}")
        seen.append(x)
        x = layers.MaxPooling2D(2, name=f"down{level + 1}_pool")(x)
    x = double(x, width * 2**depth, "bottom")
    for level in reversed(range(depth)):
        x = deconv(x, width * 2**level, 2, f"up{level + 1}", stride=2, bias=True)
        x = layers.Concatenate(name=f"up{level + 1}_join")([seen[level], x])
        x = double(x, width * 2**level, f"up{level + 1}")
    logits = layers.Conv2D(classes, 1, dtype="float32", name="logits")(x)
    return keras.Model(image, {"logits": logits}, name=name)
