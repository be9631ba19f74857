"""Does the pipeline keep up with the training step? Samples a second of both, and how many times faster the first is.

    python bench/pipeline.py [RECIPE …] [--seconds 20] [--data DIR] [--workers 2] [--set KEY=VALUE …]

Both run on all cores of the machine, one after the other: batches as the trainer takes them, from `pipeline.dataset`,
without a step; then steps on one batch that is at hand. What goes on beside them on the machine counts against both, so
run it on a quiet one. The goal is 3.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from recipes import origin, recipe
from recipes.data import pipeline

MAIN = (
    "recognition.crnn_mobilenet_v3_small", "recognition.vitstr_small", "detection.db_mobilenet_v3_large",
    "detection.east_resnet50", "classification.mobilenet_v3_small", "segmentation.unet",
)  # fmt: skip
THREADS = 2  # that make batches, as in the trainer
FIRST = 1 << 16  # a step of which nothing has been made


class Fixed:
    """A task whose every batch is its first."""

    def __init__(self, task: Any):
        self.task, self.first = task, task.batch(0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)

    def batch(self, step: int):
        return self.first


def rate(batches: Iterator, size: int, seconds: float) -> float:
    """Samples a second of an iterator that has been started."""
    start, count, spent = time.perf_counter(), 0, 0.0
    while spent < seconds:
        next(batches)
        count, spent = count + 1, time.perf_counter() - start
    return count * size / spent


def row(name: str, args: argparse.Namespace) -> tuple[float, float]:
    """Samples a second of the pipeline and of the step."""
    from recipes import train  # with a framework, which processes that make batches do without

    how = recipe.find(name).override(args.set)
    how = how if args.data else replace(how, real=())
    parts = train.assemble(how, args.data, workers=args.workers)
    made = pipeline.dataset(parts.task.batch, FIRST, FIRST << 1, threads=THREADS)
    fed = rate(iter(made), how.batch, args.seconds)
    fixed = Fixed(parts.task)
    if parts.workers:
        parts.workers.close()
    steps = parts.step.losses(fixed, 0, FIRST)
    next(steps)  # traced
    return fed, rate(steps, how.batch, args.seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help="default: one of each kind")
    parser.add_argument("--seconds", type=float, default=20, help="for each measurement; default: 20")
    parser.add_argument("--data", metavar="DIR", type=Path, help="folder of real data sets; default: synthetic alone")
    parser.add_argument("--workers", type=int, default=0, help="processes that make batches; default: none but this")
    parser.add_argument("--set", metavar="KEY=VALUE", nargs="+", action="extend", default=[], help="a field")
    args = parser.parse_args()
    print(f"{'recipe':40}  {'pipeline/s':>10}  {'step/s':>8}  {'times':>6}")
    for name in args.recipes or MAIN:
        fed, learnt = row(name, args)
        print(f"{name:40}  {fed:10.1f}  {learnt:8.2f}  {fed / learnt:6.1f}", flush=True)
    settings = f", {' '.join(args.set)}" if args.set else ""
    makers = f"{args.workers} processes" if args.workers else f"{THREADS} threads"
    print(f"\nsamples a second, {args.seconds:g} s each, {makers} make batches, {origin.device()}{settings}")


if __name__ == "__main__":
    main()
