"""How fast samples are made: words and pages a second, on one core.

    python bench/data.py [--seconds 5]

Counted is the time of the processor (user and system) in this one thread, so that other work on the machine does not
count; OpenCV is kept to one thread. The first sample, which loads fonts and word lists, is made before.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable

import cv2
import numpy as np

from recipes.data import documents, folders, fonts, synthetic
from zoo.charset import Charset

FRENCH = Charset("french")


def rate(make: Callable[[int], np.ndarray], seconds: float) -> tuple[int, float, float]:
    """How many samples were made, samples a second, and millions of pixels a second."""
    make(0)
    start, count, pixels = time.thread_time(), 0, 0
    while (spent := time.thread_time() - start) < seconds:
        count += 1
        image = make(count)
        pixels += image.shape[0] * image.shape[1]
    return count, count / spent, pixels / spent / 1e6


def makers() -> dict[str, Callable[[int], np.ndarray]]:
    """From what is made to the function from a number to that sample's picture."""
    made: dict[str, Callable[[int], np.ndarray]] = {
        "words": lambda index: synthetic.word_at(FRENCH, 0, index).image,
        "pages, any": lambda index: folders.page_at(0, index, folders.KINDS[index % len(folders.KINDS)]).image,
    }
    for kind in (*documents.KINDS, "scene"):
        made[f"pages, {kind}"] = lambda index, kind=kind: folders.page_at(0, index, kind).image
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=5, help="of the processor for each row; default: 5")
    seconds = parser.parse_args().seconds
    cv2.setNumThreads(1)
    print(f"{'samples':15}  {'made':>6}  {'per second':>10}  {'Mpixel/s':>8}")
    for name, make in makers().items():
        count, samples, pixels = rate(make, seconds)
        print(f"{name:15}  {count:6}  {samples:10.1f}  {pixels:8.2f}")
    families = len(fonts.families())
    print(f"\none thread, {seconds:g} s of processor time a row, {families} font families, seed 0,")
    print(f"Python {platform.python_version()}, NumPy {np.__version__}, OpenCV {cv2.__version__}, {platform.machine()}")


if __name__ == "__main__":
    main()
