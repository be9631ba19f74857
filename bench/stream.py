"""Pages a second through a server by `serving.bulk.stream`, beside the same pages read in one process.

    graph     the export, run page after page by the C++ loader in this process: what the server does, without a server
    reader    zoo.reader() with its networks by Keras
    stream    the export behind `python -m serving.server` in a process of its own, all pages by one `stream`

Rounds take turns; the best of each counts. All share the cores that this command may use; it says nothing on a machine
with other work, of which the server, a process more, gets its part, too.

    python bench/stream.py PAGE... [--model saved_models/ocr] [--rounds 3] [--window 4]
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).parents[1]
DEFAULT = [ROOT / "samples" / "receipt.jpg"] * 8


def served(model: Path, stack: ExitStack) -> str:
    """The address of a server of the model's versions, which ends with the stack."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    flags = ["--model_name=ocr", f"--model_base_path={model.absolute()}", f"--port={port}", "--host=127.0.0.1"]
    running = subprocess.Popen([sys.executable, "-m", "serving.server", *flags], cwd=ROOT, stderr=subprocess.DEVNULL)
    stack.callback(running.wait)
    stack.callback(running.terminate)
    return f"127.0.0.1:{port}"


def seconds(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "pages", nargs="*", type=Path, default=DEFAULT, help="pictures; default: the sample, eight times"
    )
    parser.add_argument("--model", type=Path, help="folder of the export's versions; default: one is made, in minutes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--window", type=int, default=4, help="pages under way")
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

    import zoo
    from serving import wire
    from serving.bulk import stream
    from serving.client import Client
    from serving.export import export_ocr
    from serving.models import version_numbers
    from serving.servable import Servable

    with ExitStack() as stack:
        model = options.model
        if model is None:
            model = export_ocr(folder=stack.enter_context(tempfile.TemporaryDirectory())).parent
        newest = max(version_numbers(model).items())[1]
        here, reader = Servable(newest), zoo.reader(runtime="keras")
        client = stack.enter_context(Client(served(model, stack), timeout=600))
        client.wait(900)

        def by_graph() -> None:
            for page in options.pages:
                here.predict("read", {"image_bytes": wire.encode([page.read_bytes()])})

        def by_stream() -> None:
            for answer in stream(client, options.pages, window=options.window):
                if answer.error:
                    raise answer.error

        sides = {"graph": by_graph, "reader": lambda: list(reader.stream(options.pages)), "stream": by_stream}
        best = dict.fromkeys(sides, float("inf"))
        for round_ in range(options.rounds + 1):
            for name, function in sides.items():
                took = seconds(function)
                if round_:  # nobody pays for a start
                    best[name] = min(best[name], took)
    print(f"{len(options.pages)} pages, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}")
    for name, took in best.items():
        rate = len(options.pages) / took
        print(f"{name:<10}{rate:>8.2f} pages/s{best['graph'] / took:>8.2f}x graph{best['reader'] / took:>8.2f}x reader")


if __name__ == "__main__":
    main()
