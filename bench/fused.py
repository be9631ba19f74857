"""How much of a training step do fused layers save, and products in bfloat16? Seconds of a step by each.

    python bench/fused.py [RECIPE …] [--steps 8] [--set KEY=VALUE …]

On one core, the least of some steps on one synthetic batch, forwards and backwards: with Keras' own layers, with the
fused ones, and these with precision=onednn_bfloat16 where the processor can, in turn.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from unittest import mock

from recipes import fused, recipe, train

MAIN = ("recognition.crnn_mobilenet_v3_small", "detection.db_mobilenet_v3_large", "spotting.ocrnet_mobilenet_v3_large")


def step(how: recipe.Recipe):
    """A call that takes one step on a batch, without what changes the weights."""
    parts = train.assemble(how)
    pixels, targets = parts.task.batch(0)
    told = {"image": pixels, **{name: targets[name] for name in getattr(parts.task, "told", ())}}
    given = told if len(told) > 1 else pixels
    return lambda: parts.step._gradients(given, targets)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("recipes", nargs="*", default=MAIN)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    train.threads(1)
    for name in args.recipes:
        how = replace(recipe.find(name).override(args.set), real=())
        with mock.patch.object(fused, "fuse"):
            plain = step(how)
        calls = {"by Keras": plain, "fused": step(how)}
        if fused.multiplies_bfloat16():
            calls["in bfloat16"] = fused.rounded()(step(how))
        for call in calls.values():
            call()  # traced
        least = dict.fromkeys(calls, float("inf"))
        for _ in range(args.steps):
            for kind, call in calls.items():
                start = time.perf_counter()
                call()
                least[kind] = min(least[kind], time.perf_counter() - start)
        print(f"{name}:", ", ".join(f"{value:.3f} s {kind}" for kind, value in least.items()), flush=True)


if __name__ == "__main__":
    main()
