"""Size, speed and score of models in eight bits and with fewer channels, beside what they were.

    taskset -c 1 python bench/compress.py DATA… [--models NAME…] [--limit N]

Scores are those of held-out pictures of each data set's `train` split, by the reading path: words read right, or the
harmonic mean of precision and recall of boxes, small print not looked at once more. Milliseconds are those of the
processor, on one thread, that the file alone takes for one picture of the size that the card reads: the least of
several runs, whatever else the machine does.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from recipes import compress
from zoo import decoding, litert_file, registry, runtime

SHARE = 0.2  # of channels cut out, without learning again


def opened(path: Path) -> runtime.Run:
    """The `run` of a file, on one thread."""
    return litert_file.run(path) if path.suffix == ".tflite" else runtime.onnx_run(path, threads=1)


def seconds(run: runtime.Run, card: registry.Card, runs: int) -> float:
    """The least time of the processor for one picture."""
    height, width = card.reading.get("size") or (card.reading["height"], 128)
    picture = np.random.default_rng(0).integers(0, 256, (1, height, width, 3)).astype("uint8")
    run(picture)
    times = []
    for _ in range(runs):
        start = time.process_time()
        run(picture)
        times.append(time.process_time() - start)
    return min(times)


def rows(model: str, data: Path, limit: int, folder: Path):
    """Yields a row of the table for each form of a model."""
    exam, card = compress.Exam(model, data, limit, closer=False), registry.card(model)
    plain, needed = folder / "plain.onnx", decoding.needed(card.reading)
    network = registry.load(model)
    runtime.export(network, plain, needed)
    batches = exam.batches(runtime.onnx_run(plain))
    files = {"as it is": plain}
    for method in compress.METHODS:
        files[f"8 bits, {method}"] = folder / f"{method}.onnx"
        compress.quantized(plain, files[f"8 bits, {method}"], batches if method == "static" else [], method)
    for method in litert_file.METHODS:
        path, how = folder / f"{method}.tflite", "as it is" if method == "float" else f"8 bits, {method}"
        if method == "static" and card.task == "recognition":
            continue
        litert_file.write(runtime.inference(network, needed), path, compress.shapes(card), method, batches)
        files[f"LiteRT, {how}"] = path
    cut = compress.prune(model, SHARE, folder / "pruned")
    files[f"{SHARE:.0%} fewer channels"] = folder / "pruned.onnx"
    runtime.export(registry.load(cut), files[f"{SHARE:.0%} fewer channels"], needed)
    for name, path in files.items():
        run = opened(path)
        took, score = seconds(run, card, 20 if card.task == "recognition" else 3), exam.score(run)
        yield name, path.stat().st_size, took, score, len(exam.samples)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", nargs="+", type=Path, help="folders of data sets")
    parser.add_argument("--models", nargs="+", default=["crnn_mobilenet_v3_small", "db_mobilenet_v3_large"])
    parser.add_argument("--limit", type=int, default=200, help="pictures that score, at most")
    args = parser.parse_args()
    print("| model | data | form | MB | ms | score | of |\n| --- | --- | --- | ---: | ---: | ---: | ---: |")
    for model in args.models:
        for data in args.data:
            with tempfile.TemporaryDirectory() as folder:
                for name, size, took, score, count in rows(model, data.resolve(), args.limit, Path(folder)):
                    cells = f"`{model}` | {data.name} | {name} | {size / 1e6:.2f} | {1000 * took:.1f}"
                    print(f"| {cells} | {score:.3f} | {count} |", flush=True)


if __name__ == "__main__":
    main()
