"""What reading by form gains: amounts and dates on labelled pages, read freely and with `only=["amount", "date"]`.

    python bench/forms.py DATA/sroie [--recognizer NAME] [--split test] [--least 0.01]

Crops are those of the labels, so that recognition alone is measured. The held-out tenth of `train` is read unless
another split is named. "forms" are words whose label is an amount or a date, "others" all else: a form must not be
forced upon them.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import zoo
from recipes import metrics
from recipes.data import datasets
from zoo import constraint

FORMS = ("amount", "date")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--recognizer", default="crnn_mobilenet_v3_small.european")
    parser.add_argument("--split", default="")
    parser.add_argument("--least", type=float, default=0.01)
    args = parser.parse_args()
    entries = datasets.read(args.folder, args.split or "train")
    entries = entries if args.split else [entry for entry in entries if datasets.held_out(entry)]
    crops, texts = zip(*[crop for entry in entries for crop in datasets.crops(entry)], strict=True)
    forms = [constraint.fits(text, constraint.constraint(*FORMS)) for text in texts]
    print(f"{len(entries)} pages, {len(texts)} words, {sum(forms)} of them amounts and dates; {args.recognizer}")
    ways = {"free": {}, "beam": {"beam": 16}, "only": {"only": FORMS, "least": args.least}}
    for name, options in ways.items():
        recognizer = zoo.reader(None, args.recognizer, **options).recognizer
        start = time.perf_counter()
        read = [reading.text for reading in recognizer(crops)]
        seconds = time.perf_counter() - start
        right = [metrics.caseless(a) == metrics.caseless(b) for a, b in zip(read, texts, strict=True)]
        of = [sum(r for r, form in zip(right, forms, strict=True) if form == kind) for kind in (True, False)]
        print(
            f"{name:5} forms {of[0] / max(1, sum(forms)):.3f}  others {of[1] / max(1, len(forms) - sum(forms)):.3f}  "
            f"{1000 * seconds / len(texts):.1f} ms a word"
        )


if __name__ == "__main__":
    main()
