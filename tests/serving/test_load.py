"""The server in a process of its own, under load and under faults: slow tests."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
from toys import LOCAL

from serving import client as clients
from serving import wire
from serving.bulk import Answer, stream
from serving.client import Client

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
REQUESTS = 10_000


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def process(toys: Path, port: int, *flags: str):
    """A server of version 2 of the toy, ready."""
    command = [sys.executable, "-m", "serving.server", "--model_name=toy", f"--model_base_path={toys}"]
    running = subprocess.Popen(
        [*command, f"--port={port}", "--host=127.0.0.1", *flags],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    try:
        with connect(port) as client:
            client.wait(180)
        yield running
    finally:
        running.kill()
        running.wait()


def connect(port: int, **options) -> Client:
    return Client(f"127.0.0.1:{port}", options=LOCAL, **options)


def ask(client: Client, kind: int, number: int) -> bool:
    """Whether the answer to one of four kinds of requests is that of this number."""
    if kind == 0:
        return client.predict("toy", {"x": np.float32([[number]])})["y"].item() == number / 2 + 3
    if kind == 1:
        rows = np.arange(number, number + 50, dtype="float32")[:, None]
        return (client.predict("toy", {"x": rows})["y"] == rows / 2 + 3).all()
    if kind == 2:
        text = f"request {number}".encode()
        return client.predict("toy", {"s": [text]}, signature="text")["same"].tolist() == [text]
    try:
        client.predict("toy", {"p": np.int32([number])}, signature="two")
    except clients.InvalidRequest as error:
        return "Missing but required: {q}" in error.details
    return False


def test_many_mixed_requests_lose_nothing_and_fill_no_memory(toys, tmp_path):
    batching = tmp_path / "batching"
    batching.write_text("max_batch_size { value: 64 } max_enqueued_batches { value: 1000 }")
    port = free_port()
    with (
        process(toys, port, "--enable_batching", f"--batching_parameters_file={batching}") as running,
        connect(port) as client,
        ThreadPoolExecutor(8) as pool,
    ):
        kinds = random.Random(1).choices(range(4), k=REQUESTS)
        early = list(pool.map(lambda n: ask(client, kinds[n], n), range(REQUESTS // 5)))
        before = psutil.Process(running.pid).memory_info().rss
        late = list(pool.map(lambda n: ask(client, kinds[n], n), range(REQUESTS // 5, REQUESTS)))
        after = psutil.Process(running.pid).memory_info().rss
    assert len(early + late) == REQUESTS and all(early) and all(late)
    assert after < 1.05 * before


def test_a_server_that_is_killed_and_comes_back_loses_no_page(toys):
    port = free_port()
    pages = [cv2.imencode(".png", np.full((4, 4, 3), n % 256, "uint8"))[1].tobytes() for n in range(400)]
    done: list[Answer] = []

    def read(client: Client) -> None:
        options = {"model": "toy", "signature": "picture", "window": 4, "timeout": 240.0}
        done.extend(stream(client, pages, convert=lambda n, page, outputs: Answer(n, page, outputs=outputs), **options))

    with connect(port, retries=1000) as client:
        with process(toys, port) as running:
            reading = threading.Thread(target=read, args=(client,))
            reading.start()
            time.sleep(0.3)
            running.send_signal(signal.SIGKILL)
            running.wait()
        with process(toys, port):
            reading.join()
    assert [answer.error for answer in done] == [None] * len(pages)
    assert [answer.outputs["sum"].item() for answer in done] == [n % 256 * 48 for n in range(400)]


def test_calls_that_are_cancelled_leave_nothing_behind(toys):
    port = free_port()
    request = wire.PredictRequest(model_spec=wire.ModelSpec(name="toy", signature_name="slow"))
    request.inputs["rounds"].CopyFrom(wire.encode(np.int32(20)))
    with process(toys, port) as running, connect(port) as client:
        call = client._channel.unary_unary(
            wire.PREDICT.path, lambda m: m.SerializeToString(), wire.PredictResponse.FromString
        )
        assert ask(client, 0, 1)
        before = psutil.Process(running.pid).num_threads()
        for _ in range(10):
            calls = [call.future(request, timeout=60) for _ in range(100)]
            time.sleep(0.05)
            for one in calls:
                one.cancel()
        end = time.monotonic() + 60
        while not ask(client, 0, 2):
            assert time.monotonic() < end
        assert psutil.Process(running.pid).num_threads() <= before + 4 * (os.cpu_count() or 1)


@pytest.mark.parametrize("fault", ["empty", "cut", "flipped", "text"])
def test_damaged_pictures_among_good_ones(toys, tmp_path, fault):
    batching = tmp_path / "batching"
    batching.write_text("max_batch_size { value: 8 } batch_timeout_micros { value: 200000 }")
    good = [cv2.imencode(".png", np.full((32, 32, 3), n, "uint8"))[1].tobytes() for n in range(7)]
    bad = bytearray(good[3])
    bad[len(bad) // 2] ^= 0xFF
    broken = {"empty": b"", "cut": good[3][:40], "flipped": bytes(bad), "text": b"no picture"}[fault]
    port = free_port()
    with (
        process(toys, port, "--enable_batching", f"--batching_parameters_file={batching}"),
        connect(port) as client,
    ):
        with pytest.raises(clients.InvalidRequest):
            client.predict("toy", {"image": [broken]}, signature="picture")
        answers = list(
            stream(
                client, [*good[:3], broken, *good[3:]], model="toy", signature="picture",
                convert=lambda n, page, outputs: Answer(n, page, outputs=outputs),
            )
        )  # fmt: skip
        assert isinstance(answers.pop(3).error, clients.InvalidRequest)
        assert [answer.outputs["sum"].item() for answer in answers] == [n * 3072 for n in range(7)]


def test_a_hundred_megapixels_alone_and_in_a_batch_of_eight(toys, tmp_path):
    batching = tmp_path / "batching"
    batching.write_text("max_batch_size { value: 8 } batch_timeout_micros { value: 3000000 }")
    pages = [cv2.imencode(".png", np.full((side, side), 1, "uint8"))[1].tobytes() for side in (*range(10, 17), 10_000)]
    expected = [3 * side**2 for side in (*range(10, 17), 10_000)]
    port = free_port()

    def sums(client: Client) -> list[int]:
        with ThreadPoolExecutor(8) as pool:
            ask = pool.map(lambda page: client.predict("toy", [page], signature="picture", timeout=300), pages)
            return [answer["sum"].item() for answer in ask]

    flags = ("--enable_batching", f"--batching_parameters_file={batching}", "--rest_api_port=0")
    with process(toys, port, *flags) as running, connect(port) as client:
        assert client.predict("toy", [pages[-1]], signature="picture", timeout=300)["sum"].tolist() == [300_000_000]
        assert sums(client) == expected
        assert running.poll() is None
    port = free_port()
    with process(toys, port, *flags, "--max_request_memory=100000000") as running, connect(port) as client:
        with pytest.raises(clients.TooLarge, match="too large: this request needs 600"):
            client.predict("toy", [pages[-1]], signature="picture", timeout=300)
        pages.pop(), expected.pop()
        assert sums(client) == expected
        assert psutil.Process(running.pid).memory_info().rss < 2**30
