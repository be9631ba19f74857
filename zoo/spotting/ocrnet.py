"""OCRNet: text located and read from one set of features, with the page's regions as context.

    image (B, H, W, 3) ─► backbone ─► C2..C5 (strides 4..32) ─► pyramid, its scales weighed at every pixel
                                                                   │ channel and spatial attention
                                                                   ▼
                                                          fused (B, H/4, W/4, C)
          ┌────────────────────────────────────────────────────────┤
          ▼ at half the resolution                                 │
    (a) coarse classes of pixels ─► regions' descriptions          │
        ─► what each pixel's regions tell (Yuan et al. 2020)       │
        ─► "classes" (B, H, W, K)                                  │
          └────────────── context, enlarged ─────────────► guided (B, H/4, W/4, C)
                         ┌─────────────────────────────────────────┼──────────────────────────┐
                         ▼                                         ▼                          ▼
           (b) "logits", "threshold"                         "characters"       (c) "features" (B, H/4, W/4, D)
               (B, H, W, 1), as DB's                       (B, H/4, W/4, L)         "detail" (B, H/2, W/2, E)
                                                                                              │ words seen straight on
                                                                                              ▼ (B·N, 16, w, D + E)
                                                                       convolutions ─► LSTMs ─► "text" (B, N, w/2, L)

The text of a word is read from the features on which it was found: the pixels are looked at once. Which words there are
says "words" (B, N, 4, 2), quadrilaterals in pixels of the image, and "columns" (B, N, w), how wide each is seen: in
training the true ones, in reading those that were decoded from "logits". So reading is two calls of parts of this
network, `parts`, with a decoding between them.

The context of regions is by object-contextual representations (https://arxiv.org/abs/1909.11065), the location by
differentiable binarization with adaptive scale fusion (https://arxiv.org/abs/2202.10304), the attention CBAM's
(https://arxiv.org/abs/1807.06521), and the views of words follow FOTS (https://arxiv.org/abs/1801.01671), but take any
quadrilateral.
"""

from __future__ import annotations

from typing import NamedTuple

import keras
from keras import layers, ops

from zoo.backbones import backbone
from zoo.charset import Charset
from zoo.detection.db import MEAN, STD, head, levels
from zoo.detection.dbpp import fusion
from zoo.layers import Upsample, cbam, conv, conv_bn, depthwise_conv, norm, normalize
from zoo.recognition.crnn import recurrent, sequence
from zoo.sampling import Rectify
from zoo.segmentation.ocrnet import context as object_context

HEIGHT = 16  # rows of a word's view
FINE = 16  # channels of "detail"


class Parts(NamedTuple):
    """A network divided: for reading in two calls, and for the classes of pixels alone.

    Attributes:
        locate: image → {"logits", "features", "detail"}.
        read: {"features", "detail", "words", "columns"} → {"text"}.
        segment: image → {"logits"}, of the classes.
    """

    locate: keras.Model
    read: keras.Model
    segment: keras.Model


@keras.saving.register_keras_serializable(__name__)
class ByPage(layers.Layer):
    """Words of all pages as words of each: [x (B·N, T, C), words (B, N, 4, 2)] → (B, N, T, C)."""

    def call(self, inputs):
        x, words = inputs
        return ops.reshape(x, (-1, ops.shape(words)[1], ops.shape(x)[1], x.shape[-1]))

    def compute_output_shape(self, shapes):
        x, words = shapes
        return (*words[:2], *x[1:])


def regions(fused, classes: int, channels: int):
    """What pixels are part of: context (B, h, w, channels), and maps (B, h, w, classes), coarse and fine."""
    x = conv_bn(layers.AveragePooling2D(2, name="half")(fused), channels, 3, "pixels")
    coarse = conv(x, classes, 1, "coarse_scores", bias=True)
    x = object_context(x, coarse, channels // 2)
    return x, coarse, conv(x, classes, 1, "class_scores", bias=True)


def strips(features, detail, words, columns):
    """(B·N, 16, W, C): words seen straight on, in the shared features and in what is finer."""
    views = [
        Rectify(HEIGHT, stride, name=f"view_{name}")([x, words, columns])
        for name, x, stride in (("features", features, 4), ("detail", detail, 2))
    ]
    return layers.Concatenate(name="views")(views)


def bottleneck(x, name: str):
    """What is added to maps (B, h, w, C): Sandler et al. 2018, https://arxiv.org/abs/1801.04381. At first it is 0."""
    channels = x.shape[-1]
    wide = conv_bn(x, 2 * channels, 1, f"{name}_expand")
    wide = norm(depthwise_conv(wide, 3, f"{name}_depthwise_conv"), f"{name}_depthwise_norm")
    wide = layers.Activation("relu", name=f"{name}_depthwise_relu")(wide)
    return conv_bn(wide, channels, 1, f"{name}_project", activation=None, gamma_initializer="zeros")


def text(x, words, units: int, classes: int):
    """(B, N, W/2, classes) float32: CTC's logits of views (B·N, 16, W, C)."""
    x = conv_bn(x, 64, 3, "word_1", stride=(2, 1))
    x = conv_bn(x, 96, 3, "word_2", stride=(2, 2))
    x = conv_bn(x, 96, 3, "word_3")
    for name in ("word_4", "word_5"):
        x = layers.Add(name=f"{name}_add")([x, bottleneck(x, name)])
    x = recurrent(sequence(x), "lstm", units, "both", "recurrent1")
    x = layers.Add(name="recurrent_add")([x, recurrent(x, "lstm", units, "both", "recurrent2")])
    x = layers.Dense(classes, dtype="float32", name="word_logits")(x)
    return ByPage(dtype="float32", name="text")([x, words])


def ocrnet(
    *,
    features: str,
    charset: str = "french",
    classes: int = 6,
    channels: int = 96,
    units: int = 128,
    context: bool = True,
    attention: bool = True,
    characters: bool = True,
    image_size: tuple[int | None, int | None] = (None, None),
    name: str = "ocrnet",
) -> keras.Model:
    """The network from {"image", "words", "columns"} to "logits", "threshold", "classes", "text", and what they need.

    "coarse" (B, H, W, classes) and "characters" (B, H/4, W/4, characters + 1), the last class being none, are for
    training alone.

    Args:
        features: a backbone with maps of strides 4 to 32, such as "mobilenet_v3_large" or "resnet50".
        charset: name of an alphabet in `zoo.charset`, or the characters themselves.
        classes: of a page's pixels, the background among them.
        channels: of the shared features, a multiple of 16.
        units: width of the recurrent layer, in each direction.
        context: regions tell the other branches what they are; without it, only their own.
        attention: scales, channels and places are weighed; without it, the pyramid is joined as it is.
        characters: the shared features also learn which character stands at a pixel; without it, from words alone.
        image_size: (height, width) in pixels, multiples of 32; None leaves a side free.
        name: of the model.
    """
    image = keras.Input((*image_size, 3), name="image")
    words = keras.Input((None, 4, 2), name="words")
    columns = keras.Input((None, None), name="columns")
    seen, labels = normalize(image, MEAN, STD, 32), len(Charset(charset)) + 1

    scales = levels(backbone(features, seen), channels)
    joined = fusion(scales) if attention else layers.Concatenate(name="fused")(scales)
    fused = cbam(joined, "attention") if attention else joined
    known, coarse, fine = regions(fused, classes, 2 * channels // 3)
    if context:
        fused = layers.Concatenate(name="with_context")([fused, Upsample(2, name="context_enlarged")(known)])
    guided = conv_bn(fused, channels, 1, "guided")

    shared = conv_bn(guided, channels // 2, 1, "features")
    detail = conv_bn(conv_bn(seen, FINE, 3, "detail_1", stride=2), FINE, 3, "detail_2")
    outputs = {
        "logits": head(guided, "region", "logits"),
        "threshold": head(guided, "border", "threshold"),
        "classes": Upsample(8, False, dtype="float32", name="classes")(fine),
        "coarse": Upsample(8, False, dtype="float32", name="coarse")(coarse),
        "features": shared,
        "detail": detail,
        "text": text(strips(shared, detail, words, columns), words, units, labels),
    }
    if characters:
        outputs["characters"] = layers.Conv2D(labels, 1, dtype="float32", name="characters")(guided)
    return keras.Model({"image": image, "words": words, "columns": columns}, outputs, name=name)


def parts(network: keras.Model) -> Parts:
    """The network divided; the parts have its variables."""
    inputs, outputs = network.input, network.output
    shared = {name: outputs[name] for name in ("features", "detail")}
    for name, tensor in shared.items():
        tensor.name = name  # as an input of the second call is found by
    known = shared | {name: inputs[name] for name in ("words", "columns")}
    return Parts(
        keras.Model(inputs["image"], {"logits": outputs["logits"], **shared}, name=f"{network.name}_locate"),
        keras.Model(known, {"text": outputs["text"]}, name=f"{network.name}_read"),
        keras.Model(inputs["image"], {"logits": outputs["classes"]}, name=f"{network.name}_segment"),
    )
