"""A version of a model that is a TensorFlow Lite file, `model.tflite`, in place of a SavedModel.

Its signatures are those that its metadata hold, as TensorFlow Serving's converter writes them, or else those of its
subgraphs, or else one whose names are those of the tensors.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from serving import wire
from serving.servable import DEFAULT_SIGNATURE, Code, Servable, Signature, StatusError

FILE = "model.tflite"
PREDICT = "tensorflow/serving/predict"
METADATA = b"signature_defs_metadata"


class TfLite(Servable):
    """As `Servable`, on TensorFlow Lite's interpreter: one request at a time."""

    def _load(self, tags: Sequence[str]) -> dict[str, Signature]:
        content = (self.folder / FILE).read_bytes()
        with warnings.catch_warnings():  # that it is to become a package of its own
            warnings.simplefilter("ignore")
            self._interpreter = tf.lite.Interpreter(model_content=content)
        self._lock = threading.Lock()
        inputs = {detail["name"]: detail for detail in self._interpreter.get_input_details()}
        outputs = {detail["name"]: detail for detail in self._interpreter.get_output_details()}
        stored = _stored(content)
        if stored:
            return {name: _bound(definition, inputs, outputs) for name, definition in stored.items()}
        listed = self._interpreter.get_signature_list()
        if listed:
            runners = {name: self._interpreter.get_signature_runner(name) for name in listed}
            return {name: _signature(r.get_input_details(), r.get_output_details()) for name, r in runners.items()}
        named = [{_plain(name): detail for name, detail in side.items()} for side in (inputs, outputs)]
        return {DEFAULT_SIGNATURE: _signature(*named)}

    def run(self, feeds: dict[Any, np.ndarray], fetches: list[Any], seconds: float | None) -> list[np.ndarray]:
        """The values of tensors, given by their numbers."""
        with self._lock:
            try:
                details = {detail["index"]: detail for detail in self._interpreter.get_input_details()}
                for index, array in feeds.items():
                    if tuple(details[index]["shape"]) != array.shape:
                        self._interpreter.resize_tensor_input(index, array.shape)
                self._interpreter.allocate_tensors()
                for index, array in feeds.items():
                    self._interpreter.set_tensor(index, array)
                self._interpreter.invoke()
                return [np.array(self._interpreter.get_tensor(index)) for index in fetches]
            except (RuntimeError, ValueError) as error:
                raise StatusError(Code.INVALID_ARGUMENT, str(error)) from None


def _stored(content: bytes) -> dict[str, Any]:
    """The wire.SignatureDef of each signature in a file's metadata."""
    from flatbuffers import flexbuffers
    from tensorflow.lite.python import schema_py_generated

    model = schema_py_generated.Model.GetRootAs(content, 0)
    for number in range(model.MetadataLength()):
        entry = model.Metadata(number)
        if entry.Name() == METADATA:
            root = flexbuffers.GetRoot(model.Buffers(entry.Buffer()).DataAsNumpy().tobytes()).AsMap
            names = [key.AsKey for key in root.Keys]
            values = [value.AsStringBytes for value in root.Values]
            return {name: wire.SignatureDef.FromString(value) for name, value in zip(names, values, strict=True)}
    return {}


def _bound(definition: Any, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> Signature:
    def handles(tensors: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
        found = {}
        for alias, info in tensors.items():
            detail = known.get(info.name) or known.get(_plain(info.name))
            if detail is None:
                raise StatusError(Code.INTERNAL, f"Unknown tensor '{info.name}'.")
            found[alias] = detail["index"]
        return found

    return Signature(definition, handles(definition.inputs, inputs), handles(definition.outputs, outputs))


def _signature(inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> Signature:
    definition = wire.SignatureDef(method_name=PREDICT)
    for details, tensors in ((inputs, definition.inputs), (outputs, definition.outputs)):
        for alias, detail in details.items():
            info = tensors[alias]
            info.name, info.dtype = detail["name"], tf.as_dtype(detail["dtype"]).as_datatype_enum
            info.tensor_shape.SetInParent()
            for side in detail["shape_signature"].tolist():
                info.tensor_shape.dim.add(size=side)
    indexes = [{alias: detail["index"] for alias, detail in details.items()} for details in (inputs, outputs)]
    return Signature(definition, *indexes)


def _plain(name: str) -> str:
    """A tensor's name without its number of output, which early converters left out."""
    return name.partition(":")[0]
