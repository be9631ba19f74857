"""Each network beside docTR's on torch: seconds to build it, and milliseconds for one picture of the card's size.

    python bench/networks.py [NAME …] [--threads 1 2] [--doctr PYTHON]

Random weights on both sides. Ours runs by Keras on TensorFlow and by onnxruntime; the least of some runs after the
first two counts. Each measurement is a process of its own, since threads can be chosen but once; "ratio" is
onnxruntime's time over torch's. docTR may live in an environment of its own, whose interpreter --doctr names. Run it on
a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

MAIN = (
    "db_mobilenet_v3_large", "db_resnet50", "linknet_resnet18", "fast_tiny", "crnn_mobilenet_v3_small", "crnn_vgg16_bn",
    "vitstr_small", "parseq", "viptr_tiny", "mobilenet_v3_small_page_orientation",
)  # fmt: skip
SECONDS = 3.0  # of measuring


def size(name: str) -> tuple[int, int]:
    """Height and width of the pictures that a card's network is given; of a recognizer 128 pixels wide."""
    from zoo import registry

    reading = registry.card(name).reading
    height, width = reading["size"] if "size" in reading else (reading["height"], 128)
    return int(height), int(width)


def least(run: Callable[[], object]) -> float:
    """Milliseconds of the quickest of the runs that fit into `SECONDS`, of three at least."""
    run(), run()
    times: list[float] = []
    start = time.perf_counter()
    while len(times) < 3 or time.perf_counter() - start < SECONDS:
        begin = time.perf_counter()
        run()
        times.append(1000 * (time.perf_counter() - begin))
    return min(times)


def keras(name: str, threads: int, height: int, width: int) -> dict[str, float]:
    from recipes import train

    train.threads(threads)
    import numpy as np

    from zoo import decoding, registry, runtime

    start = time.perf_counter()
    network = registry.build(name)
    built = time.perf_counter() - start
    run = runtime.in_process(network, decoding.needed(registry.card(name).reading))
    picture = np.zeros((1, height, width, 3), "uint8")
    return {"build": built, "ms": least(lambda: run(picture))}


def onnxruntime(name: str, threads: int, height: int, width: int) -> dict[str, float]:
    import numpy as np

    from zoo import decoding, registry, runtime

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        runtime.export(registry.build(name), path, decoding.needed(registry.card(name).reading))
        run = runtime.onnx_run(path, threads)
        picture = np.zeros((1, height, width, 3), "uint8")
        return {"ms": least(lambda: run(picture))}


def doctr(name: str, threads: int, height: int, width: int) -> dict[str, float]:
    import torch
    from doctr import models

    torch.set_num_threads(threads)
    alone = hasattr(models.classification, name) or hasattr(models.layout, name)
    start = time.perf_counter()
    network = getattr(models, name)(pretrained=False, **({} if alone else {"pretrained_backbone": False})).eval()
    built = time.perf_counter() - start
    network.exportable = True  # logits alone, as ours
    picture = torch.zeros(1, 3, height, width)
    with torch.inference_mode():
        return {"build": built, "ms": least(lambda: network(picture))}


def measured(worker: str, python: str, name: str, threads: int) -> dict[str, float]:
    """What a process of its own says; nothing where it fails, which is told."""
    command = [python, __file__, "--worker", worker, name, str(threads), *map(str, size(name))]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        print(f"{' '.join(command)}: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return {}
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    if sys.argv[1:2] == ["--worker"]:
        kind, name, *numbers = sys.argv[2:]
        found = globals()[kind](name, *map(int, numbers))
        print(json.dumps(found | {"mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", default=MAIN)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--doctr", default=sys.executable, metavar="PYTHON")
    args = parser.parse_args()
    print("| name | threads | build s | docTR's | Keras ms | MB | onnxruntime ms | docTR ms | MB | ratio |")
    print("| --- | ---: " + "| ---: " * 8 + "|")
    for name in args.names:
        for threads in args.threads:
            ours, exported = (measured(kind, sys.executable, name, threads) for kind in ("keras", "onnxruntime"))
            theirs = measured("doctr", args.doctr, name, threads)
            ratio = exported["ms"] / theirs["ms"] if exported and theirs else float("nan")
            values = [
                ours.get("build"), theirs.get("build"), ours.get("ms"), ours.get("mb"), exported.get("ms"),
                theirs.get("ms"), theirs.get("mb"), ratio,
            ]  # fmt: skip
            cells = ["" if value is None else f"{value:.4g}" for value in values]
            print(f"| `{name}` | {threads} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
