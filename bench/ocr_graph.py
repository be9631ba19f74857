"""What the reading path costs as one graph, and how many words it reads as `zoo.reader` does, page by page.

Both run in this process on the same cores: the export through the C++ loader, as a server runs it, from a page's bytes
to words; the reader with its networks by Keras, from the same bytes. Words are compared as bags: how often each text
stands on the page; "same" is the share of the reader's words that the graph has, too. --min-confidence 0 counts unsure
words, too, which readers leave out by default. Seconds are the processor's, of all threads; "ratio" is the median of
graph / reader.

    python bench/ocr_graph.py PAGE... [--model saved_models/ocr/1] [--split test] [--limit N]

A PAGE is a picture, a folder of pictures, or with --split a data set of `recipes.data.datasets`.

With --split test --limit 0, beside other work (2026-11-28):

                             pages   words   graph    same   graph s  reader s   ratio
icdar15_scenes                 130     602     602  0.9900      0.38      0.55    0.76
sroie                          100   11086   11087  0.9997      0.63      0.60    1.05
all                            230   11688   11689  0.9992      0.49      0.57    0.99
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from recipes.data import datasets

ROOT = Path(__file__).parents[1]
DEFAULT = ROOT / "samples" / "receipt.jpg"


def pages(path: Path, split: str | None, limit: int) -> list[Path]:
    """The picture, or of a folder those in it or in its split, `limit` of them evenly spread."""
    if not path.is_dir():
        return [path]
    if split:
        inside = [entry.path for entry in datasets.read(path, split)]
    else:
        inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    return inside[:: max(1, len(inside) // limit)][:limit] if limit else inside


class Tally:
    """What was read on some pages, and how long it took."""

    def __init__(self) -> None:
        self.same = self.graph = self.reader = 0
        self.seconds: dict[str, list[float]] = {"graph": [], "reader": []}

    def add(self, words: dict[str, list[str]], seconds: dict[str, float]) -> None:
        self.same += sum((Counter(words["graph"]) & Counter(words["reader"])).values())
        self.graph, self.reader = self.graph + len(words["graph"]), self.reader + len(words["reader"])
        for name, value in seconds.items():
            self.seconds[name].append(value)

    def row(self, name: str) -> str:
        graph, reader = (np.array(self.seconds[key]) for key in ("graph", "reader"))
        same = self.same / max(1, self.reader)
        return (
            f"{name:<28}{len(graph):>6}{self.reader:>8}{self.graph:>8}{same:>8.4f}"
            f"{graph.mean():>10.2f}{reader.mean():>10.2f}{np.median(graph / reader):>8.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("pages", nargs="*", type=Path, default=[DEFAULT], help="pictures, or folders of them")
    parser.add_argument("--model", type=Path, help="folder of an export's version; default: one is made, in minutes")
    parser.add_argument("--detection", default="db_mobilenet_v3_large")
    parser.add_argument("--recognition", default="crnn_mobilenet_v3_small.european")
    parser.add_argument("--split", help="folders are data sets, of which only this split is read")
    parser.add_argument("--limit", type=int, default=20, help="pages of a folder; 0: all; default: 20")
    parser.add_argument("--min-confidence", type=float, help="words below it are left out; default: the recognizer's")
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

    import zoo
    from serving import wire
    from serving.export import export_ocr
    from serving.servable import Servable

    chosen = {path: pages(path, options.split, options.limit) for path in options.pages}
    with tempfile.TemporaryDirectory() as folder:
        served = Servable(options.model or export_ocr(options.detection, options.recognition, folder))
    least = options.min_confidence
    reader = zoo.reader(options.detection, options.recognition, runtime="keras", min_confidence=least)

    def by_graph(data: bytes) -> list[str]:
        answer = served.predict("read", {"image_bytes": wire.encode([data])})
        found = zip(answer["texts"][0], answer["scores"][0], range(int(answer["counts"][0])), strict=False)
        return [text.decode() for text, score, _ in found if score >= reader.min_confidence]

    def by_reader(data: bytes) -> list[str]:
        return [word.text for word in reader.read(data)[0].words]

    functions = {"graph": by_graph, "reader": by_reader}
    for function in functions.values():  # neither is to pay for its start
        function(next(iter(chosen.values()))[0].read_bytes())
    print(f"{'':<28}{'pages':>6}{'words':>8}{'graph':>8}{'same':>8}{'graph s':>10}{'reader s':>10}{'ratio':>8}")
    total = Tally()
    for source, paths in chosen.items():
        tally = Tally()
        for path in paths:
            data, words, seconds = path.read_bytes(), {}, {}
            for name, function in functions.items():
                started = time.process_time()
                words[name] = function(data)
                seconds[name] = time.process_time() - started
            tally.add(words, seconds)
            total.add(words, seconds)
        print(tally.row(source.name), flush=True)
    if len(chosen) > 1:
        print(total.row("all"))


if __name__ == "__main__":
    main()
