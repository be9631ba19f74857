"""The REST interface of TensorFlow Serving, and the page of its metrics.

POST /v1/models/NAME[/versions/N | /labels/LABEL]:predict | :classify | :regress
GET  /v1/models/NAME[/versions/N | /labels/LABEL][/metadata]
GET  /monitoring/prometheus/metrics        where it is asked for
"""

from __future__ import annotations

import json
import logging
import re
import socket
import socketserver
import threading
import time
import zlib
from collections.abc import Callable
from contextlib import ExitStack, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from serving import json_tensors, wire
from serving.servable import CODES, DEFAULT_SIGNATURE, Code, StatusError, status_of
from serving.services import Services

log = logging.getLogger(__name__)

PLACE = r"/v1/models{}(?:(?:/versions/(\d+))|(?:/labels/([^/:]+)))?"
ASK = re.compile(PLACE.format("/([^/:]+)") + ":(classify|regress|predict)", re.IGNORECASE)
LOOK = re.compile(PLACE.format("(?:/([^/:]+))?") + "(?:/(metadata))?", re.IGNORECASE)
OURS = re.compile(r"/v1/.*", re.IGNORECASE)
HOST = re.compile(r"https?://[^/?]*", re.IGNORECASE)  # before the path, as proxies send it
METRICS = "/monitoring/prometheus/metrics"
LARGEST = 2**31 - 1  # bytes of a body, as gRPC takes
DRAINED = 2**24  # bytes at most that are taken of a body only to be thrown away
LONGEST_VERSION = 1000  # digits, with zeros before them; Python reads no number of more than 4300
PIECE = 2**16  # bytes of a body for which memory is taken at once: what is announced may never come

STATUS = {
    Code.INVALID_ARGUMENT: 400, Code.FAILED_PRECONDITION: 400, Code.OUT_OF_RANGE: 400, Code.UNAUTHENTICATED: 401,
    Code.PERMISSION_DENIED: 403, Code.NOT_FOUND: 404, Code.ALREADY_EXISTS: 409, Code.ABORTED: 409,
    Code.RESOURCE_EXHAUSTED: 429, Code.CANCELLED: 499, Code.UNIMPLEMENTED: 501, Code.UNAVAILABLE: 503,
    Code.DEADLINE_EXCEEDED: 504,
}  # fmt: skip


class Answer(NamedTuple):
    status: int
    body: bytes
    kind: str = "application/json"


class Rest:
    """From a method, path and body to an answer.

    Args:
        services: the procedures.
        timeout: seconds for a request.
        metrics: path of the page of metrics; "" for none.
    """

    def __init__(self, services: Services, timeout: float = 30.0, metrics: str = ""):
        self.services, self.timeout, self.metrics = services, timeout, metrics

    def answer(self, method: str, path: str, body: bytes | bytearray, waited: float = 0.0) -> Answer:
        """The answer to a request that has waited so many seconds."""
        if self.metrics and path == self.metrics:
            return Answer(200, self._page(), "text/plain")
        if not OURS.fullmatch(path):
            return Answer(404, b"", "text/plain")
        try:
            if waited > self.timeout:
                raise StatusError(Code.DEADLINE_EXCEEDED, "Deadline Exceeded")
            return Answer(200, self._process(method, path, body, self.timeout - waited))
        except RecursionError:  # of lists in lists that could be parsed still
            return Answer(400, json_tensors.error_answer(json_tensors.TOO_DEEP))
        except Exception as error:
            code, text = status_of(error)
            if code is Code.INTERNAL:
                log.exception("%s %s failed", method, path)
            return Answer(STATUS.get(code, 500), json_tensors.error_answer(text))

    def _process(self, method: str, path: str, body: bytes | bytearray, seconds: float) -> bytes:
        asked, looked = ASK.fullmatch(path), LOOK.fullmatch(path)
        if method == "POST" and asked:
            *place, verb = asked.groups()
            spec = _spec(*place)
            if verb.lower() == "predict":
                return self._predict(spec, body, seconds)
            spec.signature_name, given = json_tensors.examples_request(body)
            if verb.lower() == "classify":
                request = wire.ClassificationRequest(model_spec=spec, input=given)
                return json_tensors.classify_answer(self.services.classify(request, seconds, "REST").result)
            request = wire.RegressionRequest(model_spec=spec, input=given)
            return json_tensors.regress_answer(self.services.regress(request, seconds, "REST").result)
        if method in ("GET", "HEAD") and looked:
            *place, metadata = looked.groups()
            if not place[0]:
                raise StatusError(Code.INVALID_ARGUMENT, "Missing model name in request.")
            return self._metadata(_spec(*place)) if metadata else self._status(_spec(*place))
        raise StatusError(Code.INVALID_ARGUMENT, f"Malformed request: {method} {path}")

    def _predict(self, spec: Any, body: bytes | bytearray, seconds: float) -> bytes:
        def inputs_of(signature: str) -> Any:
            signatures = self.services.models.lookup(spec)[0].signatures
            name = signature or DEFAULT_SIGNATURE
            if name not in signatures:
                text = f'Serving signature name: "{name}" not found in signature def'
                raise StatusError(Code.INVALID_ARGUMENT, text)
            return signatures[name].inputs

        asked = json_tensors.predict_request(body, inputs_of)
        spec.signature_name = asked.signature
        response = self.services.predict(wire.PredictRequest(model_spec=spec, inputs=asked.inputs), seconds, "REST")
        outputs = {name: wire.decode(tensor) for name, tensor in response.outputs.items()}
        return json_tensors.predict_answer(outputs, asked.rows)

    def _status(self, spec: Any) -> bytes:
        response = self.services.status(wire.GetModelStatusRequest(model_spec=spec))
        versions = [
            {
                "version": str(entry.version),
                "state": wire.STATES[entry.state],
                "status": {"error_code": _code_name(entry.status), "error_message": entry.status.error_message},
            }
            for entry in response.model_version_status
        ]
        return _json({"model_version_status": versions})

    def _metadata(self, spec: Any) -> bytes:
        request = wire.GetModelMetadataRequest(model_spec=spec, metadata_field=["signature_def"])
        response = self.services.metadata(request)
        signatures = wire.SignatureDefMap.FromString(response.metadata["signature_def"].value).signature_def
        known = {name: _signature(signatures[name]) for name in sorted(signatures)}
        named = {
            "name": response.model_spec.name,
            "signature_name": "",
            "version": str(response.model_spec.version.value),
        }
        return _json({"model_spec": named, "metadata": {"signature_def": {"signature_def": known}}})

    def _page(self) -> bytes:
        gauge = self.services.metrics.available
        gauge.clear()
        for name, numbers in self.services.models.available().items():
            for number in numbers:
                gauge.set(name, str(number), to=1)
        self.services.metrics.memory.set(to=self.services.memory.held)
        return self.services.metrics.page().encode()


def _spec(name: str, version: str | None, label: str | None) -> Any:
    spec = wire.ModelSpec(name=_decoded(name), version_label=_decoded(label or ""))
    if version:
        if len(version) > LONGEST_VERSION or int(version) >= 2**63:
            raise StatusError(Code.INVALID_ARGUMENT, f"Failed to convert version: {version} to numeric.")
        spec.version.value = int(version)
    return spec


def _decoded(text: str) -> str:
    return unquote_to_bytes(text).decode("utf-8", "replace")


def _code_name(status: Any) -> str:
    return CODES[status.error_code].name


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def _signature(definition: Any) -> dict[str, Any]:
    return {
        "inputs": {name: _info(info) for name, info in sorted(definition.inputs.items())},
        "outputs": {name: _info(info) for name, info in sorted(definition.outputs.items())},
        "method_name": definition.method_name,
        "defaults": {name: {"dtype": _type(tensor.dtype)} for name, tensor in sorted(definition.defaults.items())},
    }


def _info(info: Any) -> dict[str, Any]:
    sides = [{"size": str(dim.size), "name": dim.name} for dim in info.tensor_shape.dim]
    shape = {"dim": sides, "unknown_rank": info.tensor_shape.unknown_rank}
    return {"dtype": _type(info.dtype), "tensor_shape": shape, "name": info.name}


def _type(number: int) -> str:
    return wire.DTYPES[number].name if number in wire.DTYPES else str(number)


# --- HTTP ------------------------------------------------------------------------------------------------------------


class HttpServer(ThreadingHTTPServer):
    """An HTTP server with a thread for each connection.

    Args:
        address: host and port; port 0 takes any free one, see `server_port`.
        rest: what answers.
        in_flight: requests that may run and wait; more are refused.
        threads: those that run at the same time.
        cors: pages of other origins may ask.
    """

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(
        self, address: tuple[str, int], rest: Rest, in_flight: int = 1000, threads: int = 16, cors: bool = False
    ):
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self.rest, self.cors = rest, cors
        self.slots = threading.BoundedSemaphore(in_flight)
        self.running = threading.BoundedSemaphore(threads)
        self.limit = in_flight
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # not that of http.server, which asks DNS for this host's name
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("a connection from %s broke", client_address, exc_info=True)

    def start(self) -> None:
        threading.Thread(target=self.serve_forever, name="rest", kwargs={"poll_interval": 0.1}, daemon=True).start()

    def drain(self, seconds: float) -> None:
        """Takes no new connections, and returns when the requests that run have ended, or after that time."""
        self.shutdown()
        self.server_close()
        end = time.monotonic() + seconds
        taken = 0
        while taken < self.limit and self.slots.acquire(timeout=max(0.0, end - time.monotonic())):
            taken += 1


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    _unread = 0  # bytes of the body that are still to come
    disable_nagle_algorithm = True
    wbufsize = 1 << 16
    timeout = 120  # seconds between requests on one connection
    server: HttpServer

    def _handle(self) -> None:
        started = time.monotonic()
        if not self.server.slots.acquire(blocking=False):
            self.close_connection = True
            with suppress(ValueError):
                self._unread = self._length()
                self._drain()
            message = f"more than {self.server.limit} requests at the same time; try again later"
            self._send(Answer(429, json_tensors.error_answer(message)))
            return
        try:
            with ExitStack() as held:
                self._send(self._answer(started, held))
        finally:
            self.server.slots.release()

    def _answer(self, started: float, held: ExitStack) -> Answer:
        """The answer to a request whose body is still to come; `held` takes the memory that the body needs."""
        try:
            body = self._body(held)
        except ValueError as error:
            self.close_connection = True
            return Answer(400, json_tensors.error_answer(str(error)))
        except StatusError as error:
            self._drain()
            self.close_connection = True
            return Answer(STATUS[error.code], json_tensors.error_answer(error.message))
        path = self.path.encode("latin-1").decode("utf-8", "replace")  # which http.server reads as Latin-1
        host = HOST.match(path)
        path = path[host.end() if host else 0 :].partition("?")[0]
        with self.server.running:
            return self.server.rest.answer(self.command, path, body, time.monotonic() - started)

    def handle_expect_100(self) -> bool:
        taken = super().handle_expect_100()
        self.wfile.flush()  # else "100 Continue" stays in the buffer, and who waits for it sends no body
        return taken

    do_GET = do_POST = do_HEAD = do_PUT = do_DELETE = _handle

    def do_OPTIONS(self) -> None:
        if re.match("https?://", self.headers.get("Origin", "")):
            self._send(Answer(200, b""))
        else:
            self._send(Answer(400, b""))

    def _body(self, held: ExitStack) -> bytearray:
        """The bytes that were sent, unpacked.

        Raises:
            ValueError: too many, or not as the headers say.
            StatusError: more than there is memory for.
        """
        memory, body = self.server.rest.services.memory, bytearray()
        more = held.enter_context(memory.hold(0))
        if coding := self.headers.get("Transfer-Encoding", ""):
            if coding.lower() != "chunked":
                raise ValueError(f"a body by {coding!r}; only chunked is taken")
            while size := self._size_of_piece():
                self._allowed(len(body) + size)
                self._read(size, body, more)
                self.rfile.readline(1024)
            while self.rfile.readline(1024) not in (b"\r\n", b"\n", b""):  # headers at the end
                pass
        else:
            length = self._unread = self._length()
            memory.admit(length)
            self._read(length, body, more)
        if self.headers.get("Content-Encoding", "").lower() == "gzip":
            return _unpacked(body, LARGEST, more)
        return body

    def _read(self, count: int, body: bytearray, more: Callable[[int], None]) -> None:
        """Adds so many bytes to a body, each once there is memory for it."""
        self._unread = count
        while self._unread:
            size = min(self._unread, PIECE)
            more(size)
            piece = self.rfile.read(size)
            body += piece
            self._unread -= len(piece)
            if len(piece) < size:
                came, self._unread = count - self._unread, 0
                raise ValueError(f"{came} bytes came of {count}")

    def _drain(self) -> None:
        """Takes what is left of a body that is refused, up to `DRAINED`: who still sends cannot read the answer."""
        left = min(self._unread, DRAINED)
        while left > 0 and (piece := self.rfile.read(min(left, PIECE))):
            left -= len(piece)

    def _length(self) -> int:
        text = self.headers.get("Content-Length") or "0"
        if not re.fullmatch("[0-9]{1,99}", text):
            raise ValueError(f"a body of {text!r} bytes; its length is a number")
        return self._allowed(int(text))

    def _size_of_piece(self) -> int:
        text = self.rfile.readline(64).partition(b";")[0].strip()
        if not re.fullmatch(b"[0-9a-fA-F]+", text):
            raise ValueError(f"a piece of {text!r} bytes; its length is a hexadecimal number")
        return int(text, 16)

    @staticmethod
    def _allowed(size: int) -> int:
        if size > LARGEST:
            raise ValueError(f"a body of {size} bytes; up to {LARGEST} are taken")
        return size

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        if answer.body:
            self.send_header("Content-Type", answer.kind)
        if self.server.cors:
            self.send_header("Access-Control-Allow-Origin", "*")
            self.send_header("Access-Control-Allow-Methods", "POST, GET")
            self.send_header("Access-Control-Allow-Headers", "Content-Type")
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)


def _unpacked(body: bytes | bytearray, most: int, more: Callable[[int], None]) -> bytearray:
    """What was packed by gzip; `more` is told of its bytes as they come.

    Raises:
        ValueError: it was not, or it is more than so many bytes.
        StatusError: it is more than there is memory for.
    """
    unpacking, data = zlib.decompressobj(wbits=31), bytearray()
    try:
        for start in range(0, len(body), PIECE):
            left = bytes(body[start : start + PIECE])
            while left and not unpacking.eof:
                piece = unpacking.decompress(left, PIECE)
                left = unpacking.unconsumed_tail
                if len(data) + len(piece) > most:
                    raise ValueError(f"the body has more than {most} bytes once it is unpacked")
                more(len(piece))
                data += piece
    except zlib.error as error:
        raise ValueError(f"the body is not gzip: {error}") from None
    if not unpacking.eof:
        raise ValueError("the body is not gzip: it is cut short")
    return data
