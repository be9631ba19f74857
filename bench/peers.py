"""Beside Tesseract and RapidOCR: how well and how quickly are the same pages read?

    python bench/peers.py DATA/sroie DATA/docbank_pages … [--limit 20]
                          [--readers ocrzoo lines ocrnet tesseract rapidocr]
                          [--spoilt turn5 blur …] [--rapidocr PYTHON]

Each reader is a process of its own, which has read a page before it is measured. They take turns page by page, so that
what else the machine does hits all of them. "F1" is of words as bags of letters and digits, "boxes" the harmonic mean
of precision and recall of boxes at an overlap of a half, "s" the median of seconds a page, "ratio" the median of
seconds over those of the first reader for the same page, "MB" the most memory. With --spoilt the pages are turned,
blurred and so on before all of them see them.

"ocrzoo" is the default pair, "lines" that with the recognizer of English and French alone, "ocrnet" the network that
does both. Tesseract is asked as it is quickest, on one thread, in French where the data set is. RapidOCR may live in an
environment of its own, whose interpreter --rapidocr names.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

READERS = ("ocrzoo", "lines", "ocrnet", "tesseract", "rapidocr")
USUAL = ("ocrzoo", "tesseract", "rapidocr")
SPOILT = (
    "turn2", "turn5", "turn90", "blur", "half", "dark", "noise", "perspective", "jpeg20", "inverted", "pale", "specks"
)  # fmt: skip
LANGUAGES = {"tapus_fr_typewritten": "fra"}
Word = tuple[str, list]  # text, polygon


# ---------------------------------------------------------------- workers: these import no more than their reader


def lines() -> Callable[[str, str], list[Word]]:
    return ocrzoo("db_mobilenet_v3_large", "crnn_mobilenet_v3_small.lines")


def ocrnet() -> Callable[[str, str], list[Word]]:
    return ocrzoo("ocrnet_mobilenet_v3_large")


def ocrzoo(*names: str) -> Callable[[str, str], list[Word]]:
    import zoo

    reader = zoo.reader(*names)
    return lambda path, _: [(word.text, word.polygon.tolist()) for word in reader.read(path)[0].words]


def tesseract() -> Callable[[str, str], list[Word]]:
    environment = os.environ | {"OMP_THREAD_LIMIT": "1"}

    def read(path: str, language: str) -> list[Word]:
        command = ["tesseract", path, "-", "-l", language, "tsv"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        words = []
        for row in csv.DictReader(done.stdout.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE):
            if row["level"] == "5" and row["text"].strip():
                left, top, width, height = (int(row[key]) for key in ("left", "top", "width", "height"))
                right, bottom = left + width, top + height
                words.append((row["text"], [[left, top], [right, top], [right, bottom], [left, bottom]]))
        return words

    return read


def rapidocr() -> Callable[[str, str], list[Word]]:
    from rapidocr import RapidOCR

    engine = RapidOCR()

    def read(path: str, _: str) -> list[Word]:
        found = engine(path, return_word_box=True)
        return [(text, [list(map(float, point)) for point in box]) for line in found.word_results or ()
                for text, _, box in line if text.strip()]  # fmt: skip

    return read


def work(name: str) -> None:
    """Answers each line of standard input, [path, language], with [words, seconds, megabytes]."""
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever a reader prints
    read: Callable[[str, str], list[Word]] = globals()[name]()
    for line in sys.stdin:
        start = time.perf_counter()
        words = read(*json.loads(line))
        seconds = time.perf_counter() - start
        who = resource.RUSAGE_CHILDREN if name == "tesseract" else resource.RUSAGE_SELF
        memory = resource.getrusage(who).ru_maxrss / 1024
        print(json.dumps([words, seconds, memory]), file=answers, flush=True)


class Worker:
    """A reader in a process of its own."""

    def __init__(self, name: str, python: str):
        self.command = [python, __file__, "--worker", name]
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def read(self, path: Path, language: str) -> tuple[list[Word], float, float]:
        assert self.process.stdin and self.process.stdout
        print(json.dumps([str(path), language]), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"{' '.join(self.command)} ended at {path}; run it to see why")
        words, seconds, memory = json.loads(answer)
        return words, seconds, memory


# ---------------------------------------------------------------- pages that are harder to read


def spoil(name: str, pixels: Any, path: Path) -> Path:
    """The picture (H, W, 3), spoilt, as a file."""
    import cv2
    import numpy as np

    height, width = pixels.shape[:2]
    if name.startswith("turn"):
        degrees = float(name[4:])
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
        extent = np.abs(matrix[:, :2]) @ (width, height)
        matrix[:, 2] += extent / 2 - (width / 2, height / 2)
        pixels = cv2.warpAffine(pixels, matrix, tuple(np.ceil(extent).astype(int)), borderValue=(255, 255, 255))
    elif name == "blur":
        pixels = cv2.GaussianBlur(pixels, (0, 0), max(height, width) / 1200)
    elif name == "half":
        pixels = cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    elif name == "dark":
        pixels = (pixels * 0.3).astype("uint8")
    elif name == "noise":
        noise = np.random.default_rng(0).normal(0, 25, pixels.shape)
        pixels = np.clip(pixels + noise, 0, 255).astype("uint8")
    elif name == "perspective":
        corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], "float32")
        moved = corners + np.array([[0.08, 0.04], [-0.02, 0], [0, 0], [0, -0.05]]) * (width, height)
        matrix = cv2.getPerspectiveTransform(corners, moved.astype("float32"))
        pixels = cv2.warpPerspective(pixels, matrix, (width, height), borderValue=(255, 255, 255))
    elif name == "inverted":
        pixels = 255 - pixels
    elif name == "pale":
        pixels = (180 + pixels * 0.2).astype("uint8")
    elif name == "specks":
        drawn = np.random.default_rng(0).random(pixels.shape[:2])
        pixels[drawn < 0.01], pixels[drawn > 0.99] = 0, 255
    elif name != "jpeg20":
        raise SystemExit(f"no page is spoilt by {name!r}; there are turnDEGREES and {', '.join(SPOILT[3:])}")
    path = path.with_suffix(".jpg" if name == "jpeg20" else ".png")
    cv2.imwrite(str(path), pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 20] if name == "jpeg20" else [])
    return path


# ---------------------------------------------------------------- scores


def scores(entries: list, words: list[list[Word]]) -> dict[str, float]:
    """What `recipes.evaluate` says of words read on labelled pages."""
    import numpy as np

    from recipes.evaluate import page_scores
    from zoo.charset import Reading
    from zoo.page import Page, assemble

    pages = []
    for entry, found in zip(entries, words, strict=True):
        boxes = np.array([polygon for _, polygon in found], "float32").reshape(-1, 4, 2)
        readings = [Reading(text, 1.0, (1.0,) * len(text)) for text, _ in found]
        pages.append(Page(str(entry.path), 1, 0, 0, assemble(boxes, readings, [1.0] * len(found))))
    return page_scores(entries, pages)


def without_places(entries: list) -> list:
    """The entries with their texts alone: on a spoilt page words stand elsewhere."""
    from dataclasses import replace

    from recipes.evaluate import unscored

    result = []
    for entry in entries:
        texts = [text for text, skipped in zip(entry.texts, unscored(entry), strict=True) if not skipped]
        text = " ".join(texts) or entry.page_text
        result.append(replace(entry, texts=(), illegible=(), polygons=entry.polygons[:0], page_text=text))
    return result


def compare(workers: dict[str, Worker], source: Path, limit: int, spoilt: list[str]) -> None:
    """Prints the rows of a data set."""
    import numpy as np

    from recipes.data import datasets

    entries, language = datasets.spread(datasets.read(source, "test"), limit), LANGUAGES.get(source.name, "eng")
    for worker in workers.values():
        worker.read(entries[0].path, language)
    for how in spoilt:
        told: dict[str, list] = {name: [] for name in workers}
        for entry in entries:
            with tempfile.TemporaryDirectory() as folder:
                path = spoil(how, entry.read(), Path(folder) / "page") if how else entry.path
                for name, worker in workers.items():
                    told[name].append(worker.read(path, language))
        first = np.array([seconds for _, seconds, _ in next(iter(told.values()))])
        for name, answers in told.items():
            words, each, memory = zip(*answers, strict=True)
            found, seconds = scores(without_places(entries) if how else entries, list(words)), np.array(each)
            cells = [
                f"{source.name} {how}".strip(), str(len(entries)), name, f"{found['f1']:.3f}",
                f"{found['hmean']:.3f}" if "hmean" in found else "",
                f"{np.median(seconds):.2f}", f"{np.median(seconds / first):.2f}", f"{max(memory):.0f}",
            ]  # fmt: skip
            print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--limit", type=int, default=20, help="pages of each data set; 0: all; default: 20")
    parser.add_argument("--readers", nargs="+", default=USUAL, choices=READERS)
    parser.add_argument("--spoilt", nargs="+", default=[""], metavar="HOW", help=", ".join(SPOILT))
    parser.add_argument("--rapidocr", default=sys.executable, metavar="PYTHON")
    parser.add_argument("--worker", choices=READERS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(args.worker)
        return
    workers = {name: Worker(name, args.rapidocr if name == "rapidocr" else sys.executable) for name in args.readers}
    print("| set | pages | reader | F1 | boxes | s | ratio | MB |")
    print("| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |")
    for source in args.folders:
        compare(workers, source, args.limit, args.spoilt)


if __name__ == "__main__":
    main()
