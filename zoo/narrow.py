"""Narrower networks: the same graph with fewer channels, and which channels can go.

    narrowed(of="zoo.recognition.crnn:crnn", filters={"head_conv": 288, …}, features=…, …)   the builder of their cards

A channel is made by a convolution or a dense layer and runs through normalizations, activations, depthwise convolutions
and pools to the kernels that sum over it. What is added, or multiplied by a gate, is one channel: all its makers lose
it together. Channels that reach anything else (a reshape, a recurrent layer, an output) stay. Li et al. 2016,
https://arxiv.org/abs/1608.08710, for plain and residual networks; here for any functional graph.
"""

from __future__ import annotations

import importlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import keras
import numpy as np
from keras import layers, ops

from zoo.layers import Upsample

MAKERS = (layers.Conv2D, layers.Conv2DTranspose, layers.Dense)
PASSING = (
    layers.BatchNormalization, layers.DepthwiseConv2D, layers.Activation, layers.ReLU, layers.ZeroPadding2D,
    layers.Cropping2D, layers.MaxPooling2D, layers.AveragePooling2D, layers.GlobalAveragePooling2D,
    layers.UpSampling2D, layers.Dropout, Upsample,
)  # fmt: skip


def narrowed(*, of: str, filters: Mapping[str, int], name: str = "narrowed", **options) -> keras.Model:
    """The network of another builder with fewer channels.

    Args:
        of: dotted name of that builder, as in a card.
        filters: output channels of the layers that have fewer, by name.
        name: of the model.
        **options: of that builder.

    Raises:
        ValueError: `of` is no builder of this package: a card from anywhere must not be able to call anything else.
    """
    module, _, function = of.partition(":")
    if not (module.startswith("zoo.") and function.isidentifier()):
        raise ValueError(f"of={of!r} is not of the form 'zoo.module:function'")
    return rebuilt(getattr(importlib.import_module(module), function)(name=name, **options), filters)


def rebuilt(network: keras.Model, filters: Mapping[str, int]) -> keras.Model:
    """The network drawn anew, random, with so many output channels of the layers named."""

    def drawn(operation):
        if not isinstance(operation, layers.Layer):
            return operation
        config = _unbuilt(operation.get_config())
        if operation.name in filters:
            config["units" if isinstance(operation, layers.Dense) else "filters"] = int(filters[operation.name])
        return operation.__class__.from_config(config)

    return keras.models.clone_model(network, clone_function=drawn)


def _unbuilt(config):
    """A configuration without what would build inner layers at once, whose paths then lack the outer name."""
    if isinstance(config, list):
        return [_unbuilt(value) for value in config]
    if not isinstance(config, dict):
        return config
    return {key: _unbuilt(value) for key, value in config.items() if key != "build_config"}


# ---------------------------------------------------------------- which channels are one


@dataclass
class Channels:
    """The channels of a network, by number; those that go together have one root.

    Attributes:
        parents: of each channel, which leads to its root.
        fixed: channels that stay.
        given, made: for each layer with weights its input and output channels.
    """

    parents: list[int] = field(default_factory=list)
    fixed: set[int] = field(default_factory=set)
    given: dict[str, list[int]] = field(default_factory=dict)
    made: dict[str, list[int]] = field(default_factory=dict)

    def new(self, count: int) -> list[int]:
        start = len(self.parents)
        self.parents += range(start, start + count)
        return list(range(start, start + count))

    def root(self, channel: int) -> int:
        while self.parents[channel] != channel:
            self.parents[channel] = self.parents[self.parents[channel]]
            channel = self.parents[channel]
        return channel

    def join(self, one: list[int], other: list[int]) -> None:
        for a, b in zip(one, other, strict=True):
            self.parents[self.root(b)] = self.root(a)

    def stay(self, channels: list[int]) -> None:
        self.fixed.update(channels)

    def free(self) -> set[int]:
        """The roots of channels that can go."""
        fixed = {self.root(channel) for channel in self.fixed}
        return {self.root(channel) for channel in range(len(self.parents))} - fixed


def channels(network: keras.Model) -> Channels:
    """The channels of a functional network."""
    found = Channels()
    of: dict[int, list[int]] = {}  # the channels of each tensor
    offset: set[int] = set()  # tensors whose channels are not 0 when their makers are
    for tensor in network.inputs:
        of[id(tensor)] = found.new(tensor.shape[-1])
        found.stay(of[id(tensor)])
    for depth in sorted(network._nodes_by_depth, reverse=True):
        for node in network._nodes_by_depth[depth]:
            if not node.is_input:
                _pass(node, found, of, offset)
    for tensor in network.outputs:
        found.stay(of[id(tensor)])
    return found


def _pass(node, found: Channels, of: dict[int, list[int]], offset: set[int]) -> None:
    """The channels of what a node gives, from those of what it takes."""
    operation, tensors, (output, *more) = node.operation, node.input_tensors, node.outputs
    inputs = [of[id(tensor)] for tensor in tensors]
    gated = isinstance(operation, layers.Multiply)
    for tensor, ids in zip(tensors, inputs, strict=True):
        if id(tensor) in offset and not gated:
            found.stay(ids)
    if isinstance(operation, MAKERS) and getattr(operation, "groups", 1) == 1:
        result = found.new(output.shape[-1])
        found.given[operation.name], found.made[operation.name] = inputs[0], result
    elif _passes(operation, tensors[0], output):
        result = inputs[0]
        if isinstance(operation, layers.Layer) and operation.weights:
            found.given[operation.name] = found.made[operation.name] = result
        if isinstance(operation, layers.Activation) and _at_zero(operation):
            offset.add(id(output))
    elif isinstance(operation, layers.Add) or gated:
        result = max(inputs, key=len)
        for ids in inputs:
            if len(ids) == len(result):
                found.join(result, ids)
            else:  # one gate for all channels
                found.stay(ids)
    elif isinstance(operation, layers.Concatenate) and operation.axis in (-1, len(output.shape) - 1):
        result = [channel for ids in inputs for channel in ids]
    else:
        for ids in inputs:
            found.stay(ids)
        result = found.new(output.shape[-1])
        found.stay(result)
        for tensor in more:
            of[id(tensor)] = found.new(tensor.shape[-1])
            found.stay(of[id(tensor)])
    of[id(output)] = result


def _passes(operation, given, output) -> bool:
    """Whether each channel of the output comes of the same channel of the input alone."""
    if isinstance(operation, layers.DepthwiseConv2D):
        return operation.depth_multiplier == 1
    slices = type(operation).__name__ == "GetItem" and given.shape[-1] == output.shape[-1]
    return isinstance(operation, PASSING) or (slices and len(given.shape) == len(output.shape))


def _at_zero(operation: layers.Activation) -> bool:
    """Whether an activation makes something of nothing, as a sigmoid does."""
    return float(ops.convert_to_numpy(operation.activation(ops.zeros((1,))))[0]) != 0


# ---------------------------------------------------------------- which of them go


def least(network: keras.Model, share: float, multiple: int = 8) -> set[int]:
    """The roots of the channels that matter least: about this share of those that go together, by layers.

    A channel matters as much as the kernels that make it, Σ|w| (Li et al. 2016, section 3.1), each over the mean of its
    layer; where a batch normalization follows a kernel, |γ| in its place (Liu et al. 2017, arXiv:1708.06519).

    Args:
        network: a functional one.
        share: of the channels, in [0, 1).
        multiple: what is left of a layer is a multiple of this, where it had so many.
    """
    found = channels(network)
    free: set[int] = found.free()
    matter: defaultdict[int, float] = defaultdict(float)
    scaled = {
        root: layer
        for layer in network.layers
        if isinstance(layer, layers.BatchNormalization) and layer.scale
        for root in map(found.root, found.made.get(layer.name, ()))
    }
    groups: dict[frozenset[int], int] = {}
    for name, ids in found.made.items():
        layer, roots = network.get_layer(name), [found.root(channel) for channel in ids]
        if isinstance(layer, MAKERS) and free.issuperset(roots):
            groups[frozenset(roots)] = len(set(roots))
        normal = isinstance(layer, layers.BatchNormalization)
        if normal and layer.scale:
            sizes = np.abs(np.asarray(layer.gamma))
        elif isinstance(layer, MAKERS) and not any(root in scaled for root in roots):
            sizes = np.abs(np.moveaxis(np.asarray(layer.kernel), output_axis(layer), 0)).reshape(len(ids), -1).sum(1)
        else:
            continue
        for root, size in zip(roots, sizes / max(float(sizes.mean()), 1e-12), strict=True):
            matter[root] += float(size)
    gone: set[int] = set()
    for group, count in groups.items():
        left = max(multiple, round((1 - share) * count / multiple) * multiple) if count >= multiple else count
        gone.update(sorted(group, key=lambda root: (matter[root], root))[: max(0, count - left)])
    return gone


def output_axis(layer: layers.Layer) -> int:
    """The axis of a layer's kernel for its output channels."""
    return 2 if isinstance(layer, (layers.Conv2DTranspose, layers.DepthwiseConv2D)) else -1


def masked(network: keras.Model, gone: set[int]) -> None:
    """Makes the network give nothing in the channels that go: their kernels, biases and batch normalizations are 0."""
    found = channels(network)
    for name, ids in found.made.items():
        layer = network.get_layer(name)
        zero = np.array([found.root(channel) in gone for channel in ids])
        kept = (~zero).astype("float32")
        for variable in layer.trainable_variables:
            axis = output_axis(layer) % len(variable.shape) if len(variable.shape) > 1 else 0
            shape = [-1 if index == axis else 1 for index in range(len(variable.shape))]
            variable.assign(np.asarray(variable) * kept.reshape(shape))


def cut(network: keras.Model, gone: set[int]) -> tuple[keras.Model, dict[str, int]]:
    """The network without these channels, equal to the masked one, and the output channels of the layers with fewer."""
    found = channels(network)

    def kept(ids: list[int]) -> np.ndarray:
        return np.array([index for index, channel in enumerate(ids) if found.root(channel) not in gone], int)

    filters = {
        name: len(kept(ids))
        for name, ids in found.made.items()
        if isinstance(network.get_layer(name), MAKERS) and len(kept(ids)) < len(ids)
    }
    smaller = rebuilt(network, filters)
    for layer in network.layers:
        if not layer.weights:
            continue
        values = [np.asarray(ops.convert_to_numpy(value)) for value in layer.weights]
        if layer.name in found.made:
            rows, columns = kept(found.given[layer.name]), kept(found.made[layer.name])
            values = [_taken(layer, value, rows, columns) for value in values]
        smaller.get_layer(layer.name).set_weights(values)
    return smaller, filters


def _taken(layer, value: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """What is left of a layer's variable."""
    if value.ndim == 1:
        return value[columns]
    if isinstance(layer, layers.DepthwiseConv2D):
        return value[:, :, columns]
    value = np.take(value, columns, output_axis(layer))
    return np.take(value, rows, -1 if isinstance(layer, layers.Conv2DTranspose) else -2)
