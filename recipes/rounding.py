"""Training as if in eight bits: a network learns to bear what rounding does to it. Jacob et al. 2017, arXiv:1712.05877.

    zoo train RECIPE --run RUN --start MODEL --set bits=8
    zoo compress RUN --data FOLDER --output FILE.onnx

Numbers are rounded where an eight-bit file would round them, and gradients go through as if they were not.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras
from keras import layers, ops

from zoo import narrow

ROUNDED = (layers.Conv2D, layers.DepthwiseConv2D, layers.Conv2DTranspose, layers.Dense)
SPARED = 2  # layers nearest to the picture, which stay in floating point: of few weights, and ranges too wide to round
WEIGHTS = 64  # largest whole number that a weight becomes: sums of pairs of products fit into 16 bits on any processor


def fake_weights(kernel, axis: int):
    """A kernel as eight-bit whole numbers hold it, -64 to 64 times a scale for each channel of an axis.

    The gradient goes through as if nothing were rounded (Bengio et al. 2013, arXiv:1308.3432; Jacob et al. 2017,
    arXiv:1712.05877, section 3).
    """
    others = [index for index in range(len(kernel.shape)) if index != axis % len(kernel.shape)]
    scale = ops.maximum(ops.max(ops.abs(kernel), others, keepdims=True), 1e-12) / WEIGHTS
    return kernel + ops.stop_gradient(ops.round(kernel / scale) * scale - kernel)


def fake_values(x, low, high):
    """Values as 256 equal steps from `low` to `high` hold them, 0 being one of the steps; others as the nearest.

    The gradient of values outside of the range is 0 (Jacob et al. 2017, eq. 12).
    """
    low, high = ops.minimum(low, 0.0), ops.maximum(high, 0.0)
    scale = ops.maximum(high - low, 1e-12) / 255
    zero = ops.round(-low / scale)
    inside = ops.clip(x, -zero * scale, (255 - zero) * scale)
    return inside + ops.stop_gradient((ops.clip(ops.round(x / scale) + zero, 0, 255) - zero) * scale - inside)


class Rounded(keras.Model):
    """A learner whose network computes as if in eight bits: weights by channel, what flows into and out of each layer
    by tensor.

    Ranges are averages of those of the batches seen. What flows out is rounded where a file's is: after the batch
    normalization that follows, which becomes a part of the layer there, and before the activation. The network's layers
    are changed where they stand, so that it is validated as it learns; its variables and the file of its weights are as
    before.

    Args:
        learner: to train.
        network: whose layers are changed; the learner runs it.
        spared: layers nearest to the picture that are not.
    """

    def __init__(self, learner: keras.Model, network: keras.Model, spared: int = SPARED):
        super().__init__(name=learner.name)
        self.learner, self.learning = learner, False
        for layer in [layer for layer in network.layers if isinstance(layer, ROUNDED)][spared:]:
            normalization = _normalization(layer)
            given, made = self._range(f"{layer.name}_in"), self._range(f"{layer.name}_out")
            layer.call = functools.partial(self._call, layer, layer.call, given, None if normalization else made)
            if normalization:
                normalization.call = functools.partial(self._normalized, normalization.call, made)
        self.built = True

    def _range(self, name: str) -> keras.Variable:
        """Lowest, highest, batches seen."""
        kept = {"trainable": False, "aggregation": "mean", "autocast": False}
        return self.add_weight(shape=(3,), initializer="zeros", dtype="float32", name=name, **kept)

    def call(self, inputs, training=None):
        self.learning = bool(training)
        try:
            return self.learner(inputs, training=training)
        finally:
            self.learning = False

    def _call(self, layer, plain: Callable, given, made, x, *others: Any, **named: Any):
        x = self._round(x, given)
        state = [(variable, ops.convert_to_tensor(variable)) for variable in layer.weights]
        kernel = fake_weights(ops.cast(state[0][1], "float32"), narrow.output_axis(layer))
        activation, layer.activation = layer.activation, None
        try:
            with keras.StatelessScope(state_mapping=[(state[0][0], kernel), *state[1:]]):
                y = plain(x, *others, **named)
        finally:
            layer.activation = activation
        y = y if made is None else self._round(y, made)
        return activation(y) if activation else y

    def _normalized(self, plain: Callable, made, *given: Any, **named: Any):
        return self._round(plain(*given, **named), made)

    def _round(self, x, seen):
        """Values rounded within a range, which learns from them; as they are while it has seen none."""
        if self.learning:
            now = ops.cast(ops.stack([ops.min(x), ops.max(x)]), "float32")
            share = ops.maximum(0.01, 1 / (seen[2] + 1))
            ends = (1 - share) * seen[:2] + share * ops.stop_gradient(now)
            seen.assign(ops.concatenate([ends, seen[2:] + 1], 0))
        rounded = fake_values(ops.cast(x, "float32"), seen[0], seen[1])  # half precision has no room for the scales
        return ops.where(seen[2] > 0, ops.cast(rounded, x.dtype), x)


def _normalization(layer: keras.Layer) -> keras.Layer | None:
    """The batch normalization that alone takes what a layer without an activation makes, if one does."""
    takers = [node.operation for node in layer._outbound_nodes]
    alone = len(takers) == len(layer._inbound_nodes) == 1 and layer.activation in (None, keras.activations.linear)
    return takers[0] if alone and isinstance(takers[0], layers.BatchNormalization) else None


def prepare(bits: int, learner: keras.Model, network: keras.Model, spared: int = SPARED) -> keras.Model:
    """The learner, rounding where `bits` is 8: see `Rounded`.

    Raises:
        ValueError: another number but 0.
    """
    if bits not in (0, 8):
        raise ValueError(f"bits={bits}: networks learn in floating point, 0, or as if in 8 bits")
    return Rounded(learner, network, spared) if bits else learner
