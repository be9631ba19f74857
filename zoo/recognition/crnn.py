"""CRNN: convolutional features read by a recurrent network. Shi et al. 2015, https://arxiv.org/abs/1507.05717.

    image (B, 32, W, 3) → features (B, 1, W/4, C) → sequence (B, T = W/4, C) → 2 × bidirectional LSTM (B, T, 2·units)
                        → logits (B, T, K), the last class being CTC's blank

Equal to docTR's `crnn_*`. Any width that is a multiple of 4 may be given: a strip of 128 pixels has 32 steps.

With `decoder="attention"` a cell writes one character after another and looks at the sequence for each (Shi et al.
2016, https://arxiv.org/abs/1603.03915, section 3.2): logits (B, longest + 1, K), the last class being the text's end.
With `teacher=True` it is the training graph, which is told the characters before each.
"""

from __future__ import annotations

import keras
from keras import layers, ops

from zoo.attention import greedy
from zoo.backbones import backbone
from zoo.charset import Charset
from zoo.layers import normalize

MEAN, STD = (0.694, 0.695, 0.693), (0.299, 0.296, 0.301)
LAYERS = {"lstm": layers.LSTM, "gru": layers.GRU}
CELLS = {"lstm": layers.LSTMCell, "gru": layers.GRUCell}
DIRECTIONS = ("both", "forward", "backward")


def sequence(features):
    """(B, H, W, C) → (B, W, C·H), as a recurrent network reads it: columns from left to right."""
    height, channels = features.shape[1], features.shape[3]
    features = layers.Permute((2, 3, 1), name="by_column")(features)  # (B, W, C, H)
    return layers.Reshape((-1, channels * height), name="sequence")(features)


def recurrent(x, rnn: str, units: int, direction: str, name: str):
    """(B, T, C) → (B, T, units), or twice as many channels by both directions."""
    if direction == "both":
        return layers.Bidirectional(LAYERS[rnn](units, return_sequences=True, name=rnn), name=name)(x)
    x = LAYERS[rnn](units, return_sequences=True, go_backwards=direction == "backward", name=name)(x)
    return ops.flip(x, 1) if direction == "backward" else x


@keras.saving.register_keras_serializable(__name__)
class Decoder(layers.Layer):
    """A sequence (B, S, C) → logits (B, T, K), by itself or told the tokens (B, T).

    Args:
        classes: K, of which the last is the end; the start's class is K.
        steps: T.
        units: width of the cell and of the attention.
        rnn: a key of `CELLS`.
    """

    def __init__(self, classes: int, steps: int, units: int, rnn: str, **kwargs):
        super().__init__(**kwargs)
        self.classes, self.steps, self.units, self.rnn = classes, steps, units, rnn

    def build(self, memory_shape, tokens_shape=None):
        width, policy = memory_shape[-1], {"dtype": self.dtype_policy}
        self.embedding = layers.Embedding(self.classes + 1, self.units, name="embedding", **policy)
        self.cell = CELLS[self.rnn](self.units, name="cell", **policy)
        self.memory_dense = layers.Dense(self.units, name="memory", **policy)
        self.state_dense = layers.Dense(self.units, use_bias=False, name="state", **policy)
        self.score_dense = layers.Dense(1, use_bias=False, name="score", **policy)
        self.logits = layers.Dense(self.classes, dtype="float32", name="logits")
        self.embedding.build((None, self.steps))
        self.cell.build((None, self.units + width))
        self.memory_dense.build(memory_shape)
        self.state_dense.build((None, self.units))
        self.score_dense.build((None, None, self.units))
        self.logits.build((None, self.units))

    def glimpse(self, memory, projected, hidden):
        """(B, C): the sequence's mean, weighed by how well each place answers the state (B, units) (eq. 3 and 4)."""
        scores = self.score_dense(ops.tanh(projected + self.state_dense(hidden)[:, None]))  # (B, S, 1)
        return ops.sum(ops.softmax(scores, 1) * memory, 1)

    def call(self, memory, tokens=None):
        batch, projected = ops.shape(memory)[0], self.memory_dense(memory)
        state = (ops.zeros((batch, self.units), self.compute_dtype),) * (2 if self.rnn == "lstm" else 1)

        def step(index, token, state):
            seen = ops.concatenate([self.embedding(token), self.glimpse(memory, projected, state[0])], 1)
            hidden, state = self.cell(seen, list(state))
            return self.logits(hidden), tuple(state)

        if tokens is None:
            return greedy(step, state, self.classes, self.classes - 1, self.steps, self.classes, batch)[1]
        logits = []
        for index in range(self.steps):
            scores, state = step(index, tokens[:, index], state)
            logits.append(scores)
        return ops.stack(logits, 1)

    def compute_output_spec(self, memory, tokens=None):
        return keras.KerasTensor((memory.shape[0], self.steps, self.classes), "float32")

    def get_config(self):
        own = {"classes": self.classes, "steps": self.steps, "units": self.units, "rnn": self.rnn}
        return super().get_config() | own


def crnn(
    *,
    features: str,
    charset: str = "french",
    units: int = 128,
    rnn: str = "lstm",
    depth: int = 2,
    direction: str = "both",
    decoder: str = "ctc",
    longest: int = 32,
    image_size: tuple[int | None, int | None] = (32, None),
    teacher: bool = False,
    name: str = "crnn",
) -> keras.Model:
    """The network from a strip's pixels to {"logits": (B, W/4, characters + 1)}.

    Args:
        features: a backbone with rectangular strides, such as "mobilenet_v3_small_r" or "vgg16_bn_r".
        charset: name of an alphabet in `zoo.charset`, or the characters themselves, in the order of the classes.
        units: width of each recurrent layer, in each direction.
        rnn: "lstm" or "gru".
        depth: number of recurrent layers.
        direction: "both", or "forward" or "backward" alone.
        decoder: "ctc", or "attention": logits are (B, longest + 1, characters + 1).
        longest: characters of a text at most, by attention.
        image_size: (height, width) in pixels; None leaves a side free, but the height must be known.
        teacher: the training graph of attention, which also takes "tokens" (B, longest + 1) int32: the start, whose
            class follows the end's, and the text. Its variables are the same.
        name: of the model.

    Raises:
        ValueError: an option is none of those that there are, or the height is not known.
    """
    for value, known in ((rnn, tuple(LAYERS)), (direction, DIRECTIONS), (decoder, ("ctc", "attention"))):
        if value not in known:
            raise ValueError(f"a CRNN has no {value!r}; there are: {', '.join(known)}")
    if image_size[0] is None:
        raise ValueError(
            f"image_size={tuple(image_size)}: a CRNN's height must be known; (32, {image_size[1]}) would do"
        )
    image = keras.Input((*image_size, 3), name="image")
    x = sequence(backbone(features, normalize(image, MEAN, STD))[-1])
    for index in range(1, depth + 1):
        x = recurrent(x, rnn, units, direction, f"recurrent{index}")  # (B, T, 2·units)
    classes = len(Charset(charset)) + 1
    if decoder == "ctc":
        return keras.Model(image, {"logits": layers.Dense(classes, dtype="float32", name="logits")(x)}, name=name)
    writer = Decoder(classes, longest + 1, 2 * units, rnn, name="decoder")
    if not teacher:
        return keras.Model(image, {"logits": writer(x)}, name=name)
    tokens = keras.Input((longest + 1,), dtype="int32", name="tokens")
    return keras.Model({"image": image, "tokens": tokens}, {"logits": writer(x, tokens)}, name=name)
