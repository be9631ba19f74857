"""Classifiers: a backbone, the mean over places, one or two linear layers.

    image (B, H, W, 3) → C5 (B, H', W', C) → mean (B, C) → [linear, hard swish, dropout] → logits (B, K)

Characters, and the quarter turns of words and pages. Equal to docTR's classifiers of the same names; the hidden layer
is that of MobileNetV3 (Howard et al. 2019, https://arxiv.org/abs/1905.02244, table 1).
"""

from __future__ import annotations

import keras
from keras import layers

from zoo.backbones import backbone
from zoo.layers import normalize

MEAN, STD = (0.694, 0.695, 0.693), (0.299, 0.296, 0.301)


def classifier(
    *,
    features: str,
    classes: int,
    hidden: int = 0,
    dropout: float = 0.2,
    image_size: tuple[int | None, int | None] = (None, None),
    name: str = "classifier",
) -> keras.Model:
    """The network from pixels to {"logits": (B, classes)}.

    Args:
        features: a backbone, such as "resnet18".
        classes: how many.
        hidden: channels of a layer between the mean and the classes; 0 is none.
        dropout: share of the hidden layer's values that training sets to 0.
        image_size: (height, width) in pixels, at least 32; None leaves a side free.
        name: of the model.
    """
    image = keras.Input((*image_size, 3), name="image")
    x = layers.GlobalAveragePooling2D(name="mean")(backbone(features, normalize(image, MEAN, STD))[-1])
    if hidden:
        x = layers.Dense(hidden, activation="hard_silu", name="hidden")(x)
        x = layers.Dropout(dropout, name="dropout")(x)
    return keras.Model(image, {"logits": layers.Dense(classes, dtype="float32", name="logits")(x)}, name=name)
