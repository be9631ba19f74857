"""Attention over sequences: encoder blocks, position codes, and the greedy loop. Vaswani et al. 2017, arXiv:1706.03762.

    tokens (B, S, C) → n × (normalise, attend, add; normalise, feed forward, add) → normalise → (B, S, C)

Normalization stands before each part ("pre-norm"). As in docTR, whose weights these blocks can take, all blocks of an
encoder share their two normalizations.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import keras
import numpy as np
from keras import layers, ops

EPSILON = 1e-5  # of layer normalizations, PyTorch's usual one


@keras.saving.register_keras_serializable(__name__)
def gelu(x):
    """x·Φ(x), Φ being the normal distribution's function; written out, so that every exporter knows its operations."""
    return 0.5 * x * (1 + ops.erf(x / math.sqrt(2)))


def layer_norm(name: str, epsilon: float = EPSILON) -> layers.LayerNormalization:
    """A normalization over the channels."""
    return layers.LayerNormalization(epsilon=epsilon, name=name)


def sinusoids(length: int, width: int) -> np.ndarray:
    """(length, width) float32 codes of positions: sines and cosines by turns, of ever slower waves (section 3.5)."""
    angle = np.arange(length)[:, None] / 10_000 ** (np.arange(0, width, 2) / width)
    codes = np.empty((length, width), "float32")
    codes[:, 0::2], codes[:, 1::2] = np.sin(angle), np.cos(angle[:, : width // 2])
    return codes


def attend(query, key, value, mask=None):
    """softmax(q·kᵀ / √D)·v (eq. 1): (B, heads, Q, D), (B, heads, S, D) twice → (B, heads, Q, D).

    Args:
        query, key, value: of each head.
        mask: (…, Q, S) bool: what each query sees, at least one key.
    """
    scores = ops.matmul(query, ops.swapaxes(key, -1, -2))
    scores = ops.cast(scores, "float32") / math.sqrt(query.shape[-1])  # half precision would not hold the masked ones
    if mask is not None:
        scores = ops.where(mask, scores, -1e9)
    return ops.matmul(ops.cast(ops.softmax(scores, -1), value.dtype), value)


@keras.saving.register_keras_serializable(__name__)
class Attention(layers.Layer):
    """Attention of queries (B, Q, C) over a context (B, S, C), in several heads: (B, Q, C) (section 3.2.2).

    `memory` of a context may be computed once and asked often, as decoding step by step does.
    """

    def __init__(self, heads: int, width: int, **kwargs):
        super().__init__(**kwargs)
        if width % heads:
            raise ValueError(f"{width} channels cannot be shared by {heads} heads; give a multiple")
        self.heads, self.width = heads, width
        self.query, self.key, self.value, self.output_projection = (
            layers.Dense(width, name=name, dtype=self.dtype_policy) for name in ("query", "key", "value", "output")
        )

    def build(self, query_shape, context_shape=None):
        self.query.build(query_shape)
        for layer in (self.key, self.value):
            layer.build(context_shape or query_shape)
        self.output_projection.build((*query_shape[:-1], self.width))

    def _split(self, x):
        """(B, S, C) → (B, heads, S, C / heads)."""
        x = ops.reshape(x, (-1, ops.shape(x)[1], self.heads, self.width // self.heads))
        return ops.transpose(x, (0, 2, 1, 3))

    def memory(self, context):
        """The keys and values of a context (B, S, C), each (B, heads, S, C / heads)."""
        return self._split(self.key(context)), self._split(self.value(context))

    def ask(self, query, memory, mask=None):
        """What queries (B, Q, C) find in a memory: (B, Q, C)."""
        found = ops.transpose(attend(self._split(self.query(query)), *memory, mask), (0, 2, 1, 3))
        return self.output_projection(ops.reshape(found, (-1, ops.shape(query)[1], self.width)))

    def call(self, query, context=None, seen=None):  # a `mask` would be Keras' own
        return self.ask(query, self.memory(query if context is None else context), seen)

    def compute_output_shape(self, query_shape, context_shape=None):
        return (*query_shape[:-1], self.width)

    def get_config(self):
        return super().get_config() | {"heads": self.heads, "width": self.width}


@keras.saving.register_keras_serializable(__name__)
class FeedForward(layers.Layer):
    """Two dense layers with an activation in between, at each position: (B, S, C) → (B, S, C) (section 3.3)."""

    def __init__(self, hidden: int, activation: str | Callable = gelu, dropout: float = 0.0, **kwargs):
        super().__init__(**kwargs)
        self.hidden, self.activation = hidden, keras.activations.get(activation)
        self.expand = layers.Dense(hidden, self.activation, name="expand", dtype=self.dtype_policy)
        self.dropout = layers.Dropout(dropout)

    def build(self, shape):
        self.reduce = layers.Dense(shape[-1], name="reduce", dtype=self.dtype_policy)
        self.expand.build(shape)
        self.reduce.build((*shape[:-1], self.hidden))

    def call(self, x, training=None):
        return self.reduce(self.dropout(self.expand(x), training=training))

    def compute_output_shape(self, shape):
        return shape

    def get_config(self):
        activation = keras.activations.serialize(self.activation)
        own = {"hidden": self.hidden, "activation": activation, "dropout": self.dropout.rate}
        return super().get_config() | own


@keras.saving.register_keras_serializable(__name__)
class Tokens(layers.Layer):
    """A learnt token before a sequence, and learnt codes of the positions: (B, S, C) → (B, 1 + S, C)."""

    def build(self, shape):
        small = keras.initializers.TruncatedNormal(stddev=0.02)
        self.token = self.add_weight(shape=(1, 1, shape[-1]), initializer=small, name="token")
        self.positions = self.add_weight(shape=(1, 1 + shape[1], shape[-1]), initializer=small, name="positions")

    def call(self, x):
        token = ops.broadcast_to(ops.cast(self.token, x.dtype), (ops.shape(x)[0], 1, x.shape[-1]))
        return ops.concatenate([token, x], 1) + ops.cast(self.positions, x.dtype)

    def compute_output_shape(self, shape):
        return (shape[0], 1 + shape[1], shape[2])


def encoder(x, depth: int, heads: int, hidden: int, name: str, *, dropout: float = 0.0):
    """(B, S, C) → (B, S, C) by `depth` blocks named `name`1_attention, `name`1_feed, and so on.

    Args:
        x: a sequence.
        depth: number of blocks.
        heads: of each attention.
        hidden: width of the feed-forward layers.
        name: first part of all names.
        dropout: of what each part adds.
    """
    attention_norm, feed_norm = layer_norm(f"{name}_attention_norm"), layer_norm(f"{name}_feed_norm")
    for index in range(1, depth + 1):
        y = Attention(heads, x.shape[-1], name=f"{name}{index}_attention")(attention_norm(x))
        x = add(x, y, f"{name}{index}_attention", dropout)
        y = FeedForward(hidden, name=f"{name}{index}_feed")(feed_norm(x))
        x = add(x, y, f"{name}{index}_feed", dropout)
    return layer_norm(f"{name}_norm")(x)


def add(x, y, name: str, dropout: float = 0.0):
    """x + y, some of y dropped in training."""
    if dropout:
        y = layers.Dropout(dropout, name=f"{name}_dropout")(y)
    return layers.Add(name=f"{name}_add")([x, y])


def greedy(step: Callable, state, start: int, end: int, length: int, classes: int, batch):
    """Tokens (B, length) int32 and their logits (B, length, classes) float32, each token being the likeliest.

    A row is done with its first token `end` or above; its logits after that are 0, and so its tokens. All stop when all
    rows are done, at `length` at the latest.

    Args:
        step: from (index, token (B,), state) to (logits (B, classes), state).
        state: tensors that the steps pass on, in a tuple; their shapes stay.
        start: the token before the first.
        end: the lowest class that ends a text.
        length: steps at most.
        classes: number of classes.
        batch: number of rows, which need not be known before.
    """

    def proceed(index, token, done, tokens, logits, *state):
        return ops.logical_and(index < length, ops.logical_not(ops.all(done)))

    def body(index, token, done, tokens, logits, *state):
        scores, state = step(index, token, state)
        running = ops.logical_not(done)
        scores = ops.cast(scores, "float32") * ops.cast(running, "float32")[:, None]
        token = ops.cast(ops.top_k(scores, 1)[1][:, 0], "int32")  # Keras' argmax has an operation ONNX does not know
        here = ops.arange(length) == index
        tokens = tokens + ops.cast(here, "int32")[None] * token[:, None]
        logits = logits + ops.cast(here, "float32")[None, :, None] * scores[:, None]
        return (index + 1, token, ops.logical_or(done, token >= end), tokens, logits, *state)

    first = ops.full((batch,), start, dtype="int32")
    blank = ops.zeros((batch, length), "int32"), ops.zeros((batch, length, classes), "float32")
    index = ops.convert_to_tensor(0, "int32")
    loop = (index, first, ops.zeros((batch,), "bool"), *blank, *state)
    _, _, _, tokens, logits, *_ = ops.while_loop(proceed, body, loop)
    return tokens, logits


def remember(cache, index, new):
    """The keys and values (B, heads, L, D) with those of step `index` (B, heads, 1, D) added where zeros were."""
    here = ops.cast(ops.arange(cache[0].shape[2]) == index, new[0].dtype)[None, None, :, None]
    return tuple(old + here * fresh for old, fresh in zip(cache, new, strict=True))
