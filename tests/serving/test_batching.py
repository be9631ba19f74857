"""Rows of several requests in one run: what is put together, and that no request suffers for another."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from toys import LOCAL, publish

from serving import client as clients
from serving import wire
from serving.batching import Batcher, Parameters
from serving.client import Client
from serving.metrics import Metrics
from serving.servable import StatusError
from serving.server import Server

TEXT = "max_batch_size { value: 8 } batch_timeout_micros { value: 50000 } num_batch_threads { value: 1 }"


class Doubling:
    """In place of a servable: doubles "x"; refuses batches with a 13, and remembers what it was given."""

    folder, name = Path("toy/1"), "toy"

    def __init__(self, seconds: float = 0.0):
        self.runs: list[np.ndarray] = []
        self.seconds = seconds

    def run(self, feeds, fetches, seconds):
        self.runs.append(feeds["x"])
        time.sleep(self.seconds)
        if (feeds["x"] == 13).any():
            raise tf.errors.InvalidArgumentError(None, None, "thirteen")
        return [feeds["x"] * 2] if fetches == ["y"] else [np.float32(0)]


def ask(batcher, engine, rows, seconds=None, fetches=("y",)):
    return batcher.run(engine, ("f", *fetches), {"x": np.array(rows, "float32")}, list(fetches), seconds)


def together(batcher, engine, requests):
    """The first row of each answer, or the error."""

    def one(rows):
        try:
            return ask(batcher, engine, rows)[0].tolist()
        except (StatusError, tf.errors.OpError) as error:
            return error.message

    with ThreadPoolExecutor(len(requests)) as pool:
        return list(pool.map(one, requests))


def test_requests_share_a_run_and_get_their_own_rows():
    batcher, engine = Batcher(Parameters(max_batch_size=8, timeout=0.3, threads=1)), Doubling()
    assert together(batcher, engine, [[1], [2, 3], [4]]) == [[2], [4, 6], [8]]
    assert [len(run) for run in engine.runs] == [4]
    batcher.close()


def test_a_full_batch_does_not_wait():
    batcher, engine = Batcher(Parameters(max_batch_size=2, timeout=60, threads=1)), Doubling()
    started = time.monotonic()
    assert together(batcher, engine, [[1], [2]]) == [[2], [4]]
    assert time.monotonic() - started < 10


def test_batches_are_padded_to_the_allowed_sizes():
    parameters = Parameters(max_batch_size=8, timeout=0.3, threads=1, allowed_sizes=(4, 8))
    batcher, engine = Batcher(parameters), Doubling()
    assert together(batcher, engine, [[1], [2, 3]]) == [[2], [4, 6]]
    assert [len(run) for run in engine.runs] == [4] and engine.runs[0][3] in (1, 2)


def test_a_bad_row_fails_alone():
    batcher, engine = Batcher(Parameters(max_batch_size=8, timeout=0.3, threads=1)), Doubling()
    answers = together(batcher, engine, [[1], [13], [3], [4], [5], [6], [7], [8]])
    assert answers == [[2], "thirteen", [6], [8], [10], [12], [14], [16]]
    assert len(engine.runs) <= 1 + 2 * 3  # halves: no run for each row


def test_other_shapes_do_not_meet_unless_padded():
    batcher, engine = Batcher(Parameters(timeout=0.2, threads=1)), Doubling()
    assert together(batcher, engine, [[[1, 2]], [[3]]]) == [[[2, 4]], [[6]]]
    assert sorted(run.shape for run in engine.runs) == [(1, 1), (1, 2)]
    batcher, engine = Batcher(Parameters(timeout=0.2, threads=1, pad=True)), Doubling()
    assert together(batcher, engine, [[[1, 2]], [[3]]]) == [[[2, 4]], [[6, 6]]]  # with its own first element
    assert [run.shape for run in engine.runs] == [(2, 2)]


def test_a_full_queue_refuses():
    batcher, engine = Batcher(Parameters(max_batch_size=1, threads=1, max_enqueued=2)), Doubling(0.4)
    answers = together(batcher, engine, [[n] for n in range(6)])
    refused = [answer for answer in answers if isinstance(answer, str)]
    assert 1 <= len(refused) <= 4 and set(refused) == {
        "The batch scheduling queue to which this task was submitted is full"
    }


def test_what_nobody_waits_for_is_not_run():
    batcher, engine = Batcher(Parameters(max_batch_size=1, threads=1)), Doubling(0.3)
    threading.Thread(target=ask, args=(batcher, engine, [1])).start()
    time.sleep(0.1)
    with pytest.raises(StatusError, match="timeout exceeded while waiting in batching queue"):
        ask(batcher, engine, [2], seconds=0.05)
    assert [run.tolist() for run in engine.runs] == [[1]]


def test_a_request_after_the_end_is_answered():
    batcher = Batcher(Parameters(threads=2, name="again"))
    answers: list = []
    for count in (1, 2):  # a server that was stopped may be started again
        thread = threading.Thread(target=lambda: answers.append(ask(batcher, Doubling(), [1, 2])), daemon=True)
        thread.start()
        thread.join(10)
        assert len(answers) == count and answers[-1][0].tolist() == [2, 4]
        batcher.close()
        while any(thread.name.startswith("again-") for thread in threading.enumerate()):
            time.sleep(0.01)


def test_refusals_of_batches():
    batcher, engine = Batcher(Parameters(max_batch_size=2, threads=1)), Doubling()
    with pytest.raises(StatusError, match="Task size 3 is larger than maximum input batch size 2"):
        ask(batcher, engine, [1, 2, 3])
    with pytest.raises(StatusError, match="at least one dimension"):
        ask(batcher, engine, 1)
    with pytest.raises(StatusError, match="equal 0th-dimension size"):
        batcher.run(engine, ("f",), {"x": np.zeros(2), "z": np.zeros(1)}, ["y"], None)
    with pytest.raises(StatusError, match="Batched output tensor has 0 dimensions"):
        ask(batcher, engine, [1], fetches=("scalar",))
    large = Batcher(Parameters(max_batch_size=2, threads=1, split=True))
    assert ask(large, engine, [1, 2, 3])[0].tolist() == [2, 4, 6]


def test_parameters_from_their_file():
    message = text_format.Parse(TEXT + " allowed_batch_sizes: 4 allowed_batch_sizes: 8", wire.BatchingParameters())
    assert Parameters.of(message) == Parameters(8, 0.05, 10, 1, allowed_sizes=(4, 8))
    message.allowed_batch_sizes.append(9)
    with pytest.raises(ValueError, match="must match max_batch_size; last entry was 9; expected 8"):
        Parameters.of(message)
    assert Parameters.of(wire.BatchingParameters()) == Parameters()  # TensorFlow Serving's defaults


def test_a_damaged_picture_among_good_ones(toys):
    pictures = [cv2.imencode(".png", np.full((4, 4, 3), value, "uint8"))[1].tobytes() for value in range(8)]
    pictures[3] = pictures[3][:30]
    parameters = Parameters(max_batch_size=8, timeout=0.5, threads=1)
    with (
        Server({"toy": toys}, "127.0.0.1:0", batching=parameters) as server,
        Client(f"127.0.0.1:{server.port}", options=LOCAL, retries=0) as client,
        ThreadPoolExecutor(8) as pool,
    ):

        def read(data):
            try:
                return client.predict("toy", {"image": [data]}, signature="picture")["sum"].item()
            except clients.InvalidRequest as error:
                return error

        sums = list(pool.map(read, pictures))
        assert isinstance(sums.pop(3), clients.InvalidRequest)
        assert sums == [value * 48 for value in (0, 1, 2, 4, 5, 6, 7)]
        assert server.metrics.runs[()] >= 2 and ":batching_session:queuing_latency_count" in server.metrics.page()


@pytest.mark.parametrize("own", [False, True])
def test_a_dropped_version_leaves_neither_memory_nor_threads(models, toys, own):
    if own:
        (models / "toy" / "1" / "batching_params.pbtxt").write_text(TEXT + 'thread_pool_name { value: "own" }')
    chosen = {"batching": Parameters(threads=1, name="all"), "own_batching": own, "poll": 0.05}
    with Server(models, "127.0.0.1:0", **chosen) as server, Client(f"127.0.0.1:{server.port}", options=LOCAL) as client:
        assert client.predict("toy", {"x": np.float32([[2]])})["y"].tolist() == [[3]]
        first = weakref.ref(server.models.lookup(wire.ModelSpec(name="toy"))[0])
        publish(toys / "2", models / "toy" / "2")
        end = time.monotonic() + 20
        while (first() or any(t.name.startswith("own-") for t in threading.enumerate())) and time.monotonic() < end:
            gc.collect()
            time.sleep(0.05)
        assert first() is None and not any(thread.name.startswith("own-") for thread in threading.enumerate())


def test_batches_are_counted():
    metrics = Metrics()
    batcher = Batcher(Parameters(max_batch_size=8, timeout=0.3, threads=1), metrics)
    together(batcher, Doubling(), [[1], [2]])
    assert ':ocrzoo:serving:batch_rows_sum{model_name="toy",signature_name="f"} 2' in metrics.page()
