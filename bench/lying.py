"""The share of pages that are read the right way up, however they lie, and what looking at them again costs.

Each page is given as it is and turned by each quarter; it is right where it was read as it came out of the data set.
With --orientation the network that is shown the whole page is asked beforehand, as `zoo read --orientation` does, and
what it tells alone has a line of its own.

    python bench/lying.py DATA/sroie DATA/docbank_pages --split test [--limit 10] [--orientation [NAME]]
        [--detection ocrnet_mobilenet_v3_large]
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np


def main() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

    import zoo
    from recipes.data import datasets
    from zoo.reading import DETECTOR, ORIENTATION

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path, help="data sets of pages")
    parser.add_argument("--split", default="test")
    parser.add_argument("--limit", type=int, default=0, help="as many pages of each, spread over it; 0: all")
    parser.add_argument("--detection", default=DETECTOR, help="a detector, or a spotter, by name or run")
    parser.add_argument("--orientation", nargs="?", const=ORIENTATION, help=f"a card or a run; alone: {ORIENTATION}")
    options = parser.parse_args()
    reader = zoo.reader(options.detection, orientation=options.orientation)
    alone = f"{options.orientation or ''} alone"
    print(f"{'pages':<48}{'count':>6}" + "".join(f"{90 * turns:>7}°" for turns in range(4)) + "   seconds for it")
    for folder in options.folders:
        entries = datasets.spread(datasets.read(folder, options.split), options.limit)
        right, seconds = np.zeros((2, 4), int), np.zeros((2, 4))
        for entry in entries:
            pixels = entry.read()
            for turns in range(4):
                lying = np.ascontiguousarray(np.rot90(pixels, turns))
                started = time.perf_counter()
                told = reader.turns(lying) if reader.turns else 0
                seconds[:, turns] += time.perf_counter() - started
                upright = np.ascontiguousarray(np.rot90(lying, -told))
                boxes, _, readings = reader._words(upright)
                started = time.perf_counter()
                more = reader._misread(upright, boxes, readings)
                seconds[1, turns] += time.perf_counter() - started
                right[:, turns] += told == turns, (told + more) % 4 == turns
        name, count = f"{folder.resolve().name}/{options.split}", max(1, len(entries))
        for who, shares, spent in zip((alone, "as it is read"), right / count, seconds / count, strict=True):
            if who != alone or options.orientation:
                figures = "".join(f"{share:>8.3f}" for share in shares) + "   " + " ".join(f"{s:.3f}" for s in spent)
                print(f"{f'{name}, {who}':<48}{len(entries):>6}{figures}", flush=True)


if __name__ == "__main__":
    main()
