"""A synthetic page, its true parts, and what segmenters tell of it, side by side.

    python tools/segments.py MODEL… --output docs/segments.png [--kind book] [--seed 40]

Runs of any seed but that of the page have not learnt from it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from recipes.data import documents
from recipes.segmentation.targets import NAMES
from zoo.files import replacing
from zoo.formats import parts
from zoo.segmenting import segmenter

HEIGHT, GAP = 640, 12  # pixels of each picture, and between two


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("models", nargs="+", metavar="MODEL", help="name, or the folder of a run")
    parser.add_argument("--output", required=True, metavar="FILE", type=Path, help="a PNG file")
    parser.add_argument("--kind", choices=documents.KINDS, default="book", help="of page; default: book")
    parser.add_argument("--seed", type=int, default=40, help="of the page; default: 40")
    args = parser.parse_args()
    page = documents.layout(np.random.default_rng(args.seed), args.kind)
    found = [(page.classes, NAMES)]
    for name in args.models:
        find = segmenter(name)
        found.append((find(page.image), find.labels))
    columns = []
    for classes, labels in found:
        picture = parts(page.image, classes, labels)
        width = round(picture.shape[1] * HEIGHT / picture.shape[0])
        picture = cv2.resize(picture, (width, HEIGHT), interpolation=cv2.INTER_AREA)
        columns += [picture, np.full((HEIGHT, GAP, 3), 255, "uint8")]
    with replacing(args.output) as temporary:
        Image.fromarray(np.concatenate(columns[:-1], 1)).save(temporary)


if __name__ == "__main__":
    main()
