"""CRNN: convolutional features read by a recurrent network. Shi et al. 2015, https://arxiv.org/abs/1507.05717.

    image (B, 32, W, 3) → features (B, 1, W/4, C) → sequence (B, T = W/4, C) → 2 × bidirectional LSTM (B, T, 2·units)
                        → logits (B, T, K), the last class being CTC's blank

Equal to docTR's `crnn_*`. Any width that is a multiple of 4 may be given: a strip of 128 pixels has 32 steps.
"""

from __future__ import annotations

import keras
from keras import layers

from zoo.backbones import backbone
from zoo.charset import Charset
from zoo.layers import normalize

MEAN, STD = (0.694, 0.695, 0.693), (0.299, 0.296, 0.301)


def sequence(features):
    """(B, H, W, C) → (B, W, C·H), as a recurrent network reads it: columns from left to right."""
    height, channels = features.shape[1], features.shape[3]
    features = layers.Permute((2, 3, 1), name="columns")(features)  # (B, W, C, H)
    return layers.Reshape((-1, channels * height), name="sequence")(features)


def crnn(
    *,
    features: str,
    charset: str = "french",
    units: int = 128,
    image_size: tuple[int | None, int | None] = (32, None),
    name: str = "crnn",
) -> keras.Model:
    """The network from a strip's pixels to {"logits": (B, W/4, characters + 1)}.

    Args:
        features: a backbone with rectangular strides, such as "mobilenet_v3_small_r" or "vgg16_bn_r".
        charset: name of an alphabet in `zoo.charset`, or the characters themselves, in the order of the classes.
        units: width of each LSTM, in each direction.
        image_size: (height, width) in pixels; None leaves a side free, but the height must be known.
        name: of the model.
    """
    image = keras.Input((*image_size, 3), name="image")
    x = sequence(backbone(features, normalize(image, MEAN, STD))[-1])
    for index in (1, 2):
        lstm = layers.LSTM(units, return_sequences=True, name="lstm")
        x = layers.Bidirectional(lstm, name=f"recurrent{index}")(x)  # (B, T, 2·units)
    logits = layers.Dense(len(Charset(charset)) + 1, dtype="float32", name="logits")(x)
    return keras.Model(image, {"logits": logits}, name=name)
