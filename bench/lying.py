"""The share of pages that are read the right way up, however they lie, and what looking at them again costs.

Each page is given as it is and turned by each quarter; it is right where it was read as it came out of the data set.

    python bench/lying.py DATA/sroie DATA/docbank_pages --split test [--limit 10]
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path, help="data sets of pages")
    parser.add_argument("--split", default="test")
    parser.add_argument("--limit", type=int, default=0, help="as many pages of each, spread over it; 0: all")
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

    import zoo
    from recipes.data import datasets
    from zoo import righting

    reader = zoo.reader()
    print(f"{'pages':<24}{'count':>6}" + "".join(f"{90 * turns:>7}°" for turns in range(4)) + "   seconds for it")
    for folder in options.folders:
        entries = datasets.spread(datasets.read(folder, options.split), options.limit)
        right, seconds = np.zeros(4, int), np.zeros(4)
        for entry in entries:
            pixels = entry.read()
            for turns in range(4):
                lying = np.ascontiguousarray(np.rot90(pixels, turns))
                boxes, _, readings = reader._words(lying)
                started = time.perf_counter()
                found = righting.misread(lying, boxes, readings, reader.detector, reader.recognizer)
                seconds[turns] += time.perf_counter() - started
                right[turns] += found == turns
        shares = "".join(f"{share:>8.3f}" for share in right / max(1, len(entries)))
        spent = " ".join(f"{value:.2f}" for value in seconds / max(1, len(entries)))
        print(f"{folder.resolve().name + '/' + options.split:<24}{len(entries):>6}{shares}   {spent}", flush=True)


if __name__ == "__main__":
    main()
