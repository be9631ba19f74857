"""What can be chosen of a server, and tensorflow_model_server's flags, which choose it.

A flag is --name=value, --name value, or --name alone for a switch. All of TensorFlow Serving's flags are known; those
that speak of what is not here (GPUs, XLA, the profiler, its thread pools) are taken and have no effect, which is said.
"""

from __future__ import annotations

import argparse
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import tensorflow as tf
from google.protobuf import text_format

from serving import wire
from serving.batching import Parameters
from serving.memory import half_of_machine
from serving.models import RETRIES, RETRY_SECONDS
from serving.rest import METRICS


class ServerError(RuntimeError):
    """The server cannot start: the text says why and what would do."""


@dataclass(frozen=True)
class Options:
    """What can be chosen of a server.

    Attributes:
        poll: seconds between looks for new versions; 0 looks once only.
        threads: requests that run at the same time.
        in_flight: requests that may run and wait, on either interface; more are refused.
        memory: bytes that requests under way may need, their pictures decoded; more are refused. 0: no bound.
        retry_seconds: between attempts to load a version that failed.
        retries: how often that is attempted again.
        batching: how rows of several requests are put together; None: not at all.
        own_batching: each version's file `batching_params.pbtxt` says how, and one without it does not.
        credentials: for TLS over gRPC; the REST interface has none.
        rest_timeout: seconds for a request there.
        rest_threads: requests that run at the same time there; 0: as many as over gRPC.
        metrics: path of the page of metrics there; "" for none.
        cross_origin: pages of other origins may ask there.
        channel: further options of gRPC.
        tags: of the SavedModels' graphs.
        tflite: a version's `model.tflite` is taken before its SavedModel.
        warm_up: the requests that lie in a version are run before it is served.
        early_labels: a model may get a label for a version before that has been loaded.
        check_method: Classify and Regress take only signatures that say they are of that method.
        tensor_content: answers hold their numbers as one block of bytes.
        session: TensorFlow's ConfigProto of each model's session.
    """

    poll: float = 1.0
    threads: int = 4 * (os.cpu_count() or 1)
    in_flight: int = 1000
    memory: int = field(default_factory=half_of_machine)
    retry_seconds: float = RETRY_SECONDS
    retries: int = RETRIES
    batching: Parameters | None = None
    own_batching: bool = False
    credentials: grpc.ServerCredentials | None = None
    rest_timeout: float = 30.0
    rest_threads: int = 0
    metrics: str = METRICS
    cross_origin: bool = False
    channel: Sequence[tuple[str, Any]] = ()
    tags: Sequence[str] = ("serve",)
    tflite: bool = False
    warm_up: bool = True
    early_labels: bool = False
    check_method: bool = False
    tensor_content: bool = False
    session: Any = None


# --- flags -----------------------------------------------------------------------------------------------------------

# Name, value where it is not given, what it says.
FLAGS: tuple[tuple[str, bool | int | float | str, str], ...] = (
    ("host", "0.0.0.0", "address to listen at; TensorFlow Serving knows only this one"),
    ("port", 8500, "of gRPC; 0 for none"),
    ("grpc_socket_path", "", "unix socket of gRPC"),
    ("rest_api_port", 0, "of the REST interface; 0 for none"),
    ("rest_api_num_threads", 0, "requests at the same time there"),
    ("rest_api_timeout_in_ms", 30_000, "for a request there"),
    ("rest_api_enable_cors_support", False, "pages of other origins may ask"),
    ("model_config_file", "", "ModelServerConfig as text; instead of the next two"),
    ("model_name", "default", "of the one model"),
    ("model_base_path", "", "folder with its versions"),
    ("model_config_file_poll_wait_seconds", 0, "between looks into that file; 0 looks once"),
    ("file_system_poll_wait_seconds", 1.0, "between looks for new versions; 0 looks once"),
    ("max_num_load_retries", 5, "of a version that does not load"),
    ("load_retry_interval_micros", 60_000_000, "between them"),
    ("allow_version_labels_for_unavailable_models", False, "labels before their versions"),
    ("saved_model_tags", "serve", "of the graphs, with commas between them"),
    ("enable_model_warmup", True, "run the requests that lie in a version first"),
    ("prefer_tflite_model", False, "take model.tflite where there is one"),
    ("enable_signature_method_name_check", False, "signatures must say that they classify or regress"),
    ("enable_batching", False, "rows of several requests in one run"),
    ("batching_parameters_file", "", "BatchingParameters as text"),
    ("enable_per_model_batching_parameters", False, "batching_params.pbtxt of each version says how"),
    ("monitoring_config_file", "", "MonitoringConfig as text"),
    ("ssl_config_file", "", "SSLConfig as text: keys and certificates in PEM"),
    ("grpc_channel_arguments", "", "key=value, with commas between them"),
    ("grpc_max_threads", 4 * (os.cpu_count() or 1), "requests at the same time"),
    ("enable_grpc_healthcheck_service", False, "it is always there"),
    ("enable_serialization_as_tensor_content", False, "numbers of answers as one block of bytes"),
    ("tensorflow_session_parallelism", 0, "threads of a session"),
    ("tensorflow_intra_op_parallelism", 0, "threads of an operation"),
    ("tensorflow_inter_op_parallelism", 0, "operations at the same time"),
    ("tensorflow_session_config_file", "", "ConfigProto as text"),
    ("per_process_gpu_memory_fraction", 0.0, "of a GPU's memory"),
    ("max_in_flight", 1000, "requests that may run and wait; TensorFlow Serving has no bound"),
    (
        "max_request_memory",
        -1,
        "bytes that requests under way may need, their pictures decoded; 0: no bound, as "
        "TensorFlow Serving has none; -1: half of the machine's",
    ),
    ("drain_seconds", 10.0, "that requests may go on after SIGTERM; TensorFlow Serving gives none"),
)
LEAST = {
    "grpc_max_threads": 1, "max_in_flight": 1, "rest_api_num_threads": 0, "rest_api_timeout_in_ms": 1,
    "file_system_poll_wait_seconds": 0,
}  # fmt: skip
NO_EFFECT = (
    "num_load_threads", "num_unload_threads", "flush_filesystem_caches", "use_alts_credentials",
    "platform_config_file", "num_request_iterations_for_warmup", "remove_unused_fields_from_bundle_metagraph",
    "num_tflite_pools", "num_tflite_interpreters_per_pool", "xla_cpu_compilation_enabled",
    "xla_gpu_compilation_enabled", "enable_profiler", "thread_pool_factory_config_file", "mixed_precision",
    "skip_initialize_tpu",
)  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """The parser of the flags."""
    made = argparse.ArgumentParser(
        "python -m serving.server", description="A model server that takes tensorflow_model_server's flags."
    )
    made.add_argument("--version", action="store_true", help="show the version and end")
    for name, value, text in FLAGS:
        if isinstance(value, bool):
            made.add_argument(f"--{name}", nargs="?", type=_switch, const=True, default=value, help=text)
        else:
            made.add_argument(f"--{name}", type=type(value), default=value, help=f"{text}; {value!r} unless given")
    for name in NO_EFFECT:
        made.add_argument(f"--{name}", nargs="?", const="true", help="has no effect here")
    return made


def _switch(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text.lower() in ("true", "1")


def options_of(flags: argparse.Namespace) -> Options:
    """What the flags choose.

    Raises:
        ServerError, OSError: they, or files that they name, cannot be met.
    """
    for name, least in LEAST.items():
        if not (value := getattr(flags, name)) >= least:
            raise ServerError(f"--{name}={value}: give {least} or more")
    if flags.batching_parameters_file and not flags.enable_batching:
        raise ServerError("--batching_parameters_file is given without --enable_batching")
    return Options(
        poll=flags.file_system_poll_wait_seconds,
        threads=flags.grpc_max_threads,
        in_flight=flags.max_in_flight,
        memory=half_of_machine() if flags.max_request_memory < 0 else flags.max_request_memory,
        retries=flags.max_num_load_retries,
        retry_seconds=max(0.0, flags.load_retry_interval_micros / 1e6),
        batching=_batching(flags),
        own_batching=flags.enable_per_model_batching_parameters,
        credentials=credentials(flags.ssl_config_file) if flags.ssl_config_file else None,
        rest_timeout=flags.rest_api_timeout_in_ms / 1000,
        rest_threads=flags.rest_api_num_threads,
        metrics=_metrics(flags.monitoring_config_file),
        cross_origin=flags.rest_api_enable_cors_support,
        channel=_channel(flags.grpc_channel_arguments),
        tags=flags.saved_model_tags.split(","),
        tflite=flags.prefer_tflite_model,
        warm_up=flags.enable_model_warmup,
        early_labels=flags.allow_version_labels_for_unavailable_models,
        check_method=flags.enable_signature_method_name_check,
        tensor_content=flags.enable_serialization_as_tensor_content,
        session=_session(flags),
    )


def batching_parameters(path: str | os.PathLike) -> Parameters:
    """The parameters in a file.

    Raises:
        ServerError, OSError: it holds none.
    """
    message = read_config(path, wire.BatchingParameters)
    try:
        return Parameters.of(message)
    except ValueError as error:
        raise ServerError(f"{path}: {error}") from None


def read_config(path: str | os.PathLike, kind: Any) -> Any:
    """The message in a file, as text.

    Raises:
        OSError, ServerError: there is no file, or no such message in it.
    """
    try:
        return text_format.Parse(Path(path).read_text(encoding="utf-8"), kind())
    except text_format.ParseError as error:
        name = kind.DESCRIPTOR.name
        raise ServerError(f"Error parsing text-format tensorflow.serving.{name}: {path}: {error}") from None
    except UnicodeDecodeError as error:
        raise ServerError(f"{path}: no text in UTF-8 ({error})") from None


def _batching(flags: argparse.Namespace) -> Parameters | None:
    if not flags.enable_batching:
        return None
    return batching_parameters(flags.batching_parameters_file) if flags.batching_parameters_file else Parameters()


def _metrics(path: str) -> str:
    """The path of the page of metrics; "" for none."""
    config = read_config(path, wire.MonitoringConfig).prometheus_config if path else wire.PrometheusConfig()
    return (config.path or METRICS) if config.enable else ""


def _channel(text: str) -> list[tuple[str, Any]]:
    pairs = [pair.partition("=") for pair in text.split(",") if pair]
    wrong = [key for key, sign, _ in pairs if not sign]
    if wrong:
        raise ServerError(f"--grpc_channel_arguments are key=value; {wrong[0]!r} has no value")
    return [(key, int(value) if value.lstrip("-").isdigit() else value) for key, _, value in pairs]


def _session(flags: argparse.Namespace) -> Any:
    config = tf.compat.v1.ConfigProto()
    if flags.tensorflow_session_config_file:
        config = read_config(flags.tensorflow_session_config_file, tf.compat.v1.ConfigProto)
    each = flags.tensorflow_session_parallelism
    inside, across = flags.tensorflow_intra_op_parallelism, flags.tensorflow_inter_op_parallelism
    if each and (inside or across):
        raise ServerError("give --tensorflow_session_parallelism, or the parallelism within and across operations")
    config.intra_op_parallelism_threads = inside or each or config.intra_op_parallelism_threads
    config.inter_op_parallelism_threads = across or each or config.inter_op_parallelism_threads
    config.gpu_options.per_process_gpu_memory_fraction = flags.per_process_gpu_memory_fraction
    return config


def credentials(path: str | os.PathLike) -> grpc.ServerCredentials:
    """What a file of TensorFlow Serving's SSLConfig asks for: TLS, and with `client_verify` certificates of clients.

    Raises:
        ServerError: what it holds is no key and certificate.
    """
    config = read_config(path, wire.SSLConfig)
    if "BEGIN" not in config.server_key or "BEGIN CERTIFICATE" not in config.server_cert:
        raise ServerError(f"{path}: server_key and server_cert hold the texts of PEM files, not their paths")
    if config.client_verify and not config.custom_ca:
        raise ServerError(f"{path}: client_verify needs custom_ca, the certificate that clients' are signed by")
    for name in ("server_cert", "custom_ca"):
        if text := getattr(config, name):
            _check_certificates(text, f"{path}: {name}")
    pair = (config.server_key.encode(), config.server_cert.encode())
    roots = config.custom_ca.encode() or None
    return grpc.ssl_server_credentials([pair], roots, config.client_verify)


def _check_certificates(text: str, where: str) -> None:
    """Passes if OpenSSL reads these certificates."""
    readable = text.encode("ascii", "replace").decode()  # between certificates may stand anything
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=readable)
    except ssl.SSLError as error:
        raise ServerError(
            f"{where} holds a damaged certificate ({error}); give the whole text of its PEM file"
        ) from None
