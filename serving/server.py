"""A model server in this process that cannot be told from TensorFlow Serving by those who ask it.

    NAME/VERSION/ ─► servable.Servable (graph, C++ session) ◄─ models.Models ◄─ services.Services ◄┬─ gRPC ◄─ any client
                          ▲                                                       │                └─ rest.Rest ◄─ HTTP
                     batching.Batcher                                        metrics.Metrics

`python -m serving.server` takes the flags of tensorflow_model_server: see `serving.options`. What it lacks is the
profiler's service.
"""

from __future__ import annotations

import argparse
import errno
import logging
import os
import signal
import socket
import sys
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import grpc
import tensorflow as tf
from google.protobuf.message import DecodeError

from serving import wire
from serving.batching import Batcher
from serving.metrics import Metrics
from serving.models import Folder, Models, check, model_config
from serving.options import NO_EFFECT, Options, ServerError, batching_parameters, options_of, parser, read_config
from serving.rest import HttpServer, Rest
from serving.servable import Code, Servable, StatusError, status_of
from serving.services import Services

log = logging.getLogger(__name__)

BATCHING_FILE = "batching_params.pbtxt"  # in a version's folder
MESSAGE_LENGTH = 1024  # bytes; longer error texts are cut, as TensorFlow Serving does


def _handlers(services: Services) -> list[grpc.GenericRpcHandler]:
    """What a gRPC server takes."""
    handlers = {method: _handler(method, function) for method, function in services.all().items()}
    handlers[wire.WATCH] = grpc.unary_stream_rpc_method_handler(
        services.health.watch, wire.WATCH.request.FromString, _serialize
    )
    return [
        grpc.method_handlers_generic_handler(method.service, {method.name: handler})
        for method, handler in handlers.items()
    ]


def _serialize(response: Any) -> bytes:
    return response.SerializeToString()


def _handler(method: wire.Method, function: Callable[..., Any]) -> grpc.RpcMethodHandler:
    def call(data: bytes, context: grpc.ServicerContext) -> Any:
        remaining = context.time_remaining()
        if not context.is_active() or (remaining is not None and remaining <= 0):
            # It waited for a free thread until nobody listened any more: the work is not begun.
            context.abort(Code.DEADLINE_EXCEEDED, "Deadline Exceeded")
        try:
            return function(_parsed(method, data), remaining)
        except Exception as error:
            code, text = status_of(error)
            if code is Code.INTERNAL:
                log.exception("%s failed", method.name)
        context.abort(code, _cut(text))

    # Bytes come in as they are: gRPC would parse them in the one thread by which all requests come in.
    return grpc.unary_unary_rpc_method_handler(call, None, _serialize)


def _cut(text: str) -> str:
    data = text.encode(errors="replace")
    return text if len(data) <= MESSAGE_LENGTH else data[:MESSAGE_LENGTH].decode(errors="ignore") + "...TRUNCATED"


def _parsed(method: wire.Method, data: bytes) -> Any:
    try:
        return method.request.FromString(data)
    except DecodeError as error:
        raise StatusError(Code.INTERNAL, f"the bytes are no {method.request.DESCRIPTOR.name}: {error}") from None


class Server:
    """A model server; also a context manager that starts and stops it.

    Args:
        models: a folder of models (new ones are found while it runs), or the folder of each model by name, or a
            `wire.ModelServerConfig`, or a function that gives one at each poll.
        address: "host:port", or "" for none; port 0 takes any free one, see `port`.
        rest: "host:port" of the REST interface, see `rest_port`; "" for none.
        socket: path of a unix socket for gRPC.
        options: what else can be chosen.
        **changes: single fields of these.
    """

    def __init__(
        self,
        models: str | os.PathLike | Mapping[str, str | os.PathLike] | Any,
        address: str = "127.0.0.1:8500",
        *,
        rest: str = "",
        socket: str = "",
        options: Options | None = None,
        **changes: Any,
    ):
        self.options = replace(options or Options(), **changes)
        self.address, self.rest_address, self.socket = address, rest, socket
        self.port = self.rest_port = 0
        self.metrics = Metrics()
        chosen = self.options
        self._batcher = Batcher(chosen.batching, self.metrics) if chosen.batching else None
        self.models = Models(
            _source(models),
            chosen.retry_seconds,
            retries=chosen.retries,
            load=self._load,
            early_labels=chosen.early_labels,
        )
        self.services = Services(
            self.models,
            self.metrics,
            check_method=chosen.check_method,
            content=chosen.tensor_content,
            memory=chosen.memory,
        )
        self.models.changed = self.services.health.changed
        self._grpc: grpc.Server | None = None
        self._http: HttpServer | None = None
        self._stopped = threading.Event()

    def _load(self, name: str, folder: Path) -> tuple[Servable, int]:
        """A version of a model, warm."""
        batcher, own = self._batcher, folder / BATCHING_FILE
        if self._batcher and self.options.own_batching:
            batcher = Batcher(batching_parameters(own), self.metrics) if own.exists() else None
        if self.options.tflite and (folder / "model.tflite").exists():
            from serving.tflite import TfLite

            servable: Servable = TfLite(folder, batcher, name=name)
        else:
            servable = Servable(folder, batcher, self.options.tags, name, self.options.session)
        if batcher and batcher is not self._batcher:
            weakref.finalize(servable, batcher.close)  # its threads end with the last request of the version
        started, status = time.perf_counter(), "OK"
        try:
            return servable, servable.warm_up(self._replay(servable)) if self.options.warm_up else 0
        except Exception as error:
            status = status_of(error)[0].name
            raise
        finally:
            self.metrics.warm_up.add(str(folder), status, value=(time.perf_counter() - started) * 1e6)

    def _replay(self, servable: Servable) -> Callable[[Any], object]:
        """The function that runs a record of a warm-up file."""
        services = Services(One(servable), Metrics())  # type: ignore[arg-type]

        def replay(log: Any) -> object:
            for kind, function in (
                ("classify_log", services.classify),
                ("regress_log", services.regress),
                ("multi_inference_log", services.multi_inference),
            ):
                if log.HasField(kind):
                    return function(getattr(log, kind).request)
            return services.predict(log.predict_log.request)

        return replay

    def start(self) -> Server:
        """This server, once every model has been loaded and its ports are open.

        Raises:
            ServerError: a port is taken, a socket cannot be made, a key and a certificate do not fit, or a model has no
                version that loads.
        """
        for address in filter(None, (self.address, self.rest_address)):
            _check_free(address)
        if self.address and self.address == self.rest_address and not self.address.endswith(":0"):
            raise ServerError(f"gRPC and REST are both to listen at {self.address}; give another port to one of them")
        if self.socket:
            _check_socket(self.socket)
        if self.options.credentials:
            _check_credentials(self.options.credentials)
        try:
            self.models.poll()
            self.models.require_all()
        except StatusError as error:
            raise ServerError(error.message) from None
        except OSError as error:
            raise ServerError(f"{error}; `zoo export NAME` makes a folder of models") from None
        self.services.health.start()
        self._start_grpc()
        if self.rest_address:
            self._start_rest()
        self._stopped.clear()
        if self.options.poll:
            threading.Thread(target=self._keep_polling, name="poll", daemon=True).start()
        return self

    def _start_grpc(self) -> None:
        self._grpc = grpc.server(
            ThreadPoolExecutor(self.options.threads, "rpc"),
            handlers=_handlers(self.services),
            maximum_concurrent_rpcs=self.options.in_flight,
            options=[
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 0),  # else a second server could share the port unnoticed
                ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),  # clients ping each 30 s
                *self.options.channel,
            ],
        )
        if self.address:
            self.port = self._listen(self.address)
        if self.socket:
            self._listen(f"unix:{self.socket}")
        self._grpc.start()

    def _listen(self, address: str) -> int:
        assert self._grpc
        try:
            if self.options.credentials is None:
                return self._grpc.add_insecure_port(address)
            return self._grpc.add_secure_port(address, self.options.credentials)
        except RuntimeError:
            raise ServerError(_taken(address)) from None

    def _start_rest(self) -> None:
        host, _, port = self.rest_address.rpartition(":")
        rest = Rest(self.services, self.options.rest_timeout, self.options.metrics)
        try:
            place = (host.strip("[]"), int(port))
            chosen = self.options
            self._http = HttpServer(
                place, rest, chosen.in_flight, chosen.rest_threads or chosen.threads, chosen.cross_origin
            )
        except OSError as error:
            self.stop(0)
            raise ServerError(f"{_taken(self.rest_address)} ({error.strerror})") from None
        self.rest_port = self._http.server_port
        self._http.start()

    def _keep_polling(self) -> None:
        said = ""
        while not self._stopped.wait(self.options.poll):
            try:
                self.models.poll()
                said = ""
            except OSError as error:  # the folder is away for the moment: what is loaded stays
                if said != str(error):
                    log.warning("cannot look for models: %s; what is loaded stays", error)
                said = str(error)
            except Exception:
                log.exception("looking for models failed; what is loaded stays")

    @property
    def places(self) -> list[str]:
        """Where it listens: gRPC's addresses, then that of REST."""
        grpc_at = [f"{self.address.rpartition(':')[0]}:{self.port}"] if self.address else []
        grpc_at += [f"unix:{self.socket}"] if self.socket else []
        return grpc_at + (
            [f"http://{self.rest_address.rpartition(':')[0]}:{self.rest_port}"] if self.rest_address else []
        )

    def wait(self, seconds: float | None = None) -> bool:
        """True once the server has stopped, False after that many seconds."""
        return self._stopped.wait(seconds)

    def stop(self, grace: float = 5.0) -> None:
        """Takes no new requests, and ends when those that run have ended or after `grace` seconds."""
        self._stopped.set()
        self.services.health.stop()
        ended = self._grpc.stop(grace) if self._grpc else None
        if self._http:
            self._http.drain(grace)
        if ended:
            ended.wait()
        if self._batcher:
            self._batcher.close()
        self._grpc = self._http = None

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


class One:
    """A version that is not served yet, whatever a request asks for."""

    def __init__(self, servable: Servable):
        self._servable = servable

    def lookup(self, spec: Any) -> tuple[Servable, int]:
        return self._servable, 0

    def available(self) -> dict[str, list[int]]:
        return {}


def _source(models: Any) -> Callable[[], list[Any]]:
    if callable(models):
        return models
    if isinstance(models, wire.ModelServerConfig):
        configs = list(models.model_config_list.config)
    elif isinstance(models, Mapping):
        configs = [model_config(name, Path(folder).absolute()) for name, folder in models.items()]
    else:
        return Folder(models)
    try:
        check(configs)
    except StatusError as error:
        raise ServerError(error.message) from None
    return lambda: configs


def address_of(host: str, port: int) -> str:
    """Both as one text; an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"


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
        reason = error.strerror or error
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            raise ServerError(f"cannot listen at {address}: {reason}; give an address of this machine") from None
        raise ServerError(f"{_taken(address)} ({reason})") from None


def _check_socket(path: str) -> None:
    """Passes if a unix socket can be made there, and nobody listens at one: gRPC would take it away from who does."""
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(path)
    except OSError:  # there is none, or a killed server left it, or it is no socket
        pass
    else:
        raise ServerError(_taken(path))
    if Path(path).exists() and not Path(path).is_socket():
        raise ServerError(f"cannot listen at unix:{path}: something else lies there; give another path")
    try:
        Path(path).unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as probe:
            probe.bind(path)
        Path(path).unlink()
    except OSError as error:
        text = f"cannot listen at unix:{path}: {error.strerror or error}; give a short path in a folder that is there "
        raise ServerError(text + "and may be written to") from None


def _check_credentials(credentials: grpc.ServerCredentials) -> None:
    """Passes if gRPC takes this key and certificate, at whatever port."""
    probe = grpc.server(ThreadPoolExecutor(1))
    try:
        probe.add_secure_port("localhost:0", credentials)
    except RuntimeError:
        text = "TLS is not to be had with this key and certificate: are both whole, is the key without a password, and "
        raise ServerError(text + "do they belong together?") from None
    finally:
        probe.stop(None)


def _taken(address: str) -> str:
    other = "path" if "/" in address else "port"
    return f"cannot listen at {address}: is another server running there? Give another {other}"


# --- the command -----------------------------------------------------------------------------------------------------


def serve(server: Server, grace: float = 10.0) -> None:
    """Runs a server until SIGTERM or Ctrl-C; then requests that run may end, for `grace` seconds.

    While models are still loaded for the first time, the process ends at once.

    Raises:
        ServerError: it cannot start.
    """
    asked = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        if asked.is_set():  # a second Ctrl-C does not wait
            os._exit(130)
        asked.set()

    previous = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    # Loading is no step of this thread, which would hear of a signal only after it.
    starting = ThreadPoolExecutor(1, "start").submit(server.start)
    try:
        while not starting.done() and not asked.wait(0.1):
            pass
        if not starting.done():
            log.info("stopping; no model is served yet")
            os._exit(0)  # loading cannot be broken off
        starting.result()
        if not server.models.available():
            log.warning("no model yet; `zoo export NAME` makes one, and it is found while this runs")
        log.info("listening at %s", ", ".join(server.places))
        while not asked.wait(0.5):
            pass
        log.info("stopping; requests that run may end")
    finally:
        server.stop(grace)
        for number, handler in previous.items():
            signal.signal(number, handler)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status of the command."""
    flags, unknown = parser().parse_known_args(arguments)
    if flags.version:
        from zoo import __version__

        print(f"ocrzoo model server: {__version__}\nTensorFlow: {tf.__version__}")
        return 0
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    for flag in unknown:
        log.warning("unknown flag: %s", flag)
    for name in NO_EFFECT:
        if getattr(flags, name) is not None:
            log.warning("--%s has no effect here", name)
    try:
        server = Server(
            _models_of(flags),
            address_of(flags.host, flags.port) if flags.port else "",
            rest=address_of(flags.host, flags.rest_api_port) if flags.rest_api_port else "",
            socket=flags.grpc_socket_path,
            options=options_of(flags),
        )
        if flags.model_config_file and flags.model_config_file_poll_wait_seconds > 0:
            follow(server, flags.model_config_file, flags.model_config_file_poll_wait_seconds)
        serve(server, flags.drain_seconds)
    except (ServerError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _models_of(flags: argparse.Namespace) -> Any:
    if not flags.port and not flags.grpc_socket_path:
        raise ServerError("at least one of --port and --grpc_socket_path must be given")
    if flags.rest_api_port and flags.rest_api_port == flags.port:
        raise ServerError(f"--rest_api_port and --port are both {flags.port}; they must differ")
    if flags.model_config_file:
        return read_config(flags.model_config_file, wire.ModelServerConfig)
    if flags.model_base_path:
        return {flags.model_name: flags.model_base_path}
    raise ServerError("give --model_config_file, or --model_name and --model_base_path")


def follow(server: Server, path: str | os.PathLike, seconds: float) -> None:
    """Serves what a file of a ModelServerConfig says, read again and again; an invalid one changes nothing.

    Nor does an empty one, as that of TensorFlow Serving: a file that is written anew is empty for a moment.
    """

    def look() -> None:
        while not server.wait(seconds):
            try:
                config = read_config(path, wire.ModelServerConfig)
                if config.HasField("model_config_list"):
                    server.models.configure(list(config.model_config_list.config))
            except Exception as error:  # whatever is wrong with the file, it is looked into again
                log.error("%s: %s", path, error)

    threading.Thread(target=look, name="follow", daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
