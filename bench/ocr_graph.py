"""What the reading path costs as one graph, and how many words it reads as `zoo.reader` does, page by page.

Both run in this process on the same cores: the export through the C++ loader, as a server runs it, from a page's bytes
to words; the reader with its networks by Keras, from the same bytes. Words are compared as bags: how often each text
stands on the page.

    python bench/ocr_graph.py PAGE... [--model saved_models/ocr/1] [--limit N]

On 12 pages each of sroie/test and icdar15_scenes/test (2026-11-21, two busy cores): 98.8 % of 1842 words the same,
median 1.05 of the reader's processor seconds.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
DEFAULT = ROOT / "samples" / "receipt.jpg"


def pages(paths: list[Path], limit: int) -> list[Path]:
    """The pictures, and of folders those in them, `limit` of each folder evenly spread."""
    found = []
    for path in paths:
        inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
        chosen = inside[:: max(1, len(inside) // limit)][:limit] if path.is_dir() else [path]
        found += chosen
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("pages", nargs="*", type=Path, default=[DEFAULT], help="pictures, or folders of them")
    parser.add_argument("--model", type=Path, help="folder of an export's version; default: one is made, in minutes")
    parser.add_argument("--detection", default="db_mobilenet_v3_large")
    parser.add_argument("--recognition", default="crnn_mobilenet_v3_small")
    parser.add_argument("--limit", type=int, default=20, help="pages of a folder")
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

    import zoo
    from serving import wire
    from serving.export import export_ocr
    from serving.servable import Servable

    with tempfile.TemporaryDirectory() as folder:
        served = Servable(options.model or export_ocr(options.detection, options.recognition, folder))
    reader = zoo.reader(options.detection, options.recognition, runtime="keras")

    def by_graph(data: bytes) -> list[str]:
        answer = served.predict("read", {"image_bytes": wire.encode([data])})
        return [text.decode() for text in answer["texts"][0, : int(answer["counts"][0])]]

    def by_reader(data: bytes) -> list[str]:
        return [word.text for word in reader.read(data)[0].words]

    same = graph = read = 0
    seconds: dict[str, list[float]] = {"graph": [], "reader": []}
    chosen = pages(options.pages, options.limit)
    for function in (by_graph, by_reader):  # neither is to pay for its start
        function(chosen[0].read_bytes())
    for path in chosen:
        data, words = path.read_bytes(), {}
        for name, function in (("graph", by_graph), ("reader", by_reader)):
            started = time.process_time()
            words[name] = function(data)
            seconds[name].append(time.process_time() - started)
        same += sum((Counter(words["graph"]) & Counter(words["reader"])).values())
        graph, read = graph + len(words["graph"]), read + len(words["reader"])
    ratios = np.array(seconds["graph"]) / np.array(seconds["reader"])
    print(f"{len(chosen)} pages, {read} words by the reader, {graph} by the graph; processor seconds of all threads")
    print(f"{'same words':<28}{2 * same / max(1, graph + read):>8.4f}")
    for name, values in seconds.items():
        print(f"{name + ', seconds per page':<28}{np.mean(values):>8.3f}")
    print(f"{'graph / reader, median':<28}{np.median(ratios):>8.2f}")


if __name__ == "__main__":
    main()
