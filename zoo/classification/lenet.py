"""LeNet-5, the network that read cheques. LeCun et al. 1998, doi:10.1109/5.726791, figure 2.

    image (B, 32, 32, 3) → grey → C1 (28, 28, 6) → S2 (14, 14, 6) → C3 (10, 10, 16) → S4 (5, 5, 16) → C5 120 → F6 84
                         → logits (B, K)

Each map of C3 sees all of S2, and the output is linear: the paper's sparse connections saved memory, and its radial
units compared F6 with drawings of the digits. Sampling layers weigh their means, as there.
"""

from __future__ import annotations

import keras
from keras import layers, ops

from zoo.classification.classifier import MEAN, STD
from zoo.layers import normalize


@keras.saving.register_keras_serializable(__name__)
def squash(x):
    """1.7159·tanh(2x/3), which is ±1 at ±1 (appendix A)."""
    return 1.7159 * ops.tanh(2 / 3 * x)


@keras.saving.register_keras_serializable(__name__)
class Sampling(layers.Layer):
    """Means of 2 × 2 pixels, times a learnt factor plus a learnt offset of each map: (B, H, W, C) → half as large."""

    def build(self, shape):
        self.factor = self.add_weight(shape=(shape[-1],), initializer="ones", name="factor")
        self.offset = self.add_weight(shape=(shape[-1],), initializer="zeros", name="offset")

    def call(self, x):
        return ops.average_pool(x, 2, 2) * ops.cast(self.factor, x.dtype) + ops.cast(self.offset, x.dtype)

    def compute_output_shape(self, shape):
        return (shape[0], shape[1] // 2, shape[2] // 2, shape[3])


def lenet(*, classes: int, image_size: tuple[int, int] = (32, 32), name: str = "lenet") -> keras.Model:
    """The network from pixels to {"logits": (B, classes)}.

    Args:
        classes: how many.
        image_size: (height, width) in pixels, multiples of 4, at least 32; C5 sees the whole map.
        name: of the model.

    Raises:
        ValueError: a side is not known.
    """
    if None in image_size:
        raise ValueError(f"image_size={tuple(image_size)}: both sides must be known, as in (32, 32)")
    image = keras.Input((*image_size, 3), name="image")
    x = ops.mean(normalize(image, MEAN, STD), -1, keepdims=True)
    for index, filters in ((1, 6), (3, 16)):
        x = layers.Conv2D(filters, 5, activation=squash, name=f"c{index}")(x)
        x = layers.Activation(squash, name=f"s{index + 1}_squash")(Sampling(name=f"s{index + 1}")(x))
    x = layers.Conv2D(120, x.shape[1:3], activation=squash, name="c5")(x)
    x = layers.Dense(84, activation=squash, name="f6")(layers.Flatten(name="c5_flat")(x))
    return keras.Model(image, {"logits": layers.Dense(classes, dtype="float32", name="logits")(x)}, name=name)
