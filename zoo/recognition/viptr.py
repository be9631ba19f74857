"""VIPTR: a vision transformer's columns, read by CTC. Cheng et al. 2024, https://arxiv.org/abs/2401.10110.

    image (B, 32, W, 3) → VIP (B, T = W/4, C) → logits (B, T, K), the last class being CTC's blank

Equal to docTR's `viptr_tiny`. Any width that is a multiple of 8 may be given.
"""

from __future__ import annotations

import keras
from keras import layers

from zoo.backbones.vip import vip
from zoo.charset import Charset
from zoo.layers import normalize
from zoo.recognition.crnn import MEAN, STD


def viptr(
    *,
    features: str,
    charset: str = "french",
    image_size: tuple[int | None, int | None] = (32, None),
    name: str = "viptr",
) -> keras.Model:
    """The network from a strip's pixels to {"logits": (B, W/4, characters + 1)}.

    Args:
        features: a VIP of `zoo.backbones.vip`.
        charset: name of an alphabet in `zoo.charset`, or the characters themselves, in the order of the classes.
        image_size: (height, width) in pixels; None leaves the width free.
        name: of the model.
    """
    image = keras.Input((*image_size, 3), name="image")
    x = vip(normalize(image, MEAN, STD, 8), features)
    logits = layers.Dense(len(Charset(charset)) + 1, dtype="float32", name="logits")(x)
    return keras.Model(image, {"logits": logits}, name=name)
