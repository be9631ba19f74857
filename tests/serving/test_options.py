"""Flags, their files, TLS and unix sockets."""

from __future__ import annotations

import json
import socket
import subprocess
import time

import grpc
import numpy as np
import pytest
from toys import LOCAL

from serving import client as clients
from serving import options
from serving.client import Client
from serving.options import Options, ServerError
from serving.server import Server, address_of
from zoo import cli

X = np.float32([[4]])

# Of tensorflow_model_server, from its main.cc at commit 9d981c5c (July 2026).
UPSTREAM = set(
    [
        "port",
        "grpc_socket_path",
        "rest_api_port",
        "rest_api_num_threads",
        "rest_api_timeout_in_ms",
        "rest_api_enable_cors_support",
        "enable_batching",
        "allow_version_labels_for_unavailable_models",
        "batching_parameters_file",
        "enable_per_model_batching_parameters",
        "model_config_file",
        "model_config_file_poll_wait_seconds",
        "model_name",
        "model_base_path",
        "num_load_threads",
        "num_unload_threads",
        "max_num_load_retries",
        "load_retry_interval_micros",
        "file_system_poll_wait_seconds",
        "flush_filesystem_caches",
        "tensorflow_session_parallelism",
        "tensorflow_session_config_file",
        "tensorflow_intra_op_parallelism",
        "tensorflow_inter_op_parallelism",
        "use_alts_credentials",
        "ssl_config_file",
        "platform_config_file",
        "per_process_gpu_memory_fraction",
        "saved_model_tags",
        "grpc_channel_arguments",
        "grpc_max_threads",
        "enable_model_warmup",
        "num_request_iterations_for_warmup",
        "version",
        "monitoring_config_file",
        "remove_unused_fields_from_bundle_metagraph",
        "prefer_tflite_model",
        "num_tflite_pools",
        "num_tflite_interpreters_per_pool",
        "enable_signature_method_name_check",
        "xla_cpu_compilation_enabled",
        "xla_gpu_compilation_enabled",
        "enable_profiler",
        "thread_pool_factory_config_file",
        "mixed_precision",
        "skip_initialize_tpu",
        "enable_grpc_healthcheck_service",
        "enable_serialization_as_tensor_content",
    ]
)


def chosen(*flags: str) -> Options:
    return options.options_of(options.parser().parse_args([f"--{flag}" for flag in flags]))


def test_every_flag_of_tensorflow_serving_is_known():
    known = {text.removeprefix("--") for action in options.parser()._actions for text in action.option_strings}
    assert known >= UPSTREAM
    own = known - UPSTREAM - {"help", "-h"}
    assert own == {"host", "max_in_flight", "max_request_memory", "drain_seconds"}


def test_flags_become_options(tmp_path):
    batching, monitoring = tmp_path / "batching", tmp_path / "monitoring"
    batching.write_text("max_batch_size { value: 4 }")
    monitoring.write_text('prometheus_config { enable: true path: "/metrics" }')
    made = chosen(
        "enable_batching", f"batching_parameters_file={batching}", f"monitoring_config_file={monitoring}",
        "grpc_channel_arguments=grpc.max_connection_age_ms=2000,grpc.lb_policy_name=grpclb",
        "enable_model_warmup=false", "load_retry_interval_micros=-1", "saved_model_tags=serve,tpu",
        "tensorflow_session_parallelism=2", "rest_api_timeout_in_ms=500",
    )  # fmt: skip
    assert made.batching and made.batching.max_batch_size == 4
    assert (made.metrics, made.warm_up, made.retry_seconds, made.tags) == ("/metrics", False, 0, ["serve", "tpu"])
    assert list(made.channel) == [("grpc.max_connection_age_ms", 2000), ("grpc.lb_policy_name", "grpclb")]
    assert made.session.inter_op_parallelism_threads == 2 and made.rest_timeout == 0.5
    assert chosen().metrics == "" and chosen().batching is None and chosen("enable_batching").batching


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["batching_parameters_file=x"], "without --enable_batching"),
        (["grpc_channel_arguments=a"], "'a' has no value"),
        (["tensorflow_session_parallelism=1", "tensorflow_intra_op_parallelism=1"], "session_parallelism"),
    ],
)
def test_flags_that_contradict_each_other(flags, text):
    with pytest.raises(ServerError, match=text):
        chosen(*flags)


@pytest.mark.parametrize(
    ("flag", "least"),
    [
        ("grpc_max_threads=0", 1),
        ("max_in_flight=0", 1),
        ("rest_api_num_threads=-1", 0),
        ("rest_api_timeout_in_ms=0", 1),
        ("file_system_poll_wait_seconds=-1", 0),
        ("file_system_poll_wait_seconds=nan", 0),
    ],
)
def test_numbers_by_which_no_server_could_run(flag, least):
    with pytest.raises(ServerError, match=f"--{flag}.*: give {least} or more"):
        chosen(flag)


def test_where_it_listens(toys, tmp_path):
    assert [address_of(host, 1) for host in ("::1", "[::1]", "localhost")] == ["[::1]:1", "[::1]:1", "localhost:1"]
    path = tmp_path / "socket"
    with Server({"toy": toys}, address_of("127.0.0.1", 0), rest="localhost:0", socket=str(path)) as server:
        first, second, third = server.places
    assert first == f"127.0.0.1:{server.port}" and second == f"unix:{path}"
    assert third == f"http://localhost:{server.rest_port}" and not first.endswith(":0") and not third.endswith(":0")


def test_a_file_that_is_none(tmp_path):
    (tmp_path / "file").write_text("improperly formatted")
    with pytest.raises(ServerError, match="Error parsing text-format tensorflow.serving.MonitoringConfig"):
        chosen(f"monitoring_config_file={tmp_path / 'file'}")
    (tmp_path / "file").write_bytes(b"\xff\xfe")
    with pytest.raises(ServerError, match="file: no text in UTF-8"):
        chosen(f"monitoring_config_file={tmp_path / 'file'}")
    (tmp_path / "file").write_text("max_batch_size { value: -1 }")
    with pytest.raises(ServerError, match="file: sizes and numbers of threads of batching begin at 1"):
        chosen("enable_batching", f"batching_parameters_file={tmp_path / 'file'}")


def test_a_file_that_is_none_ends_zoo_serve_with_a_line(tmp_path, capsys):
    (tmp_path / "file").write_text("max_batch_size: 8")
    assert cli.main(["serve", "--models", str(tmp_path), "--batching", str(tmp_path / "file")]) == 1
    assert "zoo serve: Error parsing text-format tensorflow.serving.BatchingParameters" in capsys.readouterr().err


# --- TLS -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A folder with two authorities, and keys with certificates of the first: "server" for localhost, and "client"."""
    folder = tmp_path_factory.mktemp("certificates")

    def run(*command: str) -> None:
        subprocess.run(["openssl", *command], cwd=folder, check=True, capture_output=True)

    for name in ("authority", "stranger"):
        run(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
            "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}",
        )  # fmt: skip
    signed = {"server": ("localhost", "2"), "client": ("client", "2"), "other": ("example.org", "2")}
    signed["late"] = ("localhost", "-1")  # it ended yesterday
    for name, (host, days) in signed.items():
        (folder / "names").write_text(f"subjectAltName=DNS:{host}")
        run(
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={host}",
            "-keyout", f"{name}.key", "-out", f"{name}.csr",
        )  # fmt: skip
        run(
            "x509", "-req", "-in", f"{name}.csr", "-CA", "authority.pem", "-CAkey", "authority.key", "-CAcreateserial",
            "-days", days, "-extfile", "names", "-out", f"{name}.pem",
        )  # fmt: skip
    return folder


def ssl_config(folder, name="server", verify=False):
    texts = {"server_key": f"{name}.key", "server_cert": f"{name}.pem", "custom_ca": "authority.pem"}
    path = folder / f"{name}-{verify}.config"
    lines = [f"{key}: {json.dumps((folder / file).read_text())}" for key, file in texts.items()]
    path.write_text("\n".join([*lines, f"client_verify: {str(verify).lower()}"]))
    return path


def trust(folder, authority="authority", own=""):
    pair = [(folder / f"{own}.{end}").read_bytes() if own else None for end in ("key", "pem")]
    return grpc.ssl_channel_credentials((folder / f"{authority}.pem").read_bytes(), *pair)


def test_tls(toys, certificates):
    credentials = options.credentials(ssl_config(certificates))
    with Server({"toy": toys}, "localhost:0", credentials=credentials) as server:
        address = f"localhost:{server.port}"
        with Client(address, credentials=trust(certificates), options=LOCAL) as client:
            assert client.predict("toy", X)["y"].item() == 5
        with (
            Client(address, credentials=trust(certificates, "stranger"), options=LOCAL) as client,
            pytest.raises(clients.TlsError, match="CERTIFICATE_VERIFY_FAILED"),
        ):
            client.predict("toy", {"x": X}, timeout=5)
        with Client(address, options=LOCAL, retries=0) as client, pytest.raises(clients.Unavailable):
            client.predict("toy", {"x": X}, timeout=5)


def test_tls_of_another_host(toys, certificates):
    credentials = options.credentials(ssl_config(certificates, "other"))
    with (
        Server({"toy": toys}, "localhost:0", credentials=credentials) as server,
        Client(f"localhost:{server.port}", credentials=trust(certificates), options=LOCAL) as client,
        pytest.raises(clients.TlsError),
    ):
        client.predict("toy", {"x": X}, timeout=5)


def test_a_certificate_that_has_expired(toys, certificates):
    credentials = options.credentials(ssl_config(certificates, "late"))
    with (
        Server({"toy": toys}, "localhost:0", credentials=credentials) as server,
        Client(f"localhost:{server.port}", credentials=trust(certificates), options=LOCAL) as client,
    ):
        started = time.monotonic()
        with pytest.raises(clients.TlsError, match="CERTIFICATE_VERIFY_FAILED: certificate has expired"):
            client.predict("toy", {"x": X}, timeout=30)
        assert time.monotonic() - started < 10  # it is not tried again


def test_a_key_of_another_certificate(toys, certificates, tmp_path):
    texts = {"server_key": "client.key", "server_cert": "server.pem"}
    lines = [f"{key}: {json.dumps((certificates / file).read_text())}" for key, file in texts.items()]
    (tmp_path / "ssl").write_text("\n".join(lines))
    credentials = options.credentials(tmp_path / "ssl")
    server = Server({"toy": toys}, "localhost:0", credentials=credentials)
    with pytest.raises(ServerError, match="do they belong together"):
        server.start()
    assert not server.models.available()  # it is told before any is loaded


@pytest.mark.parametrize("field", ["server_cert", "custom_ca"])
def test_a_damaged_certificate(certificates, tmp_path, field):
    texts = {
        key: (certificates / f"server.{end}").read_text()
        for key, end in (("server_key", "key"), ("server_cert", "pem"))
    }
    texts["custom_ca"] = "Autorité\n" + (certificates / "authority.pem").read_text()
    (tmp_path / "ssl").write_text("\n".join(f"{key}: {json.dumps(text)}" for key, text in texts.items()))
    options.credentials(tmp_path / "ssl")
    texts[field] = texts[field].replace("MII", "", 1)
    (tmp_path / "ssl").write_text("\n".join(f"{key}: {json.dumps(text)}" for key, text in texts.items()))
    with pytest.raises(ServerError, match=f"ssl: {field} holds a damaged certificate"):
        options.credentials(tmp_path / "ssl")


def test_clients_with_certificates(toys, certificates):
    credentials = options.credentials(ssl_config(certificates, verify=True))
    with Server({"toy": toys}, "localhost:0", credentials=credentials) as server:
        address = f"localhost:{server.port}"
        with Client(address, credentials=trust(certificates, own="client"), options=LOCAL) as client:
            assert client.predict("toy", X)["y"].item() == 5
        with (
            Client(address, credentials=trust(certificates), options=LOCAL, retries=0) as client,
            pytest.raises(clients.Unavailable),
        ):
            client.predict("toy", {"x": X}, timeout=5)


def test_a_file_of_paths_in_place_of_texts(tmp_path):
    (tmp_path / "ssl").write_text('server_key: "/etc/key.pem" server_cert: "/etc/cert.pem"')
    with pytest.raises(ServerError, match="hold the texts of PEM files"):
        options.credentials(tmp_path / "ssl")


def test_a_unix_socket(toys, tmp_path):
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(path))
    with Server({"toy": toys}, "", socket=str(path)), Client(f"unix:{path}", options=LOCAL) as client:
        with pytest.raises(ServerError, match=f"cannot listen at {path}: is another server running there"):
            Server({"toy": toys}, "", socket=str(path)).start()
        assert client.predict("toy", X)["y"].item() == 5


def test_a_file_in_the_place_of_a_unix_socket(toys, tmp_path):
    path = tmp_path / "file"
    path.write_text("of value")
    with pytest.raises(ServerError, match=f"cannot listen at unix:{path}"):
        Server({"toy": toys}, "", socket=str(path)).start()
    assert path.read_text() == "of value"


@pytest.mark.parametrize(
    ("name", "reason"), [("away/socket", "No such file or directory"), ("a" * 110, "AF_UNIX path too long")]
)
def test_a_unix_socket_that_cannot_be_made(toys, tmp_path, name, reason):
    server = Server({"toy": toys}, "", socket=str(tmp_path / name))
    with pytest.raises(ServerError, match=f"cannot listen at unix:.*{name}: {reason}; give a short path in a folder"):
        server.start()
    assert not server.models.available() and not list(tmp_path.iterdir())
