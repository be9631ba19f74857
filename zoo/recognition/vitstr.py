"""ViTSTR: a vision transformer whose first tokens are the characters. Atienza 2021, https://arxiv.org/abs/2105.08582.

    image (B, 32, 128, 3) → ViT over patches of 4 × 8 pixels (B, 1 + 128, C) → tokens 1 … longest + 1 → logits (B, T, K)

Equal to docTR's `vitstr_*`. All characters are read at once. T = longest + 1; the last class, K - 1 = characters, ends
the text, and what follows it does not count.
"""

from __future__ import annotations

import keras
from keras import layers

from zoo.backbones.vit import vit
from zoo.charset import Charset
from zoo.layers import normalize
from zoo.recognition.crnn import MEAN, STD


def vitstr(
    *,
    features: str,
    charset: str = "french",
    longest: int = 32,
    image_size: tuple[int, int] = (32, 128),
    patch: tuple[int, int] = (4, 8),
    name: str = "vitstr",
) -> keras.Model:
    """The network from a strip's pixels to {"logits": (B, longest + 1, characters + 1)}.

    Args:
        features: a ViT of `zoo.backbones.vit`.
        charset: name of an alphabet in `zoo.charset`, or the characters themselves, in the order of the classes.
        longest: characters of a text at most.
        image_size: (height, width) in pixels, multiples of the patch's.
        patch: (height, width) in pixels.
        name: of the model.

    Raises:
        ValueError: there are fewer patches than characters.
    """
    image = keras.Input((*image_size, 3), name="image")
    tokens = vit(normalize(image, MEAN, STD), features, patch)
    if tokens.shape[1] < longest + 2:
        raise ValueError(f"{tokens.shape[1] - 1} patches cannot hold {longest} characters and their end")
    x = layers.Cropping1D((1, tokens.shape[1] - longest - 2), name="characters")(tokens)
    logits = layers.Dense(len(Charset(charset)) + 1, dtype="float32", name="logits")(x)
    return keras.Model(image, {"logits": logits}, name=name)
