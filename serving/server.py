"""A model server in this process that speaks TensorFlow Serving's gRPC protocol.

    NAME/VERSION/ ─► servable.Servable (graph, C++ session) ◄─ models.Models ◄─ services ◄─ gRPC ◄─ any client

Besides Predict there are metadata, status, reload of the configuration, and health. What else TensorFlow Serving does
is not here yet: REST, batching, metrics, TLS; Classify, Regress and MultiInference answer UNIMPLEMENTED.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any

import grpc
from google.protobuf import text_format

from serving import wire
from serving.models import RETRY_SECONDS, Models, check, model_config, models_in
from serving.servable import DEFAULT_SIGNATURE, Code, StatusError, status_of

log = logging.getLogger(__name__)

MESSAGE_LENGTH = 1024  # longer error texts are cut, as TensorFlow Serving does


class ServerError(RuntimeError):
    """The server cannot start: the text says why and what would do."""


class _Services:
    """The remote procedures, each from a request to a response."""

    def __init__(self, models: Models):
        self._models = models

    def predict(self, request: Any, context: grpc.ServicerContext) -> Any:
        _require_spec(request)
        servable, version = self._models.lookup(request.model_spec)
        signature = request.model_spec.signature_name or DEFAULT_SIGNATURE
        arrays = servable.predict(signature, request.inputs, request.output_filter, context.time_remaining())
        response = wire.PredictResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.signature_name = signature
        response.model_spec.version.value = version
        for name, array in arrays.items():
            response.outputs[name].CopyFrom(wire.encode(array, content=False))
        return response

    def metadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        _require_spec(request)
        if not request.metadata_field:
            text = "GetModelMetadataRequest must specify at least one metadata_field"
            raise StatusError(Code.INVALID_ARGUMENT, text)
        for name in request.metadata_field:
            if name != "signature_def":
                raise StatusError(Code.INVALID_ARGUMENT, f"Metadata field {name} is not supported")
        servable, version = self._models.lookup(request.model_spec)
        response = wire.GetModelMetadataResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = version
        signatures = wire.SignatureDefMap(signature_def=servable.signatures)
        response.metadata["signature_def"].type_url = wire.SIGNATURES_URL
        response.metadata["signature_def"].value = signatures.SerializeToString()
        return response

    def status(self, request: Any, context: grpc.ServicerContext) -> Any:
        _require_spec(request)
        response = wire.GetModelStatusResponse()
        for number, version in self._models.status(request.model_spec):
            entry = response.model_version_status.add(version=number, state=version.state)
            entry.status.error_code, entry.status.error_message = version.code, version.message
        return response

    def reload(self, request: Any, context: grpc.ServicerContext) -> Any:
        if not request.config.HasField("model_config_list"):
            text = "ServerModelConfig type not supported by HandleReloadConfigRequest."
            raise StatusError(Code.INVALID_ARGUMENT, f"{text} Only ModelConfigList is currently supported")
        self._models.configure(list(request.config.model_config_list.config))
        response = wire.ReloadConfigResponse()
        response.status.SetInParent()
        return response

    def health(self, request: Any, context: grpc.ServicerContext) -> Any:
        known = {"", "PredictionService", "ModelService"} | {f"models/{name}" for name in self._models.available()}
        if request.service not in known:
            raise StatusError(Code.NOT_FOUND, f"unknown service {request.service}")
        model = request.service.removeprefix("models/")
        down = request.service.startswith("models/") and not self._models.available()[model]
        return wire.HealthCheckResponse(status=2 if down else 1)  # NOT_SERVING, SERVING

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        """What a gRPC server takes."""
        functions = {
            wire.PREDICT: self.predict,
            wire.METADATA: self.metadata,
            wire.STATUS: self.status,
            wire.RELOAD: self.reload,
            wire.HEALTH: self.health,
        }
        return [
            grpc.method_handlers_generic_handler(method.service, {method.name: _handler(method, function)})
            for method, function in functions.items()
        ]


def _require_spec(request: Any) -> None:
    if not request.HasField("model_spec"):
        raise StatusError(Code.INVALID_ARGUMENT, "Missing ModelSpec")


def _handler(method: wire.Method, function: Callable[[Any, grpc.ServicerContext], Any]) -> grpc.RpcMethodHandler:
    def call(request: Any, context: grpc.ServicerContext) -> Any:
        remaining = context.time_remaining()
        if not context.is_active() or (remaining is not None and remaining <= 0):
            # It waited for a free thread until nobody listened any more: the work is not begun.
            context.abort(Code.DEADLINE_EXCEEDED, "Deadline Exceeded")
        try:
            return function(request, context)
        except Exception as error:
            code, text = status_of(error)
            if code is Code.INTERNAL:
                log.exception("%s failed", method.name)
        context.abort(code, text if len(text) <= MESSAGE_LENGTH else text[:MESSAGE_LENGTH] + "...TRUNCATED")

    return grpc.unary_unary_rpc_method_handler(
        call, method.request.FromString, lambda response: response.SerializeToString()
    )


class Server:
    """A model server; also a context manager that starts and stops it.

    Args:
        models: a folder of models (new ones are found while it runs), or the folder of each model by name, or a
            `wire.ModelServerConfig`.
        address: "host:port"; port 0 takes any free one, see `port`.
        poll: seconds between looks for new versions; 0 looks once only.
        threads: requests that run at the same time.
        in_flight: requests that may run and wait; more are refused with RESOURCE_EXHAUSTED.
        retry_seconds: between attempts to load a version that failed.
    """

    def __init__(
        self,
        models: str | os.PathLike | Mapping[str, str | os.PathLike] | Any,
        address: str = "127.0.0.1:8500",
        *,
        poll: float = 1.0,
        threads: int = 4 * (os.cpu_count() or 1),
        in_flight: int = 1000,
        retry_seconds: float = RETRY_SECONDS,
    ):
        self.models = Models(_source(models), retry_seconds)
        self.address = address
        self.port = 0
        self._poll = poll
        self._threads, self._in_flight = threads, in_flight
        self._grpc: grpc.Server | None = None
        self._stopped = threading.Event()

    def start(self) -> Server:
        """This server, once every model has been loaded and the port is open.

        Raises:
            ServerError: the port is taken, or a model has no version that loads.
        """
        _check_free(self.address)
        try:
            self.models.poll()
            self.models.require_all()
        except StatusError as error:
            raise ServerError(error.message) from None
        except OSError as error:
            raise ServerError(f"{error}; `zoo export NAME` makes a folder of models") from None
        self._grpc = grpc.server(
            ThreadPoolExecutor(self._threads, "rpc"),
            handlers=_Services(self.models).handlers(),
            maximum_concurrent_rpcs=self._in_flight,
            options=[
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 0),  # else a second server could share the port unnoticed
                ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),  # clients ping each 30 s
            ],
        )
        try:
            self.port = self._grpc.add_insecure_port(self.address)
        except RuntimeError:
            raise ServerError(_taken(self.address)) from None
        self._grpc.start()
        self._stopped.clear()
        if self._poll:
            threading.Thread(target=self._keep_polling, name="poll", daemon=True).start()
        return self

    def _keep_polling(self) -> None:
        while not self._stopped.wait(self._poll):
            try:
                self.models.poll()
            except OSError as error:  # the folder is away for the moment: what is loaded stays
                log.warning("cannot look for models: %s", error)
            except Exception:
                log.exception("looking for models failed; what is loaded stays")

    def wait(self, seconds: float | None = None) -> bool:
        """True once the server has stopped, False after that many seconds."""
        return self._stopped.wait(seconds)

    def stop(self, grace: float = 5.0) -> None:
        """Takes no new requests, and ends when those that run have ended or after `grace` seconds."""
        self._stopped.set()
        if self._grpc:
            self._grpc.stop(grace).wait()
            self._grpc = None

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def _source(models: Any) -> Callable[[], list[Any]]:
    if isinstance(models, wire.ModelServerConfig):
        configs = list(models.model_config_list.config)
    elif isinstance(models, Mapping):
        configs = [model_config(name, Path(folder).absolute()) for name, folder in models.items()]
    else:
        return lambda: models_in(models)
    try:
        check(configs)
    except StatusError as error:
        raise ServerError(error.message) from None
    return lambda: configs


def _check_free(address: str) -> None:
    """Passes if the port can be bound: models take long to load, and the error should not."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ServerError(f"{address!r} is no address; give host:port, such as 127.0.0.1:8500")
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
    except OSError as error:
        raise ServerError(f"{_taken(address)} ({error.strerror or error})") from None


def _taken(address: str) -> str:
    return f"cannot listen at {address}: is another server running there? Give another port"


# --- the command -----------------------------------------------------------------------------------------------------


def serve(server: Server, grace: float = 10.0) -> None:
    """Runs a server until SIGTERM or Ctrl-C; then requests that run may end, for `grace` seconds.

    Raises:
        ServerError: it cannot start.
    """
    asked = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        if asked.is_set():  # a second Ctrl-C does not wait
            os._exit(130)
        asked.set()

    previous = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        server.start()
        if not server.models.available():
            log.warning("no model yet; `zoo export NAME` makes one, and it is found while this runs")
        log.info("listening at %s:%d", server.address.rpartition(":")[0], server.port)
        while not asked.wait(0.5):
            pass
        log.info("stopping; requests that run may end")
    finally:
        server.stop(grace)
        for number, handler in previous.items():
            signal.signal(number, handler)


def main(arguments: list[str] | None = None) -> int:
    """Exit status of the command that takes tensorflow_model_server's flags."""
    parser = argparse.ArgumentParser("python -m serving.server", description=main.__doc__)
    parser.add_argument("--host", default="0.0.0.0", help="address to listen at")
    parser.add_argument("--port", type=int, default=8500)
    parser.add_argument("--model_name", default="default")
    parser.add_argument("--model_base_path", help="folder with the versions of the one model")
    parser.add_argument("--model_config_file", help="ModelServerConfig as text; instead of the two above")
    parser.add_argument("--file_system_poll_wait_seconds", type=float, default=1.0)
    parser.add_argument("--enable_grpc_healthcheck_service", nargs="?", help="it is always on")
    options, unknown = parser.parse_known_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    for flag in unknown:
        log.warning("unknown flag: %s", flag)
    try:
        models = _models_of(options)
        serve(Server(models, f"{options.host}:{options.port}", poll=options.file_system_poll_wait_seconds))
    except (ServerError, OSError, text_format.ParseError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _models_of(options: argparse.Namespace) -> Any:
    if options.model_config_file:
        return text_format.Parse(Path(options.model_config_file).read_text(), wire.ModelServerConfig())
    if options.model_base_path:
        return {options.model_name: options.model_base_path}
    raise ServerError("give --model_config_file, or --model_name and --model_base_path")


if __name__ == "__main__":
    sys.exit(main())
