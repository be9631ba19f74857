"""What each part of a spotter is worth: runs from the same weights, of the same steps, with one part left out of each.

    python bench/ablations.py --data DATA --runs runs/ablations [--start NAME] [--steps 300] [--only NAME ...] [--set …]

A run is `zoo train spotting.MODEL` with an option off; it goes on where it was stopped, and runs of other names may go
on beside it. All begin with the same weights, but for what has no place in them: of the kernel by which fused
features and the context are joined, a network without context keeps the rows of the features. The table has the mean
losses of the last hundred steps, and what validation at the end found.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

PARTS = {
    "all": {},
    "without context": {"context": False},
    "without attention": {"attention": False},
    "without characters": {"characters": False},
    "without shared features in words": {"shared": False},
}
COLUMNS = {
    "cls": "loss_cls", "iou": "loss_iou", "ctc": "loss_ctc",
    "boxes, synthetic": "synthetic_hmean", "boxes, real": "real_hmean",
    "words, synthetic": "synthetic_words", "words, real": "real_words",
}  # fmt: skip


def begin(model: str, options: Mapping[str, bool], start: str, path: Path) -> None:
    """Writes what the network with these options can take of the weights of a card, a run, or a file."""
    from zoo import registry, weights

    network = registry.build(model, **options)
    given = weights.read(start if Path(start).is_file() else weights.obtain(registry.card(start)))
    joined = network.get_layer("guided_conv").kernel
    given[joined.path] = given[joined.path][:, :, : joined.shape[2]]
    weights.assign(network, given, strict=False)
    weights.save(network, path, dtype="float32")


def table(runs: Path) -> str:
    """The results of the runs that have ended, as Markdown."""
    lines = ["| | " + " | ".join(COLUMNS) + " |", "| --- |" + " ---: |" * len(COLUMNS)]
    for name in PARTS:
        log = runs / name.replace(" ", "_") / "log.csv"
        rows = list(csv.DictReader(log.open(newline=""))) if log.is_file() else []
        if rows and rows[-1].get("score"):
            lines.append(f"| {name} | " + " | ".join(f"{float(rows[-1][key]):.3f}" for key in COLUMNS.values()) + " |")
    return "\n".join(lines)


def main() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

    from recipes import recipe, train

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="ocrnet_mobilenet_v3_large")
    parser.add_argument("--start", default="", help="weights to begin with: by default the model's")
    parser.add_argument("--data", type=Path, required=True, help="folder of the recipe's data sets")
    parser.add_argument("--runs", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--only", nargs="*", default=list(PARTS), choices=list(PARTS), metavar="NAME")
    parser.add_argument("--set", nargs="*", default=[], metavar="FIELD=VALUE", help="of the recipe")
    args = parser.parse_args()
    usual = recipe.find(f"spotting.{args.model}")
    usual = replace(
        usual, steps=args.steps, validate_every=args.steps, validation=40, warmup=30, seed=7, checkpoint_every=100
    )
    usual = usual.override(args.set)
    args.runs.mkdir(parents=True, exist_ok=True)
    for name in args.only:
        run = args.runs / name.replace(" ", "_")
        start = args.runs / f"{run.name}.safetensors"
        if not start.is_file():
            begin(args.model, PARTS[name], args.start or args.model, start)
        train.train(replace(usual, options=dict(PARTS[name]), start=str(start)), run, args.data)
    print(table(args.runs))


if __name__ == "__main__":
    main()
