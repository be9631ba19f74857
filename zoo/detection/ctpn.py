"""CTPN: lines of text as rows of narrow pieces. Tian et al. 2016, https://arxiv.org/abs/1609.03605.

    image (B, H, W, 3) → VGG-16 with batch normalization, without its last pool (B, H/16, W/16, 512)
      window: 3×3 convolution
      rows:  a bidirectional LSTM along each row, dense layer         (B, H/16, W/16, 512)
      heads: "logits" (B, H/16, W/16, k), "vertical" (B, H/16, W/16, 2·k), "side" (B, H/16, W/16, k)

Each cell of 16 × 16 pixels has k = 10 anchors, as wide as it is and 11 to 273 pixels high. "logits" is the probability
that there is text in an anchor, before the sigmoid; "vertical" where it begins and ends; "side" where the line does, if
that is near. `zoo.decoding.ctpn` has the numbers and makes lines of them.
"""

from __future__ import annotations

import keras
from keras import layers, ops

from zoo.backbones import backbone
from zoo.backbones.vgg import CONFIGURATION_D, vgg
from zoo.layers import IMAGENET, conv, normalize

ANCHORS = 10


@keras.saving.register_keras_serializable(__name__)
class Rows(layers.Layer):
    """A bidirectional LSTM along each row of a map: (B, H, W, C) → (B, H, W, 2·units)."""

    def __init__(self, units: int, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.rightwards = layers.LSTM(units, return_sequences=True, name="rightwards")
        self.leftwards = layers.LSTM(units, return_sequences=True, go_backwards=True, name="leftwards")

    def build(self, shape):
        for layer in (self.rightwards, self.leftwards):
            layer.build((None, shape[2], shape[3]))

    def call(self, x):
        height, width = ops.shape(x)[1], ops.shape(x)[2]
        rows = ops.reshape(x, (-1, width, x.shape[3]))
        both = ops.concatenate([self.rightwards(rows), ops.flip(self.leftwards(rows), 1)], -1)
        return ops.reshape(both, (-1, height, width, 2 * self.units))

    def compute_output_shape(self, shape):
        return (*shape[:3], 2 * self.units)

    def get_config(self):
        return super().get_config() | {"units": self.units}


def ctpn(
    *,
    features: str = "",
    blocks: tuple[tuple[int, int], ...] = CONFIGURATION_D,
    channels: int = 512,
    units: int = 128,
    image_size: tuple[int | None, int | None] = (None, None),
    name: str = "ctpn",
) -> keras.Model:
    """The network from a page's pixels to "logits", "vertical" and "side", each (B, H/16, W/16, …).

    Args:
        features: a backbone, such as "resnet50", whose maps of stride 16 take the place of the paper's VGG.
        blocks: convolutions and filters of each of the five blocks of the VGG.
        channels: before and after the LSTM.
        units: of the LSTM in each direction.
        image_size: (height, width) in pixels, multiples of 16 (with `features` of 32); None leaves a side free.
        name: of the model.
    """
    image = keras.Input((*image_size, 3), name="image")
    x = normalize(image, *IMAGENET)
    if features:
        _, _, x, _ = backbone(features, x)
    else:
        x = vgg(x, tuple((depth, filters) for depth, filters in blocks), pools=4)[-1]
    x = layers.ReLU(name="window_relu")(conv(x, channels, 3, "window", bias=True))
    x = Rows(units, name="rows")(x)
    x = layers.Dense(channels, activation="relu", name="dense")(x)
    heads = {"logits": ANCHORS, "vertical": 2 * ANCHORS, "side": ANCHORS}
    outputs = {key: layers.Dense(size, dtype="float32", name=key)(x) for key, size in heads.items()}
    return keras.Model(image, outputs, name=name)
