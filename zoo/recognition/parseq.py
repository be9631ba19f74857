"""PARSeq: a reader of characters in any order. Bautista and Atienza 2022, https://arxiv.org/abs/2207.06966.

    image (B, 32, 128, 3) → ViT over patches of 4 × 8 pixels → memory (B, 128, C)
    position queries (T, C), which see the characters before them, then the memory → logits (B, T, K)

Equal to docTR's `parseq`. T = longest + 1; the last class, K - 1 = characters, ends the text. The query of a position
asks two streams: the characters that it may see, and the picture. Which it may see is a mask: those to the left make a
reader from left to right; all but its own refine a text that was read. The graph reads from left to right, each
character by itself, and refines once. With `teacher=True` it is the training graph: all characters are known and each
position sees those that come before it in an order, in several orders at once (section 3.2 of the paper).
"""

from __future__ import annotations

import math

import keras
from keras import layers, ops

from zoo.attention import Attention, FeedForward, greedy, layer_norm, remember
from zoo.backbones.vit import RATIO, vit
from zoo.charset import Charset
from zoo.layers import normalize
from zoo.recognition.crnn import MEAN, STD


@keras.saving.register_keras_serializable(__name__)
class Decoder(layers.Layer):
    """Memory (B, S, C) → logits (B, T, K); with tokens and masks, logits (B, P, T, K) of P orders.

    Args:
        classes: K, of which the last is the end; the tokens also have a start, K, and a padding.
        steps: T.
        heads: of both attentions.
        dropout: in training.
    """

    def __init__(self, classes: int, steps: int, heads: int, dropout: float = 0.1, **kwargs):
        super().__init__(**kwargs)
        self.classes, self.steps, self.heads, self.rate = classes, steps, heads, dropout
        self.dropout = layers.Dropout(dropout)

    def build(self, memory_shape, tokens_shape=None, masks_shape=None):
        width = memory_shape[-1]
        small = keras.initializers.TruncatedNormal(stddev=0.02)
        policy = {"dtype": self.dtype_policy}
        self.positions = self.add_weight(shape=(1, self.steps, width), initializer=small, name="positions")
        self.embedding = layers.Embedding(self.classes + 2, width, small, name="embedding", **policy)
        self.attention = Attention(self.heads, width, name="attention", **policy)
        self.cross_attention = Attention(self.heads, width, name="cross_attention", **policy)
        self.feed = FeedForward(RATIO * width, dropout=self.rate, name="feed", **policy)
        self.query_norm, self.content_norm, self.feed_norm, self.output_norm = norms = [
            layer_norm(f"{part}_norm") for part in ("query", "content", "feed", "output")
        ]
        self.logits = layers.Dense(self.classes, dtype="float32", name="logits")
        shape = (None, self.steps, width)
        for layer in (self.attention, self.cross_attention, self.feed, self.logits, *norms):
            layer.build(shape)
        self.embedding.build((None, self.steps))

    def content(self, tokens, positions):
        """(B, L, C): what tokens (B, L) say, and where each stands."""
        return math.sqrt(self.positions.shape[-1]) * self.embedding(tokens) + ops.cast(positions, self.compute_dtype)

    def places(self):
        """(1, T, C): the start, which is a token, too, stands nowhere; the character after it at the first position."""
        return ops.pad(self.positions[:, :-1], ((0, 0), (1, 0), (0, 0)))

    def known(self, content):
        """Keys and values of what queries may see."""
        return self.attention.memory(self.content_norm(content))

    def read(self, query, known, memory, mask, training=None):
        """Logits (B, Q, K) of queries (B, Q, C): they see `known` through a mask (…, Q, L), then the memory."""
        query = self.dropout(query, training=training)
        found = self.attention.ask(self.query_norm(query), known, mask)
        query = query + self.dropout(found, training=training)
        found = self.cross_attention.ask(self.query_norm(query), memory)
        query = query + self.dropout(found, training=training)
        query = query + self.dropout(self.feed(self.feed_norm(query), training=training), training=training)
        return self.logits(self.output_norm(query))

    def call(self, memory, tokens=None, masks=None, training=None):
        batch = ops.shape(memory)[0]
        memory = self.cross_attention.memory(memory)
        if tokens is None:
            return self.refine(self.scan(memory, batch), memory, batch)
        known = self.known(self.dropout(self.content(tokens, self.places()), training=training))
        orders = ops.shape(masks)[1]
        query = self.queries(batch, orders)
        mask = ops.reshape(masks, (-1, 1, orders * self.steps, self.steps))
        logits = self.read(query, known, memory, ops.cast(mask, "bool"), training)
        return ops.reshape(logits, (-1, orders, self.steps, self.classes))

    def queries(self, batch, orders=1):
        """(B, P·T, C): the query of each position, once for each order."""
        return ops.tile(ops.cast(self.positions, self.compute_dtype), (batch, orders, 1))

    def scan(self, memory, batch):
        """Tokens (B, T) read from left to right; 0 after the end."""
        width, places = self.positions.shape[-1], self.places()

        def step(index, token, known):
            place = ops.take(places, index[None], 1)
            known = remember(known, index, self.known(self.content(token[:, None], place)))
            query = ops.cast(ops.take(self.positions, index[None], 1), self.compute_dtype)
            query = ops.broadcast_to(query, (batch, 1, width))
            seen = ops.arange(self.steps)[None] <= index
            return self.read(query, known, memory, seen)[:, 0], known

        empty = ops.zeros((batch, self.heads, self.steps, width // self.heads), self.compute_dtype)
        return greedy(step, (empty, empty), self.classes, self.classes - 1, self.steps, self.classes, batch)[0]

    def refine(self, tokens, memory, batch):
        """Logits (B, T, K) of positions that each see all characters that were read but their own."""
        start = ops.full((batch, 1), self.classes, dtype="int32")
        tokens = ops.concatenate([start, tokens[:, :-1]], 1)
        index = ops.arange(self.steps)
        other = index[None] != index[:, None] + 1  # token i + 1 is character i
        ended = ops.cumsum(ops.cast(tokens == self.classes - 1, "int32"), 1) > 0
        mask = ops.logical_and(other, ops.logical_not(ended)[:, None, None])
        return self.read(self.queries(batch), self.known(self.content(tokens, self.places())), memory, mask)

    def compute_output_spec(self, memory, tokens=None, masks=None, training=None):
        orders = () if masks is None else (masks.shape[1],)
        return keras.KerasTensor((memory.shape[0], *orders, self.steps, self.classes), "float32")

    def get_config(self):
        own = {"classes": self.classes, "steps": self.steps, "heads": self.heads, "dropout": self.rate}
        return super().get_config() | own


def parseq(
    *,
    features: str,
    charset: str = "french",
    longest: int = 32,
    heads: int = 12,
    orders: int = 6,
    image_size: tuple[int, int] = (32, 128),
    patch: tuple[int, int] = (4, 8),
    teacher: bool = False,
    name: str = "parseq",
) -> keras.Model:
    """The network from a strip's pixels to {"logits": (B, longest + 1, characters + 1)}.

    With `teacher`, from pixels, "tokens" (B, T) int32 and "masks" (B, orders, T, T) bool to {"logits": (B, orders, T,
    K)}. The tokens are the start, whose class is K, and the text; masks[b, p, i, j] says whether the position i sees
    the token j.

    Args:
        features: a ViT of `zoo.backbones.vit`.
        charset: name of an alphabet in `zoo.charset`, or the characters themselves, in the order of the classes.
        longest: characters of a text at most.
        heads: of the decoder's attentions.
        orders: in which the training graph reads at once.
        image_size: (height, width) in pixels, multiples of the patch's.
        patch: (height, width) in pixels.
        teacher: the training graph; its variables are the same.
        name: of the model.
    """
    image = keras.Input((*image_size, 3), name="image")
    memory = layers.Cropping1D((1, 0), name="memory")(vit(normalize(image, MEAN, STD), features, patch))
    steps = longest + 1
    decoder = Decoder(len(Charset(charset)) + 1, steps, heads, name="decoder")
    if not teacher:
        return keras.Model(image, {"logits": decoder(memory)}, name=name)
    tokens = keras.Input((steps,), dtype="int32", name="tokens")
    masks = keras.Input((orders, steps, steps), dtype="bool", name="masks")
    inputs = {"image": image, "tokens": tokens, "masks": masks}
    return keras.Model(inputs, {"logits": decoder(memory, tokens, masks)}, name=name)
