"""One loaded version of a model: a SavedModel in a session of its own.

It is loaded as a graph, by the code that TensorFlow Serving runs, so that what works here works there; the codes and
texts of errors are the same too.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import ml_dtypes
import numpy as np
import tensorflow as tf
from tensorflow.python.client import pywrap_tf_session

from serving import wire
from zoo.runtime import cores

if TYPE_CHECKING:
    from serving.batching import Batcher

WARMUP = "assets.extra/tf_serving_warmup_requests"  # below a version's folder
DEFAULT_SIGNATURE = "serving_default"
Code = grpc.StatusCode
LONGEST_RUN = 86_400.0  # seconds; a later deadline is none (gRPC's "none" is centuries from now)
CODES = {code.value[0]: code for code in Code}


class StatusError(Exception):
    """A request that ends with a status other than OK."""

    def __init__(self, code: grpc.StatusCode, message: str):
        super().__init__(message)
        self.code, self.message = code, message


def status_of(error: Exception) -> tuple[grpc.StatusCode, str]:
    """The status by which an error is reported."""
    if isinstance(error, StatusError):
        return error.code, error.message
    if isinstance(error, tf.errors.OpError):
        return CODES.get(error.error_code, Code.UNKNOWN), error.message or type(error).__name__
    if isinstance(error, MemoryError):
        return Code.RESOURCE_EXHAUSTED, "the server has not enough memory for this request"
    if isinstance(error, FileNotFoundError):
        return Code.NOT_FOUND, str(error)
    return Code.INTERNAL, f"{type(error).__name__}: {error}"


@dataclass
class Signature:
    """A signature with the engine's own handles of its tensors."""

    definition: Any  # wire.SignatureDef
    inputs: dict[str, Any]
    outputs: dict[str, Any]


class Servable:
    """A SavedModel in a session of its own.

    Args:
        folder: of one version, with saved_model.pb in it.
        batching: puts the rows of several requests into one run.
        tags: of the SavedModel's graph that is loaded.
        name: of the model.
        session: TensorFlow's ConfigProto of the session.

    Raises:
        tf.errors.OpError, ValueError, OSError: it does not load.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        batching: Batcher | None = None,
        tags: Sequence[str] = (tf.saved_model.SERVING,),
        name: str = "",
        session: Any = None,
    ):
        self.folder, self.name, self._batching = Path(folder), name, batching
        self._config = session
        self._signatures = self._load(tags)

    def _load(self, tags: Sequence[str]) -> dict[str, Signature]:
        try:
            self._session, found = _load_graph(str(self.folder), tags, self._config)
        except tf.errors.NotFoundError as error:
            if not _registers_text(error):
                raise
            self._session, found = _load_graph(str(self.folder), tags, self._config)
        definitions = {name: wire.SignatureDef.FromString(d.SerializeToString()) for name, d in found.items()}
        return {
            name: Signature(d, self._handles(d.inputs), self._handles(d.outputs)) for name, d in definitions.items()
        }

    def _handles(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        named = {alias: info.name for alias, info in tensors.items() if ":" in info.name}  # not mere operations
        tensor = self._session.graph.get_tensor_by_name
        return {alias: tensor(name)._as_tf_output() for alias, name in named.items()}

    @property
    def signatures(self) -> dict[str, Any]:
        """The wire.SignatureDef of each signature."""
        return {name: signature.definition for name, signature in self._signatures.items()}

    def predict(
        self, signature: str, inputs: Mapping[str, Any], outputs: Iterable[str] = (), seconds: float | None = None
    ) -> dict[str, np.ndarray]:
        """The named outputs of a signature, all if none is named.

        Args:
            inputs: a TensorProto of `serving.wire` for each input's name.
            seconds: after which the run is broken off.

        Raises:
            StatusError, tf.errors.OpError: with the codes and texts of TensorFlow Serving.
        """
        found = self._signatures.get(signature)
        if found is None:
            raise StatusError(Code.FAILED_PRECONDITION, f'Serving signature key "{signature}" not found.')
        feeds = _feeds(found, inputs)
        names = _output_names(found, list(outputs))
        fetches = [found.outputs[name] for name in names]
        if self._batching:
            arrays = self._batching.run(self, (signature, *names), feeds, fetches, seconds)
        else:
            arrays = self.run(feeds, fetches, seconds)
        return dict(zip(names, arrays, strict=True))

    def predict_several(
        self, wanted: Sequence[tuple[str, Sequence[str]]], inputs: Mapping[str, Any], seconds: float | None = None
    ) -> list[dict[str, np.ndarray]]:
        """The outputs of several signatures, each given with their names, on the same inputs, from one run.

        Raises:
            StatusError, tf.errors.OpError: as `predict`.
        """
        feeds: dict[Any, np.ndarray] = {}
        fetches: list[Any] = []
        for signature, names in wanted:
            found = self._signatures[signature]
            feeds |= _feeds(found, inputs)
            fetches += [found.outputs[name] for name in names]
        arrays = iter(self.run(feeds, fetches, seconds))
        return [{name: next(arrays) for name in names} for _, names in wanted]

    def run(self, feeds: dict[Any, np.ndarray], fetches: list[Any], seconds: float | None) -> list[np.ndarray]:
        """The values of tensors of the graph, given by their handles."""
        if seconds is None or seconds > LONGEST_RUN:
            return self._run(None, feeds, fetches)
        options = tf.compat.v1.RunOptions(timeout_in_ms=max(1, int(seconds * 1000)))
        buffer = pywrap_tf_session.TF_NewBufferFromString(options.SerializeToString())
        try:
            return self._run(buffer, feeds, fetches)
        finally:
            pywrap_tf_session.TF_DeleteBuffer(buffer)

    def _run(self, options: Any, feeds: dict[Any, np.ndarray], fetches: list[Any]) -> list[np.ndarray]:
        # `Session.run` is five times slower: it checks shapes and casts types first. The C++ server does neither.
        try:
            return self._session._call_tf_sessionrun(options, feeds, fetches, [], None)
        except UnicodeDecodeError as error:  # of an error whose text quotes bytes; its code is lost
            raise StatusError(Code.INVALID_ARGUMENT, error.object.decode("utf-8", "replace")) from None

    def warm_up(self, replay: Callable[[Any], object] | None = None) -> int:
        """The number of requests in the warm-up file that were run; none without such a file.

        Args:
            replay: runs a wire.PredictionLog; None runs its Predict.

        Raises:
            StatusError, tf.errors.OpError: a request failed.
        """
        path, count = self.folder / WARMUP, 0
        if path.exists():
            for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
                (replay or self._replay)(wire.PredictionLog.FromString(record))
                count += 1
        return count

    def _replay(self, log: Any) -> None:
        request = log.predict_log.request
        self.predict(request.model_spec.signature_name or DEFAULT_SIGNATURE, request.inputs, request.output_filter)


def _registers_text(error: tf.errors.NotFoundError) -> bool:
    """Whether operations of TF Text were missing, which TensorFlow Serving has, and are there now."""
    if "Op type not registered 'TFText>" not in str(error):
        return False
    try:
        import tensorflow_text  # noqa: F401 - what is wanted is done by its import
    except ModuleNotFoundError:
        message = f"{error.message} Operations of TF Text come with the package: pip install tensorflow-text"
        raise tf.errors.NotFoundError(error.node_def, error.op, message) from error
    return True


def _load_graph(folder: str, tags: Sequence[str], config: Any) -> tuple[Any, dict[str, Any]]:
    """A session that holds the SavedModel, and its signatures as TensorFlow's messages."""
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel(logging.ERROR)  # TensorFlow calls the graph loader deprecated; the C++ server knows no other
    try:
        graph = tf.Graph()
        with graph.as_default():
            session = tf.compat.v1.Session(graph=graph, config=_session_config(config))
            meta = tf.compat.v1.saved_model.load(session, list(tags), folder)
    finally:
        logger.setLevel(level)
    return session, dict(meta.signature_def)


def _session_config(config: Any) -> Any:
    """The configuration of a session in which a long request does not have others wait for their thread.

    All sessions share as many threads as there are cores, unless they are told otherwise. With one core a long request
    would have the next version wait until it has ended.
    """
    config = tf.compat.v1.ConfigProto.FromString(config.SerializeToString()) if config else tf.compat.v1.ConfigProto()
    if cores() == 1 and not config.inter_op_parallelism_threads:
        config.use_per_session_threads, config.inter_op_parallelism_threads = True, 2
    return config


def _feeds(signature: Signature, inputs: Mapping[str, Any]) -> dict[Any, np.ndarray]:
    wanted, sent = set(signature.inputs), set(inputs)
    defaults = signature.definition.defaults
    extra, missing = sent - wanted, wanted - sent - set(defaults)
    if len(sent) + len(set(defaults) - sent) != len(wanted):
        raise StatusError(
            Code.INVALID_ARGUMENT,
            f"input size does not match signature: {len(sent)}!={len(wanted)} len({_set(sent)}) != "
            f"len({_set(wanted)}). Sent extra: {_set(extra)}. Missing but required: {_set(missing)}.",
        )
    for name in sorted(missing):
        raise StatusError(
            Code.INVALID_ARGUMENT,
            f"Signature input alias: {name}(feed name: {signature.definition.inputs[name].name}) not found in request "
            f"and no default value provided. Inputs expected to be in the request {_set(sent)}, or default input alias "
            f"set: {','.join(sorted(defaults))}",
        )
    tensors = {**dict(defaults), **dict(inputs)}
    infos = signature.definition.inputs
    return {handle: _parse(name, tensors[name], infos[name]) for name, handle in signature.inputs.items()}


def _parse(name: str, tensor: Any, info: Any) -> np.ndarray:
    try:
        array = wire.decode(tensor, ml_dtypes.bfloat16)
    except ValueError as error:
        raise StatusError(Code.INVALID_ARGUMENT, f"tensor parsing error: {name}: {error}") from None
    shape = info.tensor_shape
    # Of another rank some operations end the process, such as oneDNN's convolution.
    if info.HasField("tensor_shape") and not shape.unknown_rank and len(shape.dim) != array.ndim:
        sides = ", ".join(str(dim.size) for dim in shape.dim)
        text = f"{name} has shape {list(array.shape)}; the signature takes [{sides}], where -1 is any number"
        raise StatusError(Code.INVALID_ARGUMENT, text)
    return array


def _output_names(signature: Signature, wanted: list[str]) -> list[str]:
    for name in wanted:
        if name not in signature.outputs:
            known = _set(signature.outputs)
            text = f"output tensor alias not found in signature: {name} Outputs expected to be in the set {known}."
            raise StatusError(Code.INVALID_ARGUMENT, text)
        if wanted.count(name) > 1:
            raise StatusError(Code.INVALID_ARGUMENT, f"duplicate output tensor alias: {name}")
    return wanted or sorted(signature.outputs)


def _set(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"
