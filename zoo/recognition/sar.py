"""SAR: an LSTM that looks at the picture for each character. Li et al. 2018, https://arxiv.org/abs/1811.00751.

    image (B, 32, W, 3) → ResNet-31 (B, 4, W/4, 512) → maximum of each column → 2 LSTMs → last state: the whole (B, C)
    start, whole, characters so far → 2 steps of an LSTM → where to look in the map → glimpse → logits (B, T, K)

Equal to docTR's `sar_resnet31`. T = longest + 1; the last class, K - 1 = characters, ends the text. With `teacher=True`
it is the training graph, which is told the characters before each.
"""

from __future__ import annotations

import keras
from keras import layers, ops

from zoo.attention import greedy
from zoo.backbones.resnet31 import resnet31
from zoo.charset import Charset
from zoo.layers import normalize
from zoo.recognition.crnn import MEAN, STD


@keras.saving.register_keras_serializable(__name__)
class Decoder(layers.Layer):
    """A map (B, H, W, C) and the whole (B, C) → logits (B, T, K), by itself or told the tokens (B, T).

    Args:
        classes: K, of which the last is the end.
        steps: T.
    """

    def __init__(self, classes: int, steps: int, **kwargs):
        super().__init__(**kwargs)
        self.classes, self.steps = classes, steps

    def build(self, features_shape, whole_shape, tokens_shape=None):
        channels, units = features_shape[-1], whole_shape[-1]
        policy = {"dtype": self.dtype_policy}
        self.embedding = layers.Embedding(units, self.classes, name="embedding", **policy)  # docTR has so many rows
        self.embed = layers.Dense(units, name="embed", **policy)
        self.cell = layers.LSTMCell(units, name="cell", **policy)
        self.feature_conv = layers.Conv2D(units, 3, padding="same", name="feature_conv", **policy)
        self.state_conv = layers.Conv2D(units, 1, use_bias=False, name="state_conv", **policy)
        self.score_conv = layers.Conv2D(1, 1, use_bias=False, name="score_conv", **policy)
        self.logits = layers.Dense(self.classes, dtype="float32", name="logits")
        self.embedding.build((None, self.steps))
        self.embed.build((None, self.classes))
        self.cell.build((None, units))
        self.feature_conv.build((None, None, None, channels))
        self.state_conv.build((None, 1, 1, units))
        self.score_conv.build((None, None, None, units))
        self.logits.build((None, units + channels))

    def advance(self, symbol, state):
        """The states of two LSTMs, which share their weights, after a symbol (B, units)."""
        _, (hidden1, carry1) = self.cell(symbol, state[:2])
        _, (hidden2, carry2) = self.cell(hidden1, state[2:])
        return hidden1, carry1, hidden2, carry2

    def glimpse(self, features, projected, hidden):
        """(B, C): the map's mean, weighed by how well each place answers the state (B, units) (eq. 1 and 2)."""
        scores = self.score_conv(ops.tanh(projected + self.state_conv(hidden[:, None, None])))
        weight = ops.reshape(ops.softmax(ops.reshape(scores, (ops.shape(scores)[0], -1)), -1), ops.shape(scores))
        return ops.sum(features * weight, (1, 2))

    def call(self, features, whole, tokens=None):
        batch, units = ops.shape(whole)[0], whole.shape[-1]
        projected = self.feature_conv(features)
        zero = ops.zeros((batch, units), self.compute_dtype)
        state = self.advance(whole, (zero,) * 4)
        start = self.embed(ops.zeros((batch, self.classes), self.compute_dtype))

        def symbol(token):
            """What a token says; the start, whose class is K, says nothing."""
            known = self.embed(self.embedding(ops.minimum(token, self.classes - 1)))
            return ops.where((token == self.classes)[:, None], start, known)

        def step(index, token, state):
            state = self.advance(symbol(token), state)
            seen = ops.concatenate([state[2], self.glimpse(features, projected, state[2])], 1)
            return self.logits(seen), state

        if tokens is None:
            return greedy(step, state, self.classes, self.classes - 1, self.steps, self.classes, batch)[1]
        logits = []
        for index in range(self.steps):
            scores, state = step(index, tokens[:, index], state)
            logits.append(scores)
        return ops.stack(logits, 1)

    def compute_output_spec(self, features, whole, tokens=None):
        return keras.KerasTensor((features.shape[0], self.steps, self.classes), "float32")

    def get_config(self):
        return super().get_config() | {"classes": self.classes, "steps": self.steps}


def sar(
    *,
    features: str = "resnet31",
    charset: str = "french",
    longest: int = 30,
    units: int = 512,
    image_size: tuple[int | None, int | None] = (32, None),
    teacher: bool = False,
    name: str = "sar",
) -> keras.Model:
    """The network from a strip's pixels to {"logits": (B, longest + 1, characters + 1)}.

    Args:
        features: a ResNet-31 of `zoo.backbones.resnet31`.
        charset: name of an alphabet in `zoo.charset`, or the characters themselves, in the order of the classes.
        longest: characters of a text at most.
        units: width of the LSTMs and of the attention.
        image_size: (height, width) in pixels; None leaves the width free.
        teacher: the training graph, which also takes "tokens" (B, T) int32: the start, whose class follows the end's,
            and the text. Its variables are the same.
        name: of the model.
    """
    image = keras.Input((*image_size, 3), name="image")
    x = resnet31(normalize(image, MEAN, STD), features, rectified=False)
    columns = ops.max(x, 1)  # (B, W/4, C)
    columns = layers.LSTM(units, return_sequences=True, name="encoder1")(columns)
    whole = layers.Dense(units, name="encoder")(layers.LSTM(units, name="encoder2")(columns))
    steps = longest + 1
    decoder = Decoder(len(Charset(charset)) + 1, steps, name="decoder")
    if not teacher:
        return keras.Model(image, {"logits": decoder(x, whole)}, name=name)
    tokens = keras.Input((steps,), dtype="int32", name="tokens")
    return keras.Model({"image": image, "tokens": tokens}, {"logits": decoder(x, whole, tokens)}, name=name)
