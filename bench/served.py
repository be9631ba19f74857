"""What a request costs beside the same call in this process, with and without batching (pages: bench/stream.py).

    overhead     a model that does nothing: the whole cost of a request
    pictures     a model of at least 20 ms that takes a JPEG; also by a server of ten lines that knows no more (bare)
    batching     the same, 32 requests under way, by one and by eight rows a run
    codec        an answer of a megabyte, in the server's default form and as one block

The server is `python -m serving.server` in a process of its own, the direct call in this one. Both sides take turns;
times are the tenth percentile, which other load on the machine disturbs least.

    python bench/served.py [--rounds N]
"""

from __future__ import annotations

import argparse
import math
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from serving.client import Client
    from serving.servable import Servable

ROOT = Path(__file__).parents[1]
BATCHES = """
max_batch_size { value: 8 }
num_batch_threads { value: 2 }
max_enqueued_batches { value: 64 }
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def serve_bare(folder: str, port: int) -> None:
    """Serves the model alone, bytes in and bytes out, until it is killed."""
    import grpc

    from serving import wire
    from serving.servable import Servable

    model = Servable(folder)

    def picture(data: bytes, _: grpc.ServicerContext) -> bytes:
        return model.predict("picture", {"image": wire.encode([data])})["y"].tobytes()

    server = grpc.server(ThreadPoolExecutor(4))
    handlers = {"Picture": grpc.unary_unary_rpc_method_handler(picture)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Bare", handlers),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


@contextmanager
def bare(folder: Path) -> Iterator[Callable[[bytes], bytes]]:
    """The call of `serve_bare` in a process of its own, which ends with the context."""
    import grpc

    port = free_port()
    running = subprocess.Popen([sys.executable, __file__, "--bare", str(folder), str(port)], stderr=subprocess.DEVNULL)
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            grpc.channel_ready_future(channel).result(120)
            yield channel.unary_unary("/Bare/Picture")
    finally:
        running.kill()
        running.wait()


@contextmanager
def served(folder: Path, *flags: str) -> Iterator[Client]:
    """A client of a server of the model "m" in `folder`, in a process of its own that ends with the context."""
    from serving.client import Client

    port = free_port()
    places = [
        "--model_name=m",
        f"--model_base_path={folder / 'm'}",
        f"--port={port}",
        "--host=127.0.0.1",
        "--grpc_max_threads=32",
    ]
    command = [sys.executable, "-m", "serving.server", *places, *flags]
    running = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        with Client(f"127.0.0.1:{port}") as client:
            client.wait(120)
            yield client
    finally:
        running.terminate()
        running.wait()


def write_model(folder: Path, layers: int) -> None:
    """A SavedModel with the signatures "serving_default", which adds one, and "picture", which takes JPEGs and time."""
    import tensorflow as tf

    module = tf.Module()
    module.kernel = tf.Variable(tf.random.uniform([3, 3, 32, 32]) / 300)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def plus_one(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": x + 1}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image")])
    def picture(image: tf.Tensor) -> dict[str, tf.Tensor]:
        spec = tf.TensorSpec((32, 256, 3), tf.uint8)
        pixels = tf.map_fn(lambda data: tf.io.decode_jpeg(data, 3), image, fn_output_signature=spec)
        x = tf.tile(tf.cast(pixels, tf.float32)[..., :1] / 255, [1, 1, 1, 32])
        for _ in range(layers):
            x = tf.nn.relu(tf.nn.conv2d(x, module.kernel, 1, "SAME"))
        return {"y": tf.reduce_mean(x, [1, 2])}

    tf.saved_model.save(module, str(folder), signatures={"serving_default": plus_one, "picture": picture})


def write_slow_model(folder: Path, jpeg: bytes, milliseconds: float) -> Servable:
    """What `write_model` writes, with as many layers as a picture takes at least `milliseconds`, loaded."""
    from serving import wire
    from serving.servable import Servable

    layers = 16
    while True:
        write_model(folder, layers)
        model = Servable(folder)
        asked = {"image": wire.encode([jpeg])}
        taken = in_turns({"picture": lambda model=model, asked=asked: model.predict("picture", asked)}, 50)["picture"]
        if taken >= milliseconds:
            return model
        layers = math.ceil(layers * 1.1 * milliseconds / taken)


def in_turns(sides: dict[str, Callable[[], object]], count: int) -> dict[str, float]:
    """Milliseconds of a call of each, the tenth percentile of `count`; the sides take turns call by call."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(count):
        for name, function in sides.items():
            started = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - started)
    return {name: float(np.percentile(taken, 10)) * 1e3 for name, taken in times.items()}


def throughput(call: Callable[[], object], under_way: int, seconds: float) -> tuple[float, float]:
    """Requests per second, and the 99th percentile of their milliseconds."""
    times: list[float] = []
    end = time.perf_counter() + seconds

    def work() -> None:
        while (started := time.perf_counter()) < end:
            call()
            times.append(time.perf_counter() - started)

    started = time.perf_counter()
    with ThreadPoolExecutor(under_way) as pool:
        for future in [pool.submit(work) for _ in range(under_way)]:
            future.result()
    return len(times) / (time.perf_counter() - started), float(np.percentile(times, 99)) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each measurement under load")
    parser.add_argument("--bare", nargs=2, metavar=("FOLDER", "PORT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

    sys.path.insert(0, str(ROOT))
    if options.bare:
        serve_bare(options.bare[0], int(options.bare[1]))
        return
    import cv2

    from serving import wire

    noise = np.random.default_rng(0).integers(0, 256, (32, 256, 3), "uint8")
    jpeg = cv2.imencode(".jpg", cv2.GaussianBlur(noise, (5, 5), 0))[1].tobytes()
    one, million = np.float32([1]), np.zeros(2**18, "float32")
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {options.rounds} x 200, 20 and 50 calls in turns")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = write_slow_model(folder / "m" / "1", jpeg, 20)
        with served(folder) as client, bare(folder / "m" / "1") as ten_lines:
            tiny = in_turns(
                {
                    "direct": lambda: model.predict("serving_default", {"x": wire.encode(one)}),
                    "served": lambda: client.predict("m", {"x": one}),
                },
                200 * options.rounds,
            )
            print(f"{'overhead of a request':<40}{tiny['served'] - tiny['direct']:>9.2f} ms")
            picture = in_turns(
                {
                    "direct": lambda: model.predict("picture", {"image": wire.encode([jpeg])}),
                    "served": lambda: client.predict("m", {"image": [jpeg]}, signature="picture"),
                    "bare": lambda: ten_lines(jpeg),
                },
                20 * options.rounds,
            )
            for side in ("served", "bare"):
                more = picture[side] / picture["direct"] - 1
                title = f"a JPEG, directly / {side}"
                print(f"{title:<40}{picture['direct']:>9.1f} / {picture[side]:.1f} ms: {more:+.1%}")
            block = wire.encode(million).SerializeToString()
            plain = wire.encode(million, content=False).SerializeToString()
            codec = in_turns(
                {
                    "block": lambda: wire.decode(wire.TensorProto.FromString(block)),
                    "default": lambda: wire.decode(wire.TensorProto.FromString(plain)),
                },
                50 * options.rounds,
            )
            ratio = codec["default"] / codec["block"]
            both = f"{codec['default']:>9.2f} / {codec['block']:.2f} ms"
            print(f"{'a megabyte decoded, default / block':<40}{both}: {ratio:.2f}x")
        figures = {}
        (folder / "batches").write_text(BATCHES)
        batching = ("--enable_batching", f"--batching_parameters_file={folder / 'batches'}")
        for name, flags in (("one row a run", ()), ("up to 8 rows", batching)):
            with served(folder, *flags) as client:
                figures[name] = throughput(
                    lambda: client.predict("m", {"image": [jpeg]}, signature="picture"), 32, options.seconds
                )
                rate, late = figures[name]
                print(f"{'32 under way, ' + name:<40}{rate:>9.1f} requests/s, p99 {late:.0f} ms")
        (plain_rate, plain_late), (rate, late) = figures.values()
        print(f"{'batched / not':<40}{rate / plain_rate:>9.2f}x requests/s, {late / plain_late:.2f}x p99")


if __name__ == "__main__":
    main()
