"""Classifiers: a backbone, what it says of the whole picture, one or two linear layers.

    image (B, H, W, 3) → C5 (B, H', W', C) → mean (B, C) → [linear, hard swish, dropout] → logits (B, K)

Of a transformer that gives a sequence, the first token or the mean stands for the picture. The classes are characters,
or the quarter turns of words and pages. Equal to docTR's classifiers of the same names; the hidden layer is that of
MobileNetV3 (Howard et al. 2019, https://arxiv.org/abs/1905.02244, table 1).
"""

from __future__ import annotations

import keras
from keras import layers

from zoo.attention import layer_norm
from zoo.backbones import backbone, resnet31, vip, vit, vit_det
from zoo.layers import norm, normalize

MEAN, STD = (0.694, 0.695, 0.693), (0.299, 0.296, 0.301)
CONTEXT = "magc_"  # before the name of a ResNet-31: with global context


def summary(image, features: str):
    """(B, C): what the trunk `features` says of a normalised image (B, H, W, 3) as a whole."""
    mean = layers.GlobalAveragePooling2D(name="mean")
    if features.removeprefix(CONTEXT) in resnet31.SIZES:
        context = features.startswith(CONTEXT)
        return mean(resnet31.resnet31(image, features.removeprefix(CONTEXT), context=context))
    if features in vit.SIZES:
        return vit.vit(image, features, (4, 4))[:, 0]
    if features in vip.SIZES:
        return layers.GlobalAveragePooling1D(name="columns_mean")(vip.vip(image, features))
    if features in vit_det.SIZES:
        return layer_norm("mean_norm")(mean(vit_det.vit_det(image, features)[-1]))
    x = backbone(features, image)[-1]
    return mean(norm(x, "mean_norm") if features.startswith("starnet") else x)


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
        features: a backbone, such as "resnet18", or one of those that `summary` knows.
        classes: how many.
        hidden: channels of a layer between the mean and the classes; 0 is none.
        dropout: share of the hidden layer's values that training sets to 0.
        image_size: (height, width) in pixels, at least 32; None leaves a side free, which transformers do not.
        name: of the model.
    """
    image = keras.Input((*image_size, 3), name="image")
    x = summary(normalize(image, MEAN, STD), features)
    if hidden:
        x = layers.Dense(hidden, activation="hard_silu", name="hidden")(x)
        x = layers.Dropout(dropout, name="dropout")(x)
    return keras.Model(image, {"logits": layers.Dense(classes, dtype="float32", name="logits")(x)}, name=name)
