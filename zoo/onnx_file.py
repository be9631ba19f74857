"""The ONNX file of a network, made with TensorFlow, tf2onnx and `zoo.onnx_graph`."""

from __future__ import annotations

import os
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from typing import Any

import keras
import numpy as np
import onnx
import onnxruntime
import tensorflow as tf

from zoo.files import replacing
from zoo.layers import Upsample
from zoo.onnx_graph import quicker

OPSET = 18
SIDE = 64  # pixels of the picture that a file is tried on, where the network leaves it free
ALIKE = 2e-3  # of the largest value: the most by which it may differ; MASTER with random weights does by up to 0.0016


def write(network: keras.Model, path: str | os.PathLike) -> None:
    """Writes the file, whole or not at all; batch and image sizes stay free.

    Raises:
        RuntimeError: the file answers otherwise than the network, on a small picture.
    """
    signature: list[Any] = [keras.InputSpec(dtype="uint8", shape=network.inputs[0].shape, name="image")]
    if isinstance(network.input, dict):
        signature = [{n: keras.InputSpec(dtype="float32", shape=x.shape, name=n) for n, x in network.input.items()}]
    chatter = StringIO()
    with replacing(path) as temporary:
        with redirect_stdout(chatter), redirect_stderr(chatter):
            _enlarging(network).export(
                temporary, format="onnx", verbose=False, input_signature=signature, opset_version=OPSET
            )
        onnx.save(quicker(onnx.load(temporary)), temporary)
        if not isinstance(network.input, dict):
            _compare(network, temporary)


def _compare(network: keras.Model, path: str | os.PathLike) -> None:
    size = [side or SIDE for side in network.inputs[0].shape[1:3]]
    picture = np.random.default_rng(0).integers(0, 256, (1, *size, 3), "uint8")
    session = onnxruntime.InferenceSession(os.fspath(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(names, {session.get_inputs()[0].name: picture}), strict=True))
    for name, value in network.predict_on_batch(picture).items():
        if found[name].shape != value.shape:
            raise RuntimeError(f"{network.name}: its ONNX file gives {name} {found[name].shape}, not {value.shape}")
        difference = float(np.abs(found[name] - value).max(initial=0))
        if not difference <= ALIKE * max(1.0, float(np.abs(value).max(initial=0))):
            raise RuntimeError(f"{network.name}: {name} of its ONNX file differs by {difference:.3g}")


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
