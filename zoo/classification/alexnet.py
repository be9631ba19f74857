"""AlexNet. Krizhevsky et al. 2012, doi:10.1145/3065386, on one device: https://arxiv.org/abs/1404.5997.

    image (B, 224, 224, 3) → 11×11 /4, pool → 5×5, pool → 3 × 3×3, pool (B, 6, 6, 256) → 4096 → 4096 → logits (B, K)

As torchvision's `alexnet`, whose numbers of channels these are: without the normalization of neighbouring channels,
which the second paper left out, too.
"""

from __future__ import annotations

import keras
from keras import layers

from zoo.classification.classifier import MEAN, STD
from zoo.layers import conv, normalize

FILTERS = (64, 192, 384, 256, 256)
KERNELS = (11, 5, 3, 3, 3)
POOLED = (1, 2, 5)  # convolutions after which the map is halved, by windows of 3 that overlap
LEAST = 63  # pixels of a side, of which the last pool leaves one


def alexnet(
    *,
    classes: int,
    filters: tuple[int, ...] = FILTERS,
    hidden: int = 4096,
    dropout: float = 0.5,
    image_size: tuple[int, int] = (224, 224),
    name: str = "alexnet",
) -> keras.Model:
    """The network from pixels to {"logits": (B, classes)}.

    Args:
        classes: how many.
        filters: of the five convolutions.
        hidden: width of the two layers before the last.
        dropout: share of the values before each of them that training sets to 0.
        image_size: (height, width) in pixels, at least 63.
        name: of the model.

    Raises:
        ValueError: a side is not known, or too short.
    """
    if min(side or 0 for side in image_size) < LEAST:
        raise ValueError(f"image_size={tuple(image_size)}: both sides must be known, and at least {LEAST}")
    image = keras.Input((*image_size, 3), name="image")
    x = layers.ZeroPadding2D(2, name="conv1_pad")(normalize(image, MEAN, STD))
    for index, (width, kernel) in enumerate(zip(filters, KERNELS, strict=True), 1):
        if index == 1:
            x = layers.Conv2D(width, kernel, 4, kernel_initializer="he_normal", name="conv1")(x)
        else:
            x = conv(x, width, kernel, f"conv{index}", bias=True)
        x = layers.ReLU(name=f"conv{index}_relu")(x)
        if index in POOLED:
            x = layers.MaxPooling2D(3, 2, name=f"conv{index}_pool")(x)
    x = layers.Flatten(name="flat")(x)
    for index in (1, 2):
        x = layers.Dropout(dropout, name=f"hidden{index}_dropout")(x)
        x = layers.Dense(hidden, "relu", kernel_initializer="he_normal", name=f"hidden{index}")(x)
    return keras.Model(image, {"logits": layers.Dense(classes, dtype="float32", name="logits")(x)}, name=name)
