"""The client against servers that answer, refuse, hang, vanish and come back. No TensorFlow is involved."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
from toys import LOCAL

from serving import client as clients
from serving import wire
from serving.client import Client


class Fake:
    """A server whose answers are given: a status (code, text), a message, or seconds after which it echoes the inputs.

    When none is left, it echoes at once.
    """

    def __init__(self, *answers, port: int = 0, options=()):
        self.answers, self.asked = list(answers), []
        self.grpc = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0), *options])
        handler = grpc.unary_unary_rpc_method_handler(
            self.predict, wire.PredictRequest.FromString, lambda m: m.SerializeToString()
        )
        self.grpc.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(wire.PREDICT.service, {"Predict": handler})]
        )
        self.port = self.grpc.add_insecure_port(f"127.0.0.1:{port}")
        self.address = f"127.0.0.1:{self.port}"
        self.grpc.start()

    def predict(self, request, context):
        self.asked.append(request)
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, tuple):
            context.abort(*answer)
        if isinstance(answer, float):
            time.sleep(answer)
        elif answer is not None:
            return answer
        return wire.PredictResponse(outputs=request.inputs)

    def stop(self):
        self.grpc.stop(None).wait()


@pytest.fixture
def fake():
    servers = []

    def make(*answers, **options):
        servers.append(Fake(*answers, **options))
        return servers[-1]

    yield make
    for server in servers:
        server.stop()


def connect(address, **options) -> Client:
    return Client(address, options=LOCAL, **options)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(client, **options):
    return client.predict("m", {"x": np.float32([1, 2])}, **options)


def test_what_is_sent_and_what_comes_back(fake):
    server = fake()
    with connect(server.address) as client:
        images = np.arange(24, dtype="u1").reshape(1, 2, 4, 3)
        answer = client.predict(
            "m", {"image": images, "names": ["a", b"\x00"]}, signature="s", version=3, outputs=["y"]
        )
        assert answer["image"].dtype == np.uint8 and (answer["image"] == images).all()
        assert answer["names"].tolist() == [b"a", b"\x00"]
        client.run("crnn", version="stable")(images)
    first, second = server.asked
    assert (first.model_spec.name, first.model_spec.signature_name, first.model_spec.version.value) == ("m", "s", 3)
    assert list(first.output_filter) == ["y"]
    assert (second.model_spec.signature_name, second.model_spec.version_label) == ("pixels", "stable")
    assert list(second.inputs) == ["image"]


def test_large_messages_pass(fake):
    with connect(fake(options=[("grpc.max_receive_message_length", -1)]).address) as client:
        large = np.random.default_rng(0).random((1500, 1000), "f4")  # 6 MB; gRPC's own limit is 4 MiB
        assert (client.predict("m", {"x": large})["x"] == large).all()


@pytest.mark.parametrize(
    ("code", "details", "kind"),
    [
        ("UNAVAILABLE", "failed to connect to all addresses; last error: UNKNOWN: Connection refused", "ConnectError"),
        ("UNAVAILABLE", "DNS resolution failed for nowhere:1: Domain name not found", "ConnectError"),
        ("UNAVAILABLE", "errors resolving http://localhost:8500: [unknown scheme]", "ConnectError"),
        ("UNAVAILABLE", "Stream removed (Socket closed)", "ConnectionLost"),
        ("UNAVAILABLE", "Socket closed", "ConnectionLost"),
        ("UNAVAILABLE", "recvmsg:Connection reset by peer", "ConnectionLost"),
        ("UNAVAILABLE", "The batch scheduling queue to which this task was submitted is full", "Overloaded"),
        ("UNAVAILABLE", "failed to connect: Ssl handshake failed: CERTIFICATE_VERIFY_FAILED", "TlsError"),
        ("UNAVAILABLE", "failed to connect: Hostname Verification Check failed.", "TlsError"),
        ("UNAVAILABLE", "SSL_ERROR_SSL: error:0A00010B:SSL routines::WRONG_VERSION_NUMBER", "TlsError"),
        ("UNAVAILABLE", "failed to connect to ssl.example.org: Connection refused", "ConnectError"),
        ("RESOURCE_EXHAUSTED", "CLIENT: Received message larger than max (8388658 vs. 4194304)", "TooLarge"),
        ("RESOURCE_EXHAUSTED", "CLIENT: Sent message larger than max (10 vs. 4)", "TooLarge"),
        ("RESOURCE_EXHAUSTED", "Run() timeout exceeded while waiting in batching queue", "Overloaded"),
        ("RESOURCE_EXHAUSTED", "Concurrent RPC limit exceeded!", "Overloaded"),
        ("INVALID_ARGUMENT", "Unknown image file format", "InvalidRequest"),
        ("FAILED_PRECONDITION", 'Serving signature key "s" not found.', "InvalidRequest"),
        ("NOT_FOUND", "Servable not found for request: Latest(m)", "NotFound"),
        ("DEADLINE_EXCEEDED", "Deadline Exceeded", "DeadlineExceeded"),
        ("CANCELLED", "CANCELLED", "ConnectionLost"),  # of a server that ends
        ("CANCELLED", "Channel closed!", "ServingError"),
        ("INTERNAL", "", "InternalError"),
        ("UNKNOWN", "Exception calling application", "InternalError"),
    ],
)
def test_kinds_of_errors(code, details, kind):
    assert clients.classify(grpc.StatusCode[code], details) is getattr(clients, kind)


def test_every_error_is_in_the_drawing():
    names = {kind.__name__ for kind in vars(clients).values() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert len(names) == 11
    for name in names:
        assert name in clients.__doc__
        assert (f"{name} *" in clients.__doc__) == (getattr(clients, name) in clients.RETRIED)


QUEUE_FULL = (grpc.StatusCode.UNAVAILABLE, "The batch scheduling queue to which this task was submitted is full")


def test_an_overloaded_server_is_asked_again(fake):
    server = fake(QUEUE_FULL, QUEUE_FULL)
    with connect(server.address) as client:
        assert ask(client)["x"].tolist() == [1, 2]
    assert len(server.asked) == 3


def test_attempts_end(fake):
    server = fake(*[QUEUE_FULL] * 9)
    with connect(server.address, retries=2) as client, pytest.raises(clients.Overloaded) as caught:
        ask(client)
    assert len(server.asked) == 3
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE and "queue" in caught.value.details


def test_attempts_end_with_the_time(fake):
    server = fake(*[QUEUE_FULL] * 99)
    started = time.monotonic()
    with connect(server.address, retries=99) as client, pytest.raises(clients.Overloaded):
        ask(client, timeout=2.0)
    assert time.monotonic() - started < 4
    assert len(server.asked) < 8


@pytest.mark.parametrize("code", ["INVALID_ARGUMENT", "NOT_FOUND", "INTERNAL", "FAILED_PRECONDITION"])
def test_an_error_that_stays_is_not_tried_again(fake, code):
    server = fake((grpc.StatusCode[code], "no"))
    with connect(server.address) as client, pytest.raises(clients.ServingError, match=r": m: Predict: no"):
        ask(client)
    assert len(server.asked) == 1


def test_a_slow_server(fake):
    server = fake(3.0)
    started = time.monotonic()
    with connect(server.address) as client, pytest.raises(clients.DeadlineExceeded, match="longer timeout"):
        ask(client, timeout=0.3)
    assert time.monotonic() - started < 1.5
    assert len(server.asked) == 1


def test_a_message_that_the_server_does_not_take(fake):
    server = fake(options=[("grpc.max_receive_message_length", 1000)])
    with connect(server.address) as client, pytest.raises(clients.TooLarge):
        client.predict("m", {"x": np.zeros(1000)})
    assert server.asked == []


def test_nobody_listens():
    with connect(f"127.0.0.1:{free_port()}", retries=1) as client:
        with pytest.raises(clients.ConnectError, match="is the server running"):
            ask(client)
        with pytest.raises(clients.ConnectError, match="no server within"):
            client.wait(0.2)


def test_a_server_that_starts_later_is_waited_for(fake):
    port = free_port()
    with connect(f"127.0.0.1:{port}") as client:
        timer = threading.Timer(0.7, lambda: fake(port=port))
        timer.start()
        client.wait(10)
        assert ask(client)["x"].tolist() == [1, 2]
        timer.join()


def test_a_server_that_comes_back_is_found(fake):
    first = fake()
    with connect(first.address, retries=20) as client:
        ask(client)
        first.stop()
        timer = threading.Timer(0.5, lambda: fake(port=first.port))
        timer.start()
        assert ask(client, timeout=15)["x"].tolist() == [1, 2]
        timer.join()


HANGS = f"""
import sys, time; sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_client import Fake
server = Fake(60.0)
print(server.port, flush=True)
time.sleep(60)
"""


def test_a_server_killed_in_the_middle_of_a_request():
    process = subprocess.Popen([sys.executable, "-c", HANGS], stdout=subprocess.PIPE, text=True)
    try:
        port = int(process.stdout.readline())
        with connect(f"127.0.0.1:{port}", retries=0) as client:
            threading.Timer(0.5, process.send_signal, [signal.SIGKILL]).start()
            with pytest.raises(clients.ConnectionLost):
                ask(client)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_an_answer_that_cannot_be_read(fake):
    response = wire.PredictResponse()
    response.outputs["y"].dtype = 99
    with connect(fake(response).address) as client, pytest.raises(clients.InternalError, match="type 99"):
        ask(client)


def test_many_threads_share_a_client(fake):
    server = fake()
    with connect(server.address) as client, ThreadPoolExecutor(16) as pool:
        answers = pool.map(lambda i: client.predict("m", {"x": np.int64(i)})["x"].item(), range(200))
        assert list(answers) == list(range(200))


def test_neither_tensorflow_nor_keras_nor_opencv_is_imported():
    code = (
        "import sys, serving.client\n"
        "heavy = {'tensorflow', 'keras', 'cv2', 'zoo', 'tensorflow_serving', 'ml_dtypes'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
