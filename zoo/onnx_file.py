"""The ONNX file of a network, made with TensorFlow, tf2onnx and `zoo.onnx_graph`."""

from __future__ import annotations

import copy
import gc
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import onnx
import onnxruntime
import tensorflow as tf
from onnxruntime.quantization import quantize_dynamic
from tf2onnx import optimizer

from zoo import alike, weights
from zoo.files import replacing
from zoo.layers import Upsample
from zoo.onnx_graph import quicker

OPSET = 18
SIDE = 64  # pixels of the picture that a file is tried on, where the network leaves it free
LARGE = 1024  # values of a constant, from which on it is worth a cast
ALIKE = 2e-3  # of the largest value: the most by which it may differ; MASTER with random weights does by up to 0.0016
ALIKE_SMALL = 2e-2  # the same of a small file


class OnnxError(RuntimeError):
    """A file that is not written, since it answers otherwise than its network; the message says how."""


def write(network: keras.Model, path: str | os.PathLike, small: bool = False) -> None:
    """Writes the file, whole or not at all; batch and image sizes stay free.

    Args:
        network: to be written.
        path: of the file.
        small: weights are stored in half precision where that keeps them, and made float32 when it is opened; those of
            recurrent layers in eight bits, by which these multiply: see `rounded`.

    Raises:
        OnnxError: the file answers otherwise than the network, on a small picture.
    """
    signature: list[Any] = [keras.InputSpec(dtype="uint8", shape=network.inputs[0].shape, name="image")]
    if isinstance(network.input, dict):
        signature = [{n: keras.InputSpec(dtype="float32", shape=x.shape, name=n) for n, x in network.input.items()}]
    chatter = StringIO()
    with replacing(path) as temporary:
        with redirect_stdout(chatter), redirect_stderr(chatter), _copies_collected():
            _enlarging(network).export(
                temporary, format="onnx", verbose=False, input_signature=signature, opset_version=OPSET
            )
        onnx.save(quicker(onnx.load(temporary)), temporary)
        _compare(network, temporary, ALIKE)
        if small:
            onnx.save(halved(rounded(temporary)), temporary)
            _compare(network, temporary, ALIKE_SMALL)


@contextmanager
def _copies_collected() -> Iterator[None]:
    """Within it no more than two of the copies are there that the converter makes of a graph, with all weights, before
    each of its passes. They hold each other, and Python would collect them late."""

    def deepcopy(value: Any) -> Any:
        gc.collect()
        return copy.deepcopy(value)

    before, optimizer.copy = optimizer.copy, SimpleNamespace(deepcopy=deepcopy)
    gc.freeze()  # so that a collection looks at the copies alone
    try:
        yield
    finally:
        gc.unfreeze()
        optimizer.copy = before
        gc.collect()


def rounded(path: str | os.PathLike, operations: Sequence[str] = ("LSTM",)) -> onnx.ModelProto:
    """The model of a file, whose operations of these kinds multiply in eight bits: weights by channel, what flows in by
    tensor and picture.

    Of weights seven bits are used: with eight, sums of two products overflow on processors without VNNI.
    """
    model = onnx.load(path)
    if not any(node.op_type in operations for node in model.graph.node):
        return model
    onnx.helper.set_model_props(model, {"onnx.quant.pre_process": "onnxruntime.quant"})  # so it warns of nothing
    with TemporaryDirectory() as folder:
        result = Path(folder, "rounded.onnx")
        quantize_dynamic(model, result, list(operations), per_channel=True, reduce_range=True)
        return onnx.load(result)


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model, changed in place: large constants in half precision where `zoo.weights.fits_half`, and cast back.

    Runtimes do the casts once, when they open the file.
    """
    graph, casts = model.graph, []
    for tensor in graph.initializer:
        value = onnx.numpy_helper.to_array(tensor)
        if value.dtype == np.float32 and value.size >= LARGE and weights.fits_half(value):
            name, stored = tensor.name, f"{tensor.name}/half"
            casts.append(onnx.helper.make_node("Cast", [stored], [name], to=onnx.TensorProto.FLOAT))
            tensor.CopyFrom(onnx.numpy_helper.from_array(value.astype("float16"), stored))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def _compare(network: keras.Model, path: str | os.PathLike, limit: float) -> None:
    if isinstance(network.input, dict):
        return
    size = [side or SIDE for side in network.inputs[0].shape[1:3]]
    picture = np.random.default_rng(0).integers(0, 256, (1, *size, 3), "uint8")
    session = onnxruntime.InferenceSession(os.fspath(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(names, {session.get_inputs()[0].name: picture}), strict=True))
    expected = network.predict_on_batch(picture)
    found = alike.paired(network, found, expected)
    for name, value in expected.items():
        if found[name].shape != value.shape:
            raise OnnxError(f"{network.name}: its ONNX file gives {name} {found[name].shape}, not {value.shape}")
        difference = float(np.abs(found[name] - value).max(initial=0))
        if not difference <= limit * max(1.0, float(np.abs(value).max(initial=0))):
            raise OnnxError(f"{network.name}: {name} of its ONNX file differs by {difference:.3g}")


class Resize(Upsample):
    """The same by TensorFlow's own operation, which the converter knows: runtimes take a third less time for that."""

    def call(self, x):
        size = tf.shape(x)[1:3] * self.factor
        resized = tf.raw_ops.ResizeBilinear(
            images=x, size=size, align_corners=self.aligned, half_pixel_centers=not self.aligned
        )
        return tf.cast(resized, self.compute_dtype)


def _enlarging(network: keras.Model) -> keras.Model:
    """The network with `Resize` in place of `Upsample`."""
    if keras.backend.backend() != "tensorflow" or not any(isinstance(layer, Upsample) for layer in network.layers):
        return network

    def other(layer: keras.Layer) -> keras.Layer:
        kind = Resize if isinstance(layer, Upsample) else type(layer)
        return kind.from_config(layer.get_config())

    result = keras.models.clone_model(network, clone_function=other)
    result.set_weights(network.get_weights())
    return result
