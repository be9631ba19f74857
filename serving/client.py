"""A client of TensorFlow Serving that needs NumPy and gRPC, but no TensorFlow.

    with Client("localhost:8500") as client:
        logits = client.predict("db_mobilenet_v3_large", images, signature="pixels")["logits"]
        run = client.run("crnn_mobilenet_v3_small")  # (B, H, W, 3) uint8 → dict of arrays: what a Reader takes

Errors by kind; those with a star are tried again, until the attempts or the time are used up:

    ServingError                    code and text of the server, in `code` and `details`
    ├── InvalidRequest              the server understood it and refuses: type, shape, name or content of an input
    ├── NotFound                    no such model, version or label is served
    ├── TooLarge                    a message is larger than one of the sides takes
    ├── DeadlineExceeded            no answer within the timeout
    ├── Unavailable
    │   ├── ConnectError *          nobody listens at the address
    │   ├── ConnectionLost *        the server went away, or its connection broke, before the answer came
    │   ├── Overloaded *            the server has too much to do
    │   └── TlsError                the two sides do not agree on encryption, or a certificate is not accepted
    └── InternalError               the server failed

gRPC calls very different things UNAVAILABLE; they are told apart by their texts. A prediction changes nothing on the
server, so that asking twice does no harm.

Beside it: `serving.bulk` sends any number of pages with a bounded window, `serving.aio` is the same client for asyncio,
`serving.http` the same over REST, where gRPC does not get through.
"""

from __future__ import annotations

import io
import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import numpy as np

from serving import wire

SIGNATURE = "serving_default"
PNG_MODES = {"1", "L", "LA", "P", "RGB", "RGBA", "I;16", "F"}  # of Pillow; "F" is refused by it
BACKOFF, LONGEST_BACKOFF = 0.1, 2.0  # seconds before the second attempt; then doubled

OPTIONS = [
    ("grpc.max_receive_message_length", -1),  # gRPC's own limit of 4 MiB is less than one map of a page
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),  # else a restarted server looks dead for up to two minutes
    ("grpc.enable_retries", 0),  # retries are made here, where the kinds of errors are known
]


class ServingError(Exception):
    """A request that was not answered.

    Attributes:
        code: gRPC's status code.
        details: the text that came with it.
    """

    def __init__(self, message: str, code: grpc.StatusCode, details: str):
        super().__init__(message)
        self.code, self.details = code, details


class InvalidRequest(ServingError):
    """The server refuses the request: type, shape, name or content of an input, or the signature."""


class NotFound(ServingError):
    """No such model, version or label is served."""


class TooLarge(ServingError):
    """A message, or what is in it once it is decoded, is larger than one of the two sides takes."""


class DeadlineExceeded(ServingError):
    """No answer came within the timeout."""


class Unavailable(ServingError):
    """The server does not serve for now."""


class ConnectError(Unavailable):
    """Nobody listens at the address."""


class ConnectionLost(Unavailable):
    """The server went away, or its connection broke, before the answer came."""


class Overloaded(Unavailable):
    """The server has more to do than it takes on."""


class TlsError(Unavailable):
    """The two sides do not agree on encryption, or a certificate is not accepted."""


class InternalError(ServingError):
    """The server failed, or what it sent cannot be read."""


RETRIED = (ConnectError, ConnectionLost, Overloaded)
_Code = grpc.StatusCode
_BY_CODE: dict[grpc.StatusCode, type[ServingError]] = {
    _Code.INVALID_ARGUMENT: InvalidRequest,
    _Code.FAILED_PRECONDITION: InvalidRequest,
    _Code.OUT_OF_RANGE: InvalidRequest,
    _Code.UNIMPLEMENTED: InvalidRequest,
    _Code.NOT_FOUND: NotFound,
    _Code.DEADLINE_EXCEEDED: DeadlineExceeded,
    _Code.RESOURCE_EXHAUSTED: Overloaded,
    _Code.UNAVAILABLE: ConnectionLost,
    _Code.CANCELLED: ConnectionLost,  # by a server that ends: nothing here cancels a call
}
# The first whose word stands in the text, in lower case, of an UNAVAILABLE or RESOURCE_EXHAUSTED.
_BY_TEXT: list[tuple[str, type[ServingError]]] = [
    ("message larger than max", TooLarge),
    ("too large: this request needs", TooLarge),  # of `serving.memory`
    ("batch scheduling queue", Overloaded),
    ("certificate_verify_failed", TlsError),
    ("hostname verification", TlsError),
    ("wrong_version_number", TlsError),
    ("ssl routines", TlsError),
    ("ssl_error", TlsError),
    ("handshake failed", TlsError),
    ("failed to connect", ConnectError),
    ("connection refused", ConnectError),
    ("name resolution", ConnectError),
    ("errors resolving", ConnectError),
    ("name or service not known", ConnectError),
    ("dns resolution", ConnectError),
    ("no route to host", ConnectError),
]


def classify(code: grpc.StatusCode, details: str) -> type[ServingError]:
    """The kind of an error."""
    if code in (_Code.UNAVAILABLE, _Code.RESOURCE_EXHAUSTED):
        for word, kind in _BY_TEXT:
            if word in details.lower():
                return kind
    if code == _Code.CANCELLED and "channel closed" in details.lower():  # by whoever uses the client
        return ServingError
    return _BY_CODE.get(code, InternalError)


class Tensor(NamedTuple):
    """An input or output: its type as TensorFlow names it, and its shape, None for a free side."""

    dtype: str
    shape: tuple[int | None, ...] | None  # None: of any rank


class Signature(NamedTuple):
    """What one of a model's functions takes and gives, by name."""

    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]


class VersionStatus(NamedTuple):
    """The state of one version: START, LOADING, AVAILABLE, UNLOADING or END; with an error if it did not load."""

    version: int
    state: str
    error: str


class Client:
    """A connection to a server, for any number of threads; also a context manager that closes it.

    Args:
        address: "host:port", or "unix:path".
        timeout: seconds that a call may take, attempts and pauses included.
        retries: attempts after the first, for the errors that pass.
        credentials: for TLS, from `tls`; None speaks plainly.
        check: inputs are compared with what the model says it takes before they are sent, and numbers are given the
            type that it takes where nothing is lost.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout: float = 60.0,
        retries: int = 4,
        credentials: grpc.ChannelCredentials | None = None,
        options: Iterable[tuple[str, Any]] = (),
        check: bool = False,
    ):
        self.address, self.timeout, self.retries, self.check = address, timeout, retries, check
        arguments = [*OPTIONS, *options]
        if credentials is None:
            self._channel = grpc.insecure_channel(address, arguments)
        else:
            self._channel = grpc.secure_channel(address, credentials, arguments)
        self._calls = stubs(self._channel)
        self._known: dict[tuple[str, int | str | None], dict[str, Signature]] = {}
        self._lock = threading.Lock()

    def predict(
        self,
        model: str,
        inputs: Any,
        *,
        signature: str = SIGNATURE,
        version: int | str | None = None,
        outputs: Iterable[str] = (),
        timeout: float | None = None,
        overloaded: Callable[[], object] | None = None,
    ) -> dict[str, np.ndarray]:
        """The outputs by name; strings as arrays of bytes.

        Args:
            model: its name on the server.
            inputs: an array, number, text, bytes, path of a file, Pillow image, or list of these for each input by
                name; or one such value, if the signature has one input (its name is asked for once).
            signature: which of the model's functions.
            version: a number, or a label; None for the latest.
            outputs: names of those wanted; all if none is named.
            timeout: seconds, instead of the client's own.
            overloaded: called whenever the server says that it has too much to do.

        Raises:
            ServingError: see the top of the module.
            ValueError: an input is of a type that TensorFlow lacks.
        """
        timeout = self.timeout if timeout is None else timeout
        deadline, wanted = time.monotonic() + timeout, list(outputs)

        def ask(given: Mapping[str, Any]) -> dict[str, np.ndarray]:
            request = predict_request(model, given, signature, version, wanted)
            response = self._call(wire.PREDICT, request, deadline - time.monotonic(), overloaded)
            return decoded(self.address, model, response)

        def fit(known: Signature) -> Mapping[str, Any]:
            return named(model, signature, known, inputs, self.check)

        if isinstance(inputs, Mapping) and not self.check:
            return ask(inputs)
        known = self._signature(model, signature, version, timeout)
        try:
            return ask(fit(known))
        except InvalidRequest:
            fresh = self._signature(model, signature, version, deadline - time.monotonic(), fresh=True)
            if fresh == known:
                raise
        return ask(fit(fresh))  # another version is served by now

    def _signature(
        self, model: str, signature: str, version: int | str | None, timeout: float, fresh: bool = False
    ) -> Signature:
        with self._lock:
            known = self._known.get((model, version))
        if known is None or fresh or signature not in known:  # perhaps another version is served by now
            known = self.metadata(model, version=version, timeout=timeout)
            with self._lock:
                self._known[model, version] = known
        return chosen(self.address, model, signature, known)

    def run(self, model: str, *, version: int | str | None = None) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
        """The function from images (B, H, W, 3) uint8 to logits by name, as `zoo.reading` takes it."""

        def logits(images: np.ndarray) -> dict[str, np.ndarray]:
            return self.predict(model, {"image": images}, signature="pixels", version=version)

        return logits

    def metadata(
        self, model: str, *, version: int | str | None = None, timeout: float | None = None
    ) -> dict[str, Signature]:
        """The signatures of a model by name.

        Raises:
            ServingError: see the top of the module.
        """
        return signatures_of(self._call(wire.METADATA, metadata_request(model, version), timeout))

    def status(self, model: str, *, version: int | None = None, timeout: float | None = None) -> list[VersionStatus]:
        """The versions of a model, the newest first.

        Raises:
            ServingError: see the top of the module.
        """
        return versions_of(self._call(wire.STATUS, status_request(model, version), timeout))

    def wait(self, seconds: float) -> None:
        """Returns once the server is there: one that starts needs some ten seconds.

        Raises:
            ConnectError: it is not, after that time.
        """
        try:
            grpc.channel_ready_future(self._channel).result(seconds)
        except grpc.FutureTimeoutError:
            text = f"{self.address}: no server within {seconds:g} s; is it running, and is that its address?"
            raise ConnectError(text, _Code.UNAVAILABLE, "") from None

    def _call(
        self, method: wire.Method, request: Any, timeout: float | None, overloaded: Callable[[], object] | None = None
    ) -> Any:
        """The response; errors that pass are waited out as long as there are attempts and time."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        for attempt in range(self.retries + 1):
            try:
                return self._calls[method](request, timeout=max(0.0, deadline - time.monotonic()))
            except grpc.RpcError as error:
                failure = failure_of(self.address, method, request, error)
            if overloaded and isinstance(failure, Overloaded):
                overloaded()
            pause = pause_after(attempt)
            if not isinstance(failure, RETRIED) or attempt == self.retries or time.monotonic() + pause >= deadline:
                raise failure
            time.sleep(pause)
        raise AssertionError("unreachable")

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# --- what the clients for threads, asyncio and REST share ------------------------------------------------------------


def stubs(channel: Any) -> dict[wire.Method, Callable[..., Any]]:
    """The function of each procedure that the clients call, on a channel for threads or for asyncio."""
    return {
        method: channel.unary_unary(
            method.path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=method.response.FromString,
        )
        for method in (wire.PREDICT, wire.METADATA, wire.STATUS)
    }


def tls(
    authority: str | os.PathLike | None = None,
    key: str | os.PathLike | None = None,
    certificate: str | os.PathLike | None = None,
) -> grpc.ChannelCredentials:
    """Credentials for TLS.

    Args:
        authority: PEM file of the certificates that the server's must be signed by; None: those gRPC trusts.
        key, certificate: PEM files of this client's own, where the server asks for them.

    Raises:
        ValueError: one of the last two is missing, or a file holds no PEM.
    """
    if (key is None) != (certificate is None):
        raise ValueError("a client's key and its certificate are given together")
    texts = [Path(path).read_bytes() if path is not None else None for path in (authority, key, certificate)]
    for path, text in zip((authority, key, certificate), texts, strict=True):
        if text is not None and b"-----BEGIN" not in text:
            raise ValueError(f"{path} is no PEM file: it has no line that begins with -----BEGIN")
    return grpc.ssl_channel_credentials(*texts)


def pause_after(attempt: int) -> float:
    """Seconds until the next attempt, which differ from client to client."""
    return random.uniform(0.5, 1.0) * min(LONGEST_BACKOFF, BACKOFF * 2**attempt)


def failure_of(address: str, method: wire.Method, request: Any, error: Any) -> ServingError:
    """The error that a gRPC error stands for."""
    code, details = error.code(), error.details() or ""
    return failure(address, request.model_spec.name, method.name, code, details)


def failure(address: str, model: str, what: str, code: grpc.StatusCode, details: str) -> ServingError:
    """The error of a code and a text."""
    kind = classify(code, details)
    hint = {
        ConnectError: "; is the server running, and is that its address?",
        DeadlineExceeded: "; a longer timeout would give it more time",
    }.get(kind, "")
    return kind(f"{address}: {model}: {what}: {details or code.name}{hint}", code, details)


def ready(value: Any) -> Any:
    """The value as it is sent: of a path the file's bytes, of a Pillow image those of a PNG; lists of these, too."""
    if isinstance(value, os.PathLike):
        return Path(value).read_bytes()
    if isinstance(value, list | tuple) and any(isinstance(item, os.PathLike) or _is_picture(item) for item in value):
        return [ready(item) for item in value]
    if _is_picture(value):
        file = io.BytesIO()
        _writable(value).save(file, "PNG")
        return file.getvalue()
    return value


def _writable(picture: Any) -> Any:
    """A Pillow image as it is to be seen, turned as its EXIF data say, in a mode that PNG files have.

    What is transparent is so by an alpha channel, since models do not heed a transparent colour; and of 32 bits those
    are sent that values need, of which a model takes the upper eight.
    """
    from PIL import ImageOps  # whoever gives a picture has it

    mode = picture.mode
    if picture.has_transparency_data:
        mode = mode if mode in ("LA", "RGBA") else "RGBA"
    elif mode == "I":
        mode = "L" if picture.getextrema()[1] <= 255 else "I;16"
    elif mode not in PNG_MODES:
        mode = "RGB"
    return ImageOps.exif_transpose(picture if picture.mode == mode else picture.convert(mode))


def _is_picture(value: Any) -> bool:
    """Whether it is a Pillow image, told without importing Pillow."""
    return hasattr(value, "save") and hasattr(value, "mode") and hasattr(value, "getbands")


def named(model: str, signature: str, known: Signature, inputs: Any, check: bool = False) -> Mapping[str, Any]:
    """The inputs by name; a single value is that of the one input there is. With `check` as `fitted` makes them."""
    if not isinstance(inputs, Mapping):
        names = sorted(known.inputs)
        if len(names) != 1:
            raise ValueError(f"{model}, {signature!r} takes {len(names)} inputs; give a dict of {', '.join(names)}")
        inputs = {names[0]: inputs}
    return fitted(model, signature, known, inputs) if check else inputs


def chosen(address: str, model: str, signature: str, known: Mapping[str, Signature]) -> Signature:
    """The signature of that name.

    Raises:
        InvalidRequest: there is none.
    """
    if signature in known:
        return known[signature]
    details = f'Serving signature key "{signature}" not found.'  # as the server would say
    text = f"{address}: {model} has no signature {signature!r}; there are: {', '.join(sorted(known))}"
    raise InvalidRequest(text, _Code.FAILED_PRECONDITION, details)


def fitted(model: str, signature: str, known: Signature, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The inputs as arrays of the types that the signature takes.

    Raises:
        InvalidRequest: a name is missing or unknown, or a value is of another type, rank or size than is taken.
    """
    missing, extra = sorted(set(known.inputs) - set(inputs)), sorted(set(inputs) - set(known.inputs))
    problem = f"inputs {missing} are missing" if missing else f"inputs {extra} are unknown" if extra else ""
    arrays = {}
    for name, tensor in known.inputs.items():
        if problem:
            break
        arrays[name], problem = _fit(name, tensor, wire.as_array(ready(inputs[name])))
    if problem:
        takes = ", ".join(f"{name} {tensor.dtype}{tensor.shape or ''}" for name, tensor in sorted(known.inputs.items()))
        text = f"{model}, {signature!r}: {problem}; it takes {takes}"
        raise InvalidRequest(text, _Code.INVALID_ARGUMENT, problem)
    return arrays


def _fit(name: str, tensor: Tensor, array: np.ndarray) -> tuple[np.ndarray, str]:
    """The array in the tensor's type, and what is wrong with it."""
    found = wire.type_of(array)
    wanted = next((dtype for dtype in wire.DTYPES.values() if dtype.name == tensor.dtype), None)
    if tensor.shape is not None:
        if len(tensor.shape) != array.ndim:
            return array, f"{name} has shape {array.shape}"
        if any(side not in (None, given) for side, given in zip(tensor.shape, array.shape, strict=True)):
            return array, f"{name} has shape {array.shape}"
    if wanted is None or wanted is found or wanted.numpy is None or found.numpy is None:
        return array, "" if wanted is found or wanted is None else f"{name} is {found.name}"
    with np.errstate(all="ignore"):
        cast = array.astype(wanted.numpy)
    exact = wanted.numpy.kind == "f" and found.numpy.kind in "fiu"  # rounding to the model's own precision is meant
    return cast, "" if exact or np.array_equal(cast, array) else f"{name} is {found.name}"


def predict_request(
    model: str, inputs: Mapping[str, Any], signature: str, version: int | str | None, outputs: Iterable[str]
) -> Any:
    """The message that asks for a prediction."""
    request = wire.PredictRequest(model_spec=_spec(model, version, signature), output_filter=outputs)
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(wire.encode(ready(value)))
    return request


def decoded(address: str, model: str, response: Any) -> dict[str, np.ndarray]:
    """The arrays of an answer.

    Raises:
        InternalError: they are none.
    """
    try:
        return {name: wire.decode(tensor) for name, tensor in response.outputs.items()}
    except ValueError as error:
        raise InternalError(f"{address}: {model}: {error}", _Code.INTERNAL, str(error)) from None


def metadata_request(model: str, version: int | str | None) -> Any:
    return wire.GetModelMetadataRequest(model_spec=_spec(model, version), metadata_field=["signature_def"])


def signatures_of(response: Any) -> dict[str, Signature]:
    """The signatures of an answer by name."""
    signatures = wire.SignatureDefMap.FromString(response.metadata["signature_def"].value).signature_def
    return {
        name: Signature(_describe(definition.inputs), _describe(definition.outputs))
        for name, definition in signatures.items()
        if not name.startswith("__")  # TensorFlow's own
    }


def status_request(model: str, version: int | None) -> Any:
    return wire.GetModelStatusRequest(model_spec=_spec(model, version))


def versions_of(response: Any) -> list[VersionStatus]:
    """The versions of an answer, the newest first."""
    return [
        VersionStatus(entry.version, wire.STATES.get(entry.state, str(entry.state)), entry.status.error_message)
        for entry in response.model_version_status
    ]


def _spec(model: str, version: int | str | None, signature: str = "") -> Any:
    spec = wire.ModelSpec(name=model, signature_name=signature)
    if isinstance(version, str):
        spec.version_label = version
    elif version is not None:
        spec.version.value = version
    return spec


def _describe(tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: Tensor(_type_name(info.dtype), _sides(info.tensor_shape)) for name, info in tensors.items()}


def _type_name(number: int) -> str:
    return wire.DTYPES[number].name if number in wire.DTYPES else str(number)


def _sides(shape: Any) -> tuple[int | None, ...] | None:
    return None if shape.unknown_rank else tuple(dim.size if dim.size >= 0 else None for dim in shape.dim)
