"""What a trained spotter loses when one of its parts tells the same of every pixel, or of every channel.

    python bench/silenced.py DATA/sroie DATA/docbank_pages [--model NAME] [--split test] [--limit 8]

A part's output is replaced by its own mean over the page, or over the words that are read at once: what remains was
learnt with it, so that the loss tells how much the network leans on it, not what a network without it would have
learnt. The held-out tenth of `train`, or all of it where nothing is held out, is read unless another split is named.
For each data set: F1 of words, letters and digits, and the hmean of boxes where these are labelled.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

PARTS = {  # layers, and the axes over which the mean is taken
    "as it is": ((), ()),
    "context": (("context_enlarged",), (1, 2)),
    "scales": (("fusion_weights",), (1, 2)),
    "channels": (("attention_channel_gate",), (3,)),
    "places": (("attention_spatial_conv",), (1, 2)),
    "shared features, for reading": (("shared_4_norm",), (0, 1, 2)),
    "context, scales, places": (("context_enlarged", "fusion_weights", "attention_spatial_conv"), (1, 2)),
}


def silenced(network, names: Sequence[str], axes: Sequence[int]):
    """The network, or a part of one, with the outputs of layers replaced by their means over axes."""
    import keras
    from keras import ops

    def call(layer, *args, **kwargs):
        output = layer(*args, **kwargs)
        return ops.mean(output, axes, keepdims=True) + 0 * output if layer.name in names else output

    return keras.models.clone_model(network, call_function=call, clone_function=lambda layer: layer)


def main() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

    import zoo
    from recipes import evaluate
    from recipes.data import datasets
    from zoo import reading, registry, runtime

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path, help="data sets of pages")
    parser.add_argument("--model", default="ocrnet_mobilenet_v3_large")
    parser.add_argument("--split", default="")
    parser.add_argument("--limit", type=int, default=8, help="pages of each data set; 0: all")
    args = parser.parse_args()
    card, network = registry.card(args.model), zoo.load(args.model)
    if missing := {name for names, _ in PARTS.values() for name in names} - {layer.name for layer in network.layers}:
        raise SystemExit(f"{args.model} has no layer {', '.join(sorted(missing))}")
    divided = runtime.parts(card, network)
    pages = {}
    for folder in args.folders:
        entries = datasets.read(folder, args.split or "train")
        kept = [] if args.split else [entry for entry in entries if datasets.held_out(entry)]
        pages[folder.resolve().name] = datasets.spread(kept or entries, args.limit)
    print("| | " + " | ".join(f"{name}, {len(entries)} pages" for name, entries in pages.items()) + " |")
    print("| --- |" + " ---: |" * len(pages))
    for part, (names, axes) in PARTS.items():
        calls = [runtime.call(silenced(network, names, axes)) for network in (divided.locate, divided.read)]
        spotter = reading.spotter_of(card, calls)
        reader = reading.Reader(spotter, None, upright=True, min_confidence=reading.usual_confidence(args.model))
        cells = []
        for entries in pages.values():
            scores = evaluate.page_scores(entries, [reader.read(entry.source)[0] for entry in entries])
            cells.append(f"{scores['f1']:.3f}" + (f", {scores['hmean']:.3f}" if "hmean" in scores else ""))
        print(f"| {part} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
