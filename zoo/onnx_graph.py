"""ONNX graphs made quicker, with the same values: what the converter from TensorFlow leaves to be done.

Runtimes keep convolutions, and what else they know how to, in a layout of their own; each operation that breaks it
costs two changes of layout. On the detector of the default pair all of this saves a third of the time.

- Cast, Mul, Add, Transpose of a picture become Transpose, Cast, Mul, Add: bytes are moved, not floats.
- Add, Clip, Mul that are a hard sigmoid become one.
- ReduceMean of whole planes becomes GlobalAveragePool.
- Resize to a multiple of the size that its input has becomes one by a factor.
- ConvTranspose, Slice, Pad lose the latter two where strides are as large as the kernel: nothing overhangs.
- ConvTranspose, Mul, Add become weights and a bias, as runtimes make of a convolution's normalization.
- Reshape, Squeeze that turn planes of one channel round become a Transpose. The converter forgets the Squeeze now and
  then (tf2onnx 1.17, where what it turns is an output), by the order in which Python's sets happen to be.
- ConvTranspose, Relu, ConvTranspose of such strides become products at each place of the small map, and what they made
  is spread out at the end, when it is little.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper


def quicker(model: ModelProto) -> ModelProto:
    """The model, changed in place."""
    for changes in (EACH, AFTERWARDS):
        graph = _Graph(model)
        for node in list(model.graph.node):
            for change in changes.get(node.op_type, ()):
                change(graph, node)
        graph.finish()
    return model


class _Graph:
    """A model's nodes by what they make and take, and its constants."""

    def __init__(self, model: ModelProto):
        self.model, self.removed = model, set[str]()
        self.constants = {given.name: numpy_helper.to_array(given) for given in model.graph.initializer}
        self.makers = {name: node for node in model.graph.node for name in node.output}
        self.takers: dict[str, list[NodeProto]] = {}
        for node in model.graph.node:
            for name in node.input:
                self.takers.setdefault(name, []).append(node)
        self.results = {output.name for output in model.graph.output} | _within(model.graph.node)

    def only(self, node: NodeProto, kind: str) -> NodeProto | None:
        """The node of a kind that alone takes what another makes; who takes its shape does not count."""
        takers = [taker for taker in self.takers.get(node.output[0], []) if taker.op_type != "Shape"]
        fits = len(takers) == 1 and takers[0].op_type == kind and node.output[0] not in self.results
        return takers[0] if fits else None

    def measure(self, nodes: Sequence[NodeProto], name: str) -> None:
        """Has who takes the shape of what nodes make, which go, take that of `name`, which is as large."""
        for node in nodes:
            for taker in self.takers.get(node.output[0], []):
                if taker.op_type == "Shape":
                    taker.input[0] = name

    def measured(self, node: NodeProto) -> bool:
        return any(taker.op_type == "Shape" for taker in self.takers.get(node.output[0], []))

    def constant(self, node: NodeProto) -> np.ndarray | None:
        """The one input of a Mul or Add that is constant."""
        return next((self.constants[name] for name in node.input if name in self.constants), None)

    def add(self, value: np.ndarray, name: str) -> str:
        self.model.graph.initializer.append(numpy_helper.from_array(value, name))
        self.constants[name] = value
        return name

    def skip(self, node: NodeProto, source: NodeProto) -> None:
        """Has `source` make what `node` made, which goes."""
        old, new = source.output[0], node.output[0]
        for taker in self.takers.pop(old, []):
            if taker is not node:
                taker.input[:] = [new if name == old else name for name in taker.input]
                self.takers.setdefault(new, []).append(taker)
        source.output[0] = new
        self.makers[new] = source
        self.removed.add(node.name)

    def finish(self) -> None:
        """Takes out the nodes that went, and those that nobody needs any more."""
        nodes = [node for node in self.model.graph.node if node.name not in self.removed]
        while True:
            needed = {name for node in nodes for name in node.input} | self.results
            kept = [node for node in nodes if needed.intersection(node.output)]
            if len(kept) == len(nodes):
                break
            nodes = kept
        used = {name for node in nodes for name in node.input} | self.results
        constants = [given for given in self.model.graph.initializer if given.name in used]
        del self.model.graph.node[:], self.model.graph.initializer[:]
        self.model.graph.node.extend(nodes)
        self.model.graph.initializer.extend(constants)


def _within(nodes: Iterable[NodeProto]) -> set[str]:
    """Names that the bodies of loops and branches take, some of them from outside: they are kept like results."""
    bodies = [body for node in nodes for given in node.attribute for body in (given.g, *given.graphs)]
    names = {name for body in bodies for node in body.node for name in node.input}
    names |= {output.name for body in bodies for output in body.output}
    return names.union(*(_within(body.node) for body in bodies))


def _attribute(node: NodeProto, name: str) -> Any:
    return next((helper.get_attribute_value(given) for given in node.attribute if given.name == name), None)


def _planes_first(graph: _Graph, transpose: NodeProto) -> None:
    if list(_attribute(transpose, "perm") or ()) != [0, 3, 1, 2]:
        return
    chain = [transpose]
    for kind in ("Add", "Mul", "Cast"):
        found = [graph.makers[name] for name in chain[0].input if name in graph.makers]
        if len(found) != 1 or found[0].op_type != kind or graph.only(found[0], chain[0].op_type) is not chain[0]:
            return
        chain.insert(0, found[0])
    cast, mul, add, _ = chain
    constants = [graph.constant(node) for node in (mul, add)]
    if any(value is None or value.ndim > 1 for value in constants):
        return
    image, last = cast.input[0], transpose.output[0]
    planes, floats, scaled = (f"{image}_{part}" for part in ("planes", "floats", "scaled"))
    for value, node in zip(constants, (mul, add), strict=True):
        graph.add(np.reshape(value, (-1, 1, 1)), f"{node.name}_planes")  # type: ignore[arg-type]
    nodes = [
        helper.make_node("Transpose", [image], [planes], f"{image}_to_planes", perm=[0, 3, 1, 2]),
        helper.make_node("Cast", [planes], [floats], f"{image}_to_floats", to=_attribute(cast, "to")),
        helper.make_node("Mul", [floats, f"{mul.name}_planes"], [scaled], f"{mul.name}_planes"),
        helper.make_node("Add", [scaled, f"{add.name}_planes"], [last], f"{add.name}_planes"),
    ]
    _insert(graph, nodes, transpose)
    graph.measure(chain[:-1], image)
    graph.removed.update(node.name for node in chain)


def _hard_sigmoid(graph: _Graph, clip: NodeProto) -> None:
    """max(0, min(top, x + shift)) · scale is max(0, min(1, x · scale + shift · scale)) where top · scale is 1."""
    add, mul = graph.makers.get(clip.input[0]), graph.only(clip, "Mul")
    if add is None or mul is None or add.op_type != "Add" or graph.only(add, "Clip") is not clip:
        return
    given = [*(graph.constants.get(name) for name in clip.input[1:]), graph.constant(add), graph.constant(mul)]
    values = [float(value.item()) for value in given if value is not None and value.size == 1]
    if len(values) != 4:
        return
    low, top, shift, scale = values
    if low != 0 or abs(top * scale - 1) > 1e-6:
        return
    source = next(name for name in add.input if name not in graph.constants)
    node = helper.make_node(
        "HardSigmoid", [source], [mul.output[0]], f"{clip.name}_hard_sigmoid", alpha=scale, beta=shift * scale
    )
    _insert(graph, [node], mul)
    graph.measure((add, clip), source)
    graph.removed.update((add.name, clip.name, mul.name))


def _pooled(graph: _Graph, node: NodeProto) -> None:
    axes = graph.constants.get(node.input[1]) if len(node.input) > 1 else None
    if axes is None or axes.tolist() not in ([2, 3], [-2, -1]) or _attribute(node, "keepdims") == 0:
        return
    node.op_type = "GlobalAveragePool"
    del node.input[1:], node.attribute[:]


def _turned_round(graph: _Graph, node: NodeProto) -> None:
    shape = graph.constants.get(node.input[1])
    if shape is None or shape.tolist() != [1, -1, 0, 0, 1] or _attribute(node, "allowzero"):
        return
    if squeeze := graph.only(node, "Squeeze"):
        graph.skip(squeeze, node)
    node.op_type = "Transpose"
    del node.input[1:], node.attribute[:]
    node.attribute.append(helper.make_attribute("perm", [0, 2, 3, 1]))


def _by_factor(graph: _Graph, node: NodeProto) -> None:
    """The size asked for is a Mul of a shape and a constant, beside the two sides that stay: see `onnx_file.Resize`."""
    if len(node.input) < 4 or node.input[3] not in graph.makers:
        return
    factors, left = [], [node.input[3]]
    while left:
        maker = graph.makers.get(left.pop())
        if maker is None or maker.op_type == "Shape":
            continue
        if maker.op_type == "Mul":
            factors.append(graph.constant(maker))
        elif maker.op_type in ("Concat", "Cast", "Slice", "Gather"):
            left += maker.input
        else:
            return
    if len(factors) != 1 or factors[0] is None or factors[0].size != 1:
        return
    factor = float(factors[0].item())
    roi = node.input[1]
    del node.input[1:]
    node.input.extend([roi, graph.add(np.array([1, 1, factor, factor], "float32"), f"{node.name}_scales")])


def _without_overhang(node: NodeProto) -> int:
    """The side of a square kernel that is as large as the strides; 0 for another."""
    strides, kernel = (list(_attribute(node, name) or ()) for name in ("strides", "kernel_shape"))
    plain = not any(_attribute(node, name) for name in ("pads", "output_padding", "output_shape"))
    return kernel[0] if plain and strides == kernel and len(set(kernel)) == 1 else 0


def _as_it_is(graph: _Graph, node: NodeProto) -> None:
    if not _without_overhang(node):
        return
    for kind in ("Slice", "Pad"):
        if extra := graph.only(node, kind):
            graph.skip(extra, node)


def _folded(graph: _Graph, node: NodeProto) -> None:
    kernel = graph.constants.get(node.input[1])  # (in, out / group, h, w)
    if kernel is None or (_attribute(node, "group") or 1) != 1:
        return
    folded = False
    bias = graph.constants[node.input[2]] if len(node.input) > 2 else np.zeros(kernel.shape[1], kernel.dtype)
    for kind in ("Mul", "Add"):
        step = graph.only(node, kind)
        value = None if step is None else graph.constant(step)
        if step is None or value is None or value.ndim > 4 or value.size not in (1, len(bias)):
            continue
        if value.size > 1 and (value.ndim < 3 or value.shape[-3] != len(bias)):
            continue
        each = np.broadcast_to(value.reshape(-1), bias.shape)
        kernel, bias = (kernel * each[:, None, None], bias * each) if kind == "Mul" else (kernel, bias + each)
        graph.skip(step, node)
        folded = True
    if not folded:
        return
    names = [graph.add(value, f"{node.name}_{part}") for value, part in ((kernel, "kernel"), (bias, "bias"))]
    del node.input[1:]
    node.input.extend(names)


def _spread_late(graph: _Graph, first: NodeProto) -> None:
    relu = graph.only(first, "Relu")
    second = graph.only(relu or first, "ConvTranspose")
    if second is None or not all(_is_product(graph, node) for node in (first, second)):
        return
    if any(graph.measured(node) for node in (first, relu) if node is not None):
        return
    sides = _without_overhang(first), _without_overhang(second)
    nodes = [_product(graph, first, first.input[0], 1)]
    if relu is not None:
        name = f"{relu.name}_products"
        nodes.append(helper.make_node("Relu", nodes[-1].output, [name], name))
    nodes.append(_product(graph, second, nodes[-1].output[0], sides[0] ** 2))
    for node, side in zip((first, second), sides, strict=True):
        name = f"{node.name}_spread"
        outputs = [name] if node is first else second.output
        nodes.append(helper.make_node("DepthToSpace", nodes[-1].output, outputs, name, blocksize=side, mode="DCR"))
    _insert(graph, nodes, second)
    graph.removed.update(node.name for node in (first, relu, second) if node is not None)


def _is_product(graph: _Graph, node: NodeProto) -> bool:
    constant = all(name in graph.constants for name in node.input[1:])
    return constant and _without_overhang(node) > 0 and (_attribute(node, "group") or 1) == 1


def _product(graph: _Graph, node: NodeProto, source: str, groups: int) -> NodeProto:
    """The convolution of one pixel that makes all that a transposed one makes of it, for each group of channels alike.

    Row i and column j of channel c are channel (i · side + j) · channels + c.
    """
    kernel = graph.constants[node.input[1]]  # (in, out, side, side)
    weights = kernel.transpose(2, 3, 1, 0).reshape(-1, len(kernel), 1, 1)
    bias = graph.constants[node.input[2]] if len(node.input) > 2 else np.zeros(kernel.shape[1], kernel.dtype)
    biases = np.tile(bias, len(weights) // len(bias) * groups)
    inputs = [source, graph.add(np.tile(weights, (groups, 1, 1, 1)), f"{node.name}_weights")]
    inputs.append(graph.add(biases, f"{node.name}_biases"))
    name = f"{node.name}_products"
    return helper.make_node("Conv", inputs, [name], name, kernel_shape=[1, 1], group=groups)


def _insert(graph: _Graph, nodes: Sequence[NodeProto], before: NodeProto) -> None:
    place = list(graph.model.graph.node).index(before)
    for node in reversed(nodes):
        graph.model.graph.node.insert(place, node)


Change = Callable[[_Graph, NodeProto], None]
EACH: Mapping[str, Sequence[Change]] = {
    "Transpose": (_planes_first,),
    "Clip": (_hard_sigmoid,),
    "ReduceMean": (_pooled,),
    "Reshape": (_turned_round,),
    "Resize": (_by_factor,),
    "ConvTranspose": (_as_it_is, _folded),
}
AFTERWARDS: Mapping[str, Sequence[Change]] = {"ConvTranspose": (_spread_late,)}
