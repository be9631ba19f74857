"""The client over REST, for where gRPC does not get through: a proxy that speaks HTTP/1.1, say.

    RestClient("http://localhost:8501").predict("ocr", [Path("page.jpg")], signature="read")

Numbers travel as text: it is several times slower than gRPC for anything but small answers. REST gives no types, so
they are taken from the model's metadata, which is asked for once.
"""

from __future__ import annotations

import base64
import http.client
import io
import json
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any
from urllib.parse import quote, urlsplit

import grpc
import numpy as np

from serving import client, wire
from serving.client import RETRIED, SIGNATURE, Overloaded, ServingError, Signature, Tensor, VersionStatus

_Code = grpc.StatusCode
CODES = {
    400: _Code.INVALID_ARGUMENT, 401: _Code.UNAUTHENTICATED, 403: _Code.PERMISSION_DENIED, 404: _Code.NOT_FOUND,
    409: _Code.ABORTED, 413: _Code.RESOURCE_EXHAUSTED, 429: _Code.RESOURCE_EXHAUSTED, 499: _Code.CANCELLED,
    501: _Code.UNIMPLEMENTED, 502: _Code.UNAVAILABLE, 503: _Code.UNAVAILABLE, 504: _Code.DEADLINE_EXCEEDED,
}  # fmt: skip


class RestClient:
    """A server's REST interface; a connection for each request.

    Args:
        address: "http://host:port", or https behind a proxy that ends TLS.
        timeout, retries: as `serving.client.Client` takes them.
        context: for https; None trusts what Python trusts.
    """

    def __init__(self, address: str, *, timeout: float = 60.0, retries: int = 4, context: ssl.SSLContext | None = None):
        try:
            parts = urlsplit(address)
            whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:  # of a port beyond the numbers, or no number
            whole = False
        if not whole:
            raise ValueError(f"{address!r} is no address; give http://host:port")
        self.address, self.timeout, self.retries = address.rstrip("/"), timeout, retries
        self._parts, self._context = parts, context
        self._known: dict[tuple[str, int | str | None], dict[str, Signature]] = {}

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
        """As `serving.client.Client.predict`."""
        timeout = self.timeout if timeout is None else timeout
        deadline, wanted = time.monotonic() + timeout, list(outputs)

        def left() -> float:
            return deadline - time.monotonic()

        for fresh in (False, True):
            taken = self._signature(model, signature, version, left(), fresh)
            if unknown := sorted(set(wanted) - set(taken.outputs)):
                details = f"{model}, {signature!r}: outputs {unknown} are unknown; it gives "
                details += ", ".join(sorted(taken.outputs))
                raise client.InvalidRequest(f"{self.address}: {details}", _Code.INVALID_ARGUMENT, details)
            named = client.named(model, signature, taken, inputs)
            body = {
                "signature_name": signature,
                "inputs": {name: _plain(wire.as_array(client.ready(value))) for name, value in named.items()},
            }
            try:
                answer = self._call("POST", _place(model, version) + ":predict", model, body, left(), overloaded)
            except client.InvalidRequest:
                if fresh or self._signature(model, signature, version, left(), fresh=True) == taken:
                    raise
                continue  # another version is served by now
            with self._reading(model):
                found = _by_name(answer["outputs"], taken.outputs)
                if found is not None:
                    return {name: _array(found[name], taken.outputs[name]) for name in wanted or sorted(found)}
        details = f"{model}, {signature!r} gives other outputs than its metadata say"
        raise client.InternalError(f"{self.address}: {details}", _Code.INTERNAL, details)

    def _signature(
        self, model: str, signature: str, version: int | str | None, timeout: float | None, fresh: bool
    ) -> Signature:
        known = self._known.get((model, version), {})
        if fresh or signature not in known:  # perhaps another version is served by now
            known = self._known[model, version] = self.metadata(model, version=version, timeout=timeout)
        return client.chosen(self.address, model, signature, known)

    def metadata(
        self, model: str, *, version: int | str | None = None, timeout: float | None = None
    ) -> dict[str, Signature]:
        """As `serving.client.Client.metadata`."""
        answer = self._call("GET", _place(model, version) + "/metadata", model, None, timeout)
        with self._reading(model):
            signatures = answer["metadata"]["signature_def"]["signature_def"]
            return {
                name: Signature(_tensors(entry["inputs"]), _tensors(entry["outputs"]))
                for name, entry in signatures.items()
                if not name.startswith("__")
            }

    def status(self, model: str, *, version: int | None = None, timeout: float | None = None) -> list[VersionStatus]:
        """As `serving.client.Client.status`."""
        answer = self._call("GET", _place(model, version), model, None, timeout)
        with self._reading(model):
            return [
                VersionStatus(int(entry["version"]), entry["state"], entry["status"]["error_message"])
                for entry in answer["model_version_status"]
            ]

    def _call(
        self,
        method: str,
        path: str,
        model: str,
        body: Any,
        timeout: float | None,
        overloaded: Callable[[], object] | None = None,
    ) -> Any:
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        for attempt in range(self.retries + 1):
            try:
                return self._ask(method, path, model, body, max(0.001, deadline - time.monotonic()))
            except ServingError as error:
                failure = error
            if overloaded and isinstance(failure, Overloaded):
                overloaded()
            pause = client.pause_after(attempt)
            if not isinstance(failure, RETRIED) or attempt == self.retries or time.monotonic() + pause >= deadline:
                raise failure
            time.sleep(pause)
        raise AssertionError("unreachable")

    def _ask(self, method: str, path: str, model: str, body: Any, seconds: float) -> Any:
        data = None if body is None else json.dumps(body).encode()
        connection = self._connect(seconds)
        connection.response_class = partial(_Answer, end=time.monotonic() + seconds)  # type: ignore[assignment]
        try:
            connection.request(method, self._parts.path.rstrip("/") + path, data, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
        except TimeoutError as error:
            raise self._failure(model, _Code.DEADLINE_EXCEEDED, str(error)) from None
        except ssl.SSLError as error:
            raise self._failure(model, _Code.UNAVAILABLE, f"CERTIFICATE_VERIFY_FAILED: {error}") from None
        except ConnectionRefusedError as error:
            raise self._failure(model, _Code.UNAVAILABLE, f"failed to connect: {error}") from None
        except (OSError, http.client.HTTPException) as error:
            raise self._failure(model, _Code.UNAVAILABLE, f"{type(error).__name__}: {error}") from None
        finally:
            connection.close()
        return self._parsed(model, answer.status, text)

    def _connect(self, seconds: float) -> http.client.HTTPConnection:
        host, port = self._parts.hostname or "", self._parts.port
        if self._parts.scheme == "https":
            return http.client.HTTPSConnection(host, port, timeout=seconds, context=self._context)
        return http.client.HTTPConnection(host, port, timeout=seconds)

    def _parsed(self, model: str, status: int, text: bytes) -> Any:
        try:
            document = json.loads(text.decode("utf-8", "surrogateescape"))
        except (ValueError, RecursionError):
            document = {"error": text[:200].decode("utf-8", "replace")}
            status = status if status >= 400 else 500
        if status >= 400:
            details = document.get("error", "") if isinstance(document, dict) else document
            details = details if isinstance(details, str) else json.dumps(details)  # as proxies have them
            raise self._failure(model, CODES.get(status, _Code.INTERNAL), details)
        return document

    @contextmanager
    def _reading(self, model: str) -> Iterator[None]:
        """A block that reads an answer."""
        try:
            yield
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise self._failure(model, _Code.INTERNAL, f"the answer cannot be read: {error!r}") from None

    def _failure(self, model: str, code: grpc.StatusCode, details: str) -> ServingError:
        return client.failure(self.address, model, "REST", code, details)


class _Answer(http.client.HTTPResponse):
    """An answer all of which comes before a time."""

    def __init__(self, sock: socket.socket, *args: Any, end: float, **kwargs: Any):
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_Bytes(self.fp.detach(), sock, end))


class _Bytes(io.RawIOBase):
    """What a socket receives before a time: its own timeout begins anew with each byte."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, end: float):
        self._raw, self._socket, self._end = raw, sock, end

    def readable(self) -> bool:
        return True

    def readinto(self, room: Any) -> int | None:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._socket.settimeout(left)
        return self._raw.readinto(room)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _place(model: str, version: int | str | None) -> str:
    place = f"/v1/models/{quote(model, safe='')}"
    if isinstance(version, str):
        return f"{place}/labels/{quote(version, safe='')}"
    return place if version is None else f"{place}/versions/{version}"


def _by_name(answer: Any, outputs: Mapping[str, Tensor]) -> Mapping[str, Any] | None:
    """The values of these outputs, of which a single one comes without its name; None if others came."""
    if len(outputs) == 1 and not (isinstance(answer, Mapping) and set(answer) != {"b64"}):
        return {next(iter(outputs)): answer}
    return answer if isinstance(answer, Mapping) and set(answer) == set(outputs) else None


def _plain(array: np.ndarray) -> Any:
    """The array in JSON's values; bytes in base64."""
    if wire.type_of(array) is not wire.STRING:
        return array.tolist()
    made = np.empty(array.shape, object)
    for place, value in np.ndenumerate(array):
        data = value.encode() if isinstance(value, str) else value
        made[place] = {"b64": base64.b64encode(data).decode()}
    return made.tolist()


def _array(value: Any, tensor: Tensor) -> np.ndarray:
    """JSON's values in the tensor's type; where they are none, in its shape, with 0 for sides that are not known."""
    dtype = next(known for known in wire.DTYPES.values() if known.name == tensor.dtype)
    array = np.array(value, object if dtype is wire.STRING else dtype.numpy or np.float32)
    if not array.size and tensor.shape:  # JSON writes (0, 4, 2) as []
        inner = [side or 0 for side in tensor.shape[array.ndim :]]
        return array.reshape(*array.shape, *inner)
    if dtype is wire.STRING and array.size:
        flat = [_bytes(item) for item in array.ravel().tolist()]
        made = np.empty(len(flat), object)
        made[:] = flat
        return made.reshape(array.shape)
    return array


def _bytes(item: Any) -> bytes:
    if isinstance(item, Mapping):
        return base64.b64decode(item["b64"])
    return item.encode("utf-8", "surrogateescape")


def _tensors(entries: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: Tensor(entry["dtype"], _sides(entry["tensor_shape"])) for name, entry in entries.items()}


def _sides(shape: Mapping[str, Any]) -> tuple[int | None, ...] | None:
    if shape.get("unknown_rank"):
        return None
    sides = [int(dim["size"]) for dim in shape.get("dim", [])]
    return tuple(side if side >= 0 else None for side in sides)
