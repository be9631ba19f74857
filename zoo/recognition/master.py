"""MASTER: a transformer that writes what a convolutional network sees. Lu et al. 2019, https://arxiv.org/abs/1910.02562.

    image (B, 32, W, 3) → ResNet-31 with global context (B, 4, W/4, 512) → memory (B, W, 512), with codes of positions
    tokens so far → 3 blocks: attention to the tokens, attention to the memory, feed forward → logits (B, T, K)

Equal to docTR's `master`. T = longest + 1. After the characters the classes are the end, the start and a padding, of
which only the end stands in a text. The graph writes one character after the other and remembers keys and values. With
`teacher=True` it is the training graph, which is told the characters before each. (docTR gives one logit more, which it
reads from a padding.)
"""

from __future__ import annotations

import math
from collections.abc import Callable

import keras
from keras import layers, ops

from zoo.attention import Attention, FeedForward, greedy, layer_norm, remember, sinusoids
from zoo.backbones.resnet31 import resnet31
from zoo.charset import Charset
from zoo.layers import normalize
from zoo.recognition.crnn import MEAN, STD


@keras.saving.register_keras_serializable(__name__)
class Memory(layers.Layer):
    """A map (B, H, W, C) as a sequence (B, H·W, C), row by row, with codes of the positions added."""

    def call(self, x):
        length = ops.shape(x)[1] * ops.shape(x)[2]
        x = ops.reshape(x, (-1, length, x.shape[-1]))
        codes = ops.convert_to_tensor(sinusoids(MAP, x.shape[-1]), x.dtype)
        return x + codes[None, :length]

    def compute_output_shape(self, shape):
        length = None if shape[2] is None else shape[1] * shape[2]
        return (shape[0], length, shape[3])


MAP = 4096  # places that a memory may have


@keras.saving.register_keras_serializable(__name__)
class Decoder(layers.Layer):
    """Memory (B, S, C) → logits (B, T, K), by itself or told the tokens (B, T).

    Args:
        characters: their number; the end, the start and a padding are the classes after them.
        steps: T.
        depth: number of blocks, which share their normalizations.
        heads: of each attention.
        hidden: width of the feed-forward layers.
        dropout: in training.
    """

    def __init__(
        self, characters: int, steps: int, depth: int, heads: int, hidden: int, dropout: float = 0.2, **kwargs
    ):
        super().__init__(**kwargs)
        self.characters, self.steps, self.depth = characters, steps, depth
        self.heads, self.hidden, self.rate = heads, hidden, dropout
        self.classes = characters + 3
        self.dropout = layers.Dropout(dropout)

    def build(self, memory_shape, tokens_shape=None):
        width = memory_shape[-1]
        policy = {"dtype": self.dtype_policy}
        self.embedding = layers.Embedding(self.classes, width, name="embedding", **policy)
        self.attentions, self.cross_attentions, self.feeds = [], [], []
        for index in range(1, self.depth + 1):
            self.attentions.append(Attention(self.heads, width, name=f"attention{index}", **policy))
            self.cross_attentions.append(Attention(self.heads, width, name=f"cross_attention{index}", **policy))
            self.feeds.append(FeedForward(self.hidden, "relu", self.rate, name=f"feed{index}", **policy))
        self.attention_norm, self.cross_norm, self.feed_norm, self.output_norm = norms = [
            layer_norm(f"{part}_norm") for part in ("attention", "cross", "feed", "output")
        ]
        self.logits = layers.Dense(self.classes, dtype="float32", name="logits")
        for layer in (*self.attentions, *self.cross_attentions, *self.feeds, self.logits, *norms):
            layer.build((None, self.steps, width))
        self.embedding.build((None, self.steps))
        self.codes = sinusoids(self.steps, width)

    def content(self, tokens, codes):
        """(B, L, C): what tokens (B, L) say, and where they stand."""
        return math.sqrt(self.codes.shape[-1]) * self.embedding(tokens) + ops.cast(codes, self.compute_dtype)

    def decode(self, x, memories, look: Callable, training=None):
        """Logits of the contents x; `look(index, x)` is what the attention number `index` finds in the tokens."""
        x = self.dropout(x, training=training)
        for index, (cross, feed) in enumerate(zip(self.cross_attentions, self.feeds, strict=True)):
            x = x + self.dropout(look(index, self.attention_norm(x)), training=training)
            x = x + self.dropout(cross.ask(self.cross_norm(x), memories[index]), training=training)
            x = x + self.dropout(feed(self.feed_norm(x), training=training), training=training)
        return self.logits(self.output_norm(x))

    def call(self, memory, tokens=None, training=None):
        memories = [cross.memory(memory) for cross in self.cross_attentions]
        if tokens is None:
            return self.write(memories, ops.shape(memory)[0])
        index = ops.arange(self.steps)
        seen = index[None] <= index[:, None]

        def look(number, x):
            return self.attentions[number](x, seen=seen)

        return self.decode(self.content(tokens, self.codes[None]), memories, look, training)

    def write(self, memories, batch):
        """Logits (B, T, K), each character known to those after it; 0 after the end."""
        width = self.codes.shape[-1]
        codes = ops.convert_to_tensor(self.codes[None])

        def step(index, token, state):
            state = list(state)
            seen = ops.arange(self.steps)[None] <= index

            def look(number, x):
                attention, place = self.attentions[number], slice(2 * number, 2 * number + 2)
                state[place] = remember(state[place], index, attention.memory(x))
                return attention.ask(x, state[place], seen)

            content = self.content(token[:, None], ops.take(codes, index[None], 1))
            return self.decode(content, memories, look)[:, 0], tuple(state)

        empty = ops.zeros((batch, self.heads, self.steps, width // self.heads), self.compute_dtype)
        state = (empty,) * (2 * self.depth)
        start, end = self.characters + 1, self.characters
        return greedy(step, state, start, end, self.steps, self.classes, batch)[1]

    def compute_output_spec(self, memory, tokens=None, training=None):
        return keras.KerasTensor((memory.shape[0], self.steps, self.classes), "float32")

    def get_config(self):
        own = {"characters": self.characters, "steps": self.steps, "depth": self.depth, "heads": self.heads}
        return super().get_config() | own | {"hidden": self.hidden, "dropout": self.rate}


def master(
    *,
    features: str = "resnet31",
    charset: str = "french",
    longest: int = 48,
    depth: int = 3,
    heads: int = 8,
    hidden: int = 2048,
    image_size: tuple[int | None, int | None] = (32, None),
    teacher: bool = False,
    name: str = "master",
) -> keras.Model:
    """The network from a strip's pixels to {"logits": (B, longest + 1, characters + 3)}.

    Args:
        features: a ResNet-31 of `zoo.backbones.resnet31`.
        charset: name of an alphabet in `zoo.charset`, or the characters themselves, in the order of the classes.
        longest: characters of a text at most.
        depth: blocks of the decoder.
        heads: of the decoder's attentions.
        hidden: width of its feed-forward layers.
        image_size: (height, width) in pixels; None leaves the width free.
        teacher: the training graph, which also takes "tokens" (B, T) int32: the start, whose class follows the end's,
            and the text. Its variables are the same.
        name: of the model.
    """
    image = keras.Input((*image_size, 3), name="image")
    x = resnet31(normalize(image, MEAN, STD), features, context=True, rectified=False)
    memory = Memory(name="memory")(x)
    steps = longest + 1
    decoder = Decoder(len(Charset(charset)), steps, depth, heads, hidden, name="decoder")
    if not teacher:
        return keras.Model(image, {"logits": decoder(memory)}, name=name)
    tokens = keras.Input((steps,), dtype="int32", name="tokens")
    return keras.Model({"image": image, "tokens": tokens}, {"logits": decoder(memory, tokens)}, name=name)
