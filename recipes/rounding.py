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


def fake_weights(kernel, axis: int):
    """A kernel as eight-bit whole numbers hold it, -127 to 127 times a scale for each channel of an axis.

    The gradient goes through as if nothing were rounded (Bengio et al. 2013, arXiv:1308.3432; Jacob et al. 2017,
    arXiv:1712.05877, section 3).
    """
    others = [index for index in range(len(kernel.shape)) if index != axis % len(kernel.shape)]
    scale = ops.maximum(ops.max(ops.abs(kernel), others, keepdims=True), 1e-12) / 127
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
    """A learner whose network computes as if in eight bits: weights by channel, what flows into each layer by tensor.

    Ranges are averages of those of the batches seen. The network's layers are changed where they stand, so that it is
    validated as it learns; its variables and the file of its weights are as before.

    Args:
        learner: to train.
        network: whose layers are changed; the learner runs it.
    """

    def __init__(self, learner: keras.Model, network: keras.Model):
        super().__init__(name=learner.name)
        self.learner, self.learning = learner, False
        kept = {"trainable": False, "aggregation": "mean", "autocast": False}
        for layer in network.layers:
            if isinstance(layer, ROUNDED):
                name = f"{layer.name}_range"  # lowest, highest, batches seen
                seen = self.add_weight(shape=(3,), initializer="zeros", dtype="float32", name=name, **kept)
                layer.call = functools.partial(self._call, layer, layer.call, seen)
        self.built = True

    def call(self, inputs, training=None):
        self.learning = bool(training)
        try:
            return self.learner(inputs, training=training)
        finally:
            self.learning = False

    def _call(self, layer, plain: Callable, seen, x, *given: Any, **named: Any):
        if self.learning:
            now = ops.cast(ops.stack([ops.min(x), ops.max(x)]), "float32")
            share = ops.maximum(0.01, 1 / (seen[2] + 1))
            ends = (1 - share) * seen[:2] + share * ops.stop_gradient(now)
            seen.assign(ops.concatenate([ends, seen[2:] + 1], 0))
        rounded = fake_values(ops.cast(x, "float32"), seen[0], seen[1])  # half precision has no room for the scales
        x = ops.where(seen[2] > 0, ops.cast(rounded, x.dtype), x)
        state = [(variable, ops.convert_to_tensor(variable)) for variable in layer.weights]
        kernel = fake_weights(ops.cast(state[0][1], "float32"), narrow.output_axis(layer))
        with keras.StatelessScope(state_mapping=[(state[0][0], kernel), *state[1:]]):
            return plain(x, *given, **named)


def prepare(bits: int, learner: keras.Model, network: keras.Model) -> keras.Model:
    """The learner, rounding where `bits` is 8.

    Raises:
        ValueError: another number but 0.
    """
    if bits not in (0, 8):
        raise ValueError(f"bits={bits}: networks learn in floating point, 0, or as if in 8 bits")
    return Rounded(learner, network) if bits else learner
