"""Each network beside docTR's on torch: seconds to build it, and milliseconds for one picture of the card's size.

    python bench/networks.py [NAME …] [--all] [--threads 1 2] [--doctr PYTHON] [--files FOLDER]

Random weights on both sides. Ours runs by Keras on TensorFlow and by onnxruntime; the least of some runs after the
first ones counts. Each runtime has a process of its own, TensorFlow, whose threads can be chosen but once, one for each
count; "ratio" is onnxruntime's time over torch's. docTR may live in an environment of its own, whose interpreter
--doctr names.
ONNX files are made once for all counts of threads, and found again in --files. Run it on a quiet machine.
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
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

MAIN = (
    "db_mobilenet_v3_large", "db_resnet50", "linknet_resnet18", "fast_tiny", "crnn_mobilenet_v3_small", "crnn_vgg16_bn",
    "vitstr_small", "parseq", "viptr_tiny", "mobilenet_v3_small_page_orientation",
)  # fmt: skip
SECONDS = 2.0  # of measuring
PARITY = Path(__file__).resolve().parent.parent / "docs/parity.json"


def size(name: str) -> tuple[int, int]:
    """Height and width of the pictures that a card's network is given; of a recognizer 128 pixels wide."""
    from zoo import registry

    reading = registry.card(name).reading
    height, width = reading["size"] if "size" in reading else (reading["height"], 128)
    return int(height), int(width)


def least(run: Callable[[], object]) -> float:
    """Milliseconds of the quickest of the runs that fit into `SECONDS`, of two at least, after one or two others."""
    start = time.perf_counter()
    run()
    if time.perf_counter() - start < SECONDS:
        run()
    times: list[float] = []
    start = time.perf_counter()
    while len(times) < 2 or time.perf_counter() - start < SECONDS:
        begin = time.perf_counter()
        run()
        times.append(1000 * (time.perf_counter() - begin))
    return min(times)


def keras(name: str, threads: list[int], height: int, width: int, _: Path) -> list[dict[str, float]]:
    from recipes import train

    train.threads(*threads)
    import numpy as np

    from zoo import decoding, registry, runtime

    start = time.perf_counter()
    network = registry.build(name)
    built = time.perf_counter() - start
    run = runtime.in_process(network, decoding.needed(registry.card(name).reading))
    picture = np.zeros((1, height, width, 3), "uint8")
    return [{"build": built, "ms": least(lambda: run(picture))}]


def onnxruntime(name: str, threads: list[int], height: int, width: int, files: Path) -> list[dict[str, float]]:
    import numpy as np

    from zoo import runtime

    picture, found = np.zeros((1, height, width, 3), "uint8"), []
    for count in threads:
        run = runtime.onnx_run(files / f"{name}.onnx", count)
        found.append({"ms": least(lambda run=run: run(picture))})
    return found


def exported(name: str, _threads: list[int], _height: int, _width: int, files: Path) -> list[dict[str, float]]:
    """The network's ONNX file, if it is not there."""
    from zoo import decoding, registry, runtime

    if not (path := files / f"{name}.onnx").exists():
        runtime.export(registry.build(name), path, decoding.needed(registry.card(name).reading))
    return []


def doctr(name: str, threads: list[int], height: int, width: int, _: Path) -> list[dict[str, float]]:
    import torch
    from doctr import models

    alone = hasattr(models.classification, name) or hasattr(models.layout, name)
    start = time.perf_counter()
    network = getattr(models, name)(pretrained=False, **({} if alone else {"pretrained_backbone": False})).eval()
    built = time.perf_counter() - start
    network.exportable = True  # logits alone, as ours
    picture, found = torch.zeros(1, 3, height, width), []
    for count in threads:
        torch.set_num_threads(count)
        with torch.inference_mode():
            found.append({"build": built, "ms": least(lambda: network(picture))})
    return found


def measured(worker: str, python: str, name: str, threads: Sequence[int], files: Path) -> list[dict[str, float]]:
    """What a process of its own says for each count of threads; nothing where it fails, which is told."""
    counts = ",".join(map(str, threads))
    command = [python, __file__, "--worker", worker, str(files), name, counts, *map(str, size(name))]
    environment = os.environ | {"OMP_NUM_THREADS": str(max(threads)), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        print(f"{' '.join(command)}: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return [{} for _ in threads]
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    if sys.argv[1:2] == ["--worker"]:
        kind, files, name, counts, *sides = sys.argv[2:]
        found = globals()[kind](name, list(map(int, counts.split(","))), *map(int, sides), Path(files))
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps([values | {"mb": memory} for values in found]))
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", default=MAIN)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--doctr", default=sys.executable, metavar="PYTHON")
    parser.add_argument("--all", action="store_true", help="every name that docTR has, as docs/parity.json lists them")
    parser.add_argument("--files", type=Path, metavar="FOLDER", help="keep the ONNX files here")
    args = parser.parse_args()
    names = json.loads(PARITY.read_text()) if args.all else args.names
    with tempfile.TemporaryDirectory() as folder:
        report(names, args.threads, args.doctr, args.files or Path(folder))


def report(names: Iterable[str], counts: Sequence[int], python: str, files: Path) -> None:
    """A line for each name and count of threads; `python` is docTR's interpreter."""
    files.mkdir(parents=True, exist_ok=True)
    print("| name | threads | build s | docTR's | Keras ms | MB | onnxruntime ms | docTR ms | MB | ratio |")
    print("| --- | ---: " + "| ---: " * 8 + "|")
    for name in names:
        measured("exported", sys.executable, name, counts, files)
        own = [measured("keras", sys.executable, name, [count], files)[0] for count in counts]
        others = [
            measured(kind, by, name, counts, files) for kind, by in (("onnxruntime", sys.executable), ("doctr", python))
        ]
        for threads, ours, converted, theirs in zip(counts, own, *others, strict=True):
            ratio = converted["ms"] / theirs["ms"] if converted and theirs else float("nan")
            values = [
                ours.get("build"), theirs.get("build"), ours.get("ms"), ours.get("mb"), converted.get("ms"),
                theirs.get("ms"), theirs.get("mb"), ratio,
            ]  # fmt: skip
            cells = ["" if value is None else f"{value:.4g}" for value in values]
            print(f"| `{name}` | {threads} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
