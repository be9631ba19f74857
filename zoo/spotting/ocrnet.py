"""OCRNet: one network that locates and reads text, with the page's regions as context.

    image (B, H, W, 3) ─► backbone ─► C2..C5 (strides 4..32) ─► pyramid, its scales weighed at every pixel
      │                                                            │ channel and spatial attention
      │                                                            ▼
      │                                                   fused (B, H/4, W/4, C)
      │   ┌────────────────────────────────────────────────────────┤
      │   ▼ at half the resolution                                 │
      │ (a) coarse classes of pixels ─► regions' descriptions      │
      │     ─► what each pixel's regions tell (Yuan et al. 2020)   │
      │     ─► "classes" (B, H, W, K)                              │
      │   └────────────── context, enlarged ─────────────► guided (B, H/4, W/4, C)
      │                  ┌─────────────────────────────────────────┼──────────────────────────┐
      │                  ▼                                         ▼                          ▼
      │    (b) "logits", "threshold"                         "characters"       (c) "features" (B, H/4, W/4, D)
      │        (B, H, W, 1), as DB's                       (B, H/4, W/4, L)                   │ words seen straight on
      │                                                                                       ▼ (B·N, 8, w/2, D)
      │ words seen straight on                                                           convolutions
      ▼                                                                                       ▼ (B·N, 1, w/2, E)
    strips (B·N, 32, 2w, 3) ─► a recognizer's backbone ─► (B·N, 1, w/2, E) ─────────────────►+
                                                                                              ▼
                                                                      two LSTMs ─► "text" (B, N, w/2, L)

Strokes are read from the picture, by a recognizer's layers, which may begin with its weights; what the network has made
of the place, over the page and over its regions, is added before the sequence is read. Which words there are says
"words" (B, N, 4, 2), quadrilaterals in pixels of the image, and "columns" (B, N, w), how wide each is where it is 16
rows high: in training the true ones, in reading those that were decoded from "logits". So reading is two calls of parts
of this network, `parts`, and between them a decoding and the views of words: a third part in a graph, `zoo.image.view`
where there is none, which is quicker.

The context of regions is by object-contextual representations (https://arxiv.org/abs/1909.11065), the location by
differentiable binarization with adaptive scale fusion (https://arxiv.org/abs/2202.10304), the attention CBAM's
(https://arxiv.org/abs/1807.06521), and the views of words follow FOTS (https://arxiv.org/abs/1801.01671), but take any
quadrilateral.
"""

from __future__ import annotations

from typing import NamedTuple

import keras
from keras import layers, ops

from zoo.backbones import BACKBONES, backbone
from zoo.charset import Charset
from zoo.detection.db import MEAN, STD, head, levels
from zoo.detection.dbpp import fusion
from zoo.layers import Upsample, cbam, conv, conv_bn, normalize
from zoo.recognition import crnn
from zoo.sampling import Rectify
from zoo.segmentation.ocrnet import context as object_context

HEIGHT = 16  # rows of a word that is as wide as "columns" says; its views have twice as many, and half of them
WORD = "word_"  # before the names of the layers that a recognizer has, too
WORD_FEATURES = tuple(name for name in BACKBONES if name.startswith("mobilenet_v3") and name.endswith("_r"))


class Parts(NamedTuple):
    """A network divided: for reading in two calls, and for the classes of pixels alone.

    Attributes:
        locate: image → {"logits", "features"}.
        view: {"image", "features", "words", "columns"} → {"strips", "features"}, of words: see `ocrnet`.
        read: {"strips", "features"} → {"text"} (B·N, W/2, classes).
        segment: image → {"logits"}, of the classes.
    """

    locate: keras.Model
    view: keras.Model
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


def told(x, channels: int):
    """(B·N, 1, W/2, channels): what views of the shared features (B·N, 8, W/2, D) tell of words. At first it is 0."""
    for index, width in enumerate((64, 96, 96), 1):
        x = conv_bn(x, width, 3, f"shared_{index}", stride=(2, 1))
    return conv_bn(x, channels, 1, "shared_4", activation=None, gamma_initializer="zeros")


def text(strips, views, features: str, units: int, classes: int):
    """(B·N, W/2, classes) float32: CTC's logits of words, read as `zoo.recognition.crnn` does, whose layers these are,
    but for what views of the shared features tell, if there are any."""
    x = backbone(features, normalize(strips, crnn.MEAN, crnn.STD, name=f"{WORD}normalize"), prefix=WORD)[-1]
    if views is not None:
        x = layers.Add(name="told")([x, told(views, x.shape[-1])])
    x = crnn.sequence(x)
    for index in (1, 2):
        x = crnn.recurrent(x, "lstm", units, "both", f"{WORD}recurrent{index}")
    return layers.Dense(classes, dtype="float32", name=f"{WORD}logits")(x)


def ocrnet(
    *,
    features: str,
    word_features: str = "mobilenet_v3_small_r",
    charset: str = "french",
    classes: int = 6,
    channels: int = 96,
    units: int = 128,
    context: bool = True,
    attention: bool = True,
    characters: bool = True,
    shared: bool = True,
    image_size: tuple[int | None, int | None] = (None, None),
    name: str = "ocrnet",
) -> keras.Model:
    """The network from {"image", "words", "columns"} to "logits", "threshold", "classes", "text", and what they need.

    "coarse" (B, H, W, classes) and "characters" (B, H/4, W/4, characters + 1), the last class being none, are for
    training alone.

    Args:
        features: a backbone with maps of strides 4 to 32, such as "mobilenet_v3_large" or "resnet50".
        word_features: one of `WORD_FEATURES`, which sees words, 32 pixels high.
        charset: name of an alphabet in `zoo.charset`, or the characters themselves.
        classes: of a page's pixels, the background among them.
        channels: of the shared features, a multiple of 16.
        units: width of each recurrent layer, in each direction.
        context: regions tell the other branches what they are; without it, only their own.
        attention: scales, channels and places are weighed; without it, the pyramid is joined as it is.
        characters: the shared features also learn which character stands at a pixel; without it, from words alone.
        shared: words are read with the shared features; without it, from the picture alone.
        image_size: (height, width) in pixels, multiples of 32; None leaves a side free.
        name: of the model.

    Raises:
        ValueError: words are seen by no such backbone.
    """
    if word_features not in WORD_FEATURES:
        raise ValueError(f"{word_features=}: words are seen by one of {', '.join(WORD_FEATURES)}")
    image = keras.Input((*image_size, 3), name="image")
    words = keras.Input((None, 4, 2), name="words")
    columns = keras.Input((None, None), name="columns")
    x, labels = normalize(image, MEAN, STD, 32), len(Charset(charset)) + 1

    scales = levels(backbone(features, x), channels)
    joined = fusion(scales) if attention else layers.Concatenate(name="fused")(scales)
    fused = cbam(joined, "attention") if attention else joined
    known, coarse, fine = regions(fused, classes, 2 * channels // 3)
    if context:
        fused = layers.Concatenate(name="with_context")([fused, Upsample(2, name="context_enlarged")(known)])
    guided = conv_bn(fused, channels, 1, "guided")

    common = conv_bn(guided, channels // 2, 1, "features")
    strips = Rectify(2 * HEIGHT, 1, finer=2, name="strips")([image, words, columns])
    views = Rectify(HEIGHT // 2, 4, coarser=2, name="views")([common, words, columns]) if shared else None
    read = text(strips, views, word_features, units, labels)
    outputs = {
        "logits": head(guided, "region", "logits"),
        "threshold": head(guided, "border", "threshold"),
        "classes": Upsample(8, False, dtype="float32", name="classes")(fine),
        "coarse": Upsample(8, False, dtype="float32", name="coarse")(coarse),
        "features": common,
        "text": ByPage(dtype="float32", name="text")([read, words]),
    }
    if characters:
        outputs["characters"] = layers.Conv2D(labels, 1, dtype="float32", name="characters")(guided)
    return keras.Model({"image": image, "words": words, "columns": columns}, outputs, name=name)


def parts(network: keras.Model) -> Parts:
    """The network divided; the parts have its variables."""
    inputs, outputs = network.input, network.output
    located = {name: outputs[name] for name in ("logits", "features")}
    names = {"strips": "strips", "views": "features"}  # layers, and what their outputs are to what reads
    seen = {names[layer.name]: layer.output for layer in network.layers if layer.name in names}
    viewed = {**inputs, "features": outputs["features"]}
    for name, tensor in [*viewed.items(), *seen.items()]:
        tensor.name = name  # as an input of a part is found by
    return Parts(
        keras.Model(inputs["image"], located, name=f"{network.name}_locate"),
        keras.Model(viewed, seen, name=f"{network.name}_view"),
        keras.Model(seen, {"text": network.get_layer(f"{WORD}logits").output}, name=f"{network.name}_read"),
        keras.Model(inputs["image"], {"logits": outputs["classes"]}, name=f"{network.name}_segment"),
    )
