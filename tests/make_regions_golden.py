"""Writes golden/regions.npz: what docTR's LW-DETR reads from logits and boxes.

Run by hand, where docTR is installed; the tests need neither docTR nor torch:

    python tests/make_regions_golden.py
"""

from pathlib import Path

import numpy as np
from doctr.models.layout.lw_detr.base import LWDETRPostProcessor

QUERIES, CLASSES = 60, 4


def main() -> None:
    random = np.random.RandomState(3)
    logits = random.normal(-1.5, 2, (QUERIES, CLASSES)).astype("float32")
    turn = random.choice([0, np.pi / 2, 0.05, -0.7, 2.5], QUERIES)
    # Boxes in few places, so that many overlap; some reach beyond the page.
    centre = random.randint(1, 6, (QUERIES, 2)) / 6 + random.normal(0, 0.02, (QUERIES, 2))
    size = random.uniform(0.05, 0.4, (QUERIES, 2))
    boxes = np.concatenate([centre, size, np.sin(turn)[:, None], np.cos(turn)[:, None]], 1).astype("float32")
    read = LWDETRPostProcessor(CLASSES, 0.4, 0.3, topk=90, assume_straight_pages=False)
    ((labels, polygons, scores),) = read(logits[None], boxes[None])
    found = {"labels": np.array(labels), "polygons": polygons, "scores": np.array(scores, "float32")}
    np.savez_compressed(Path(__file__).parent / "golden" / "regions.npz", logits=logits, boxes=boxes, **found)
    print(len(labels), "regions of", int((1 / (1 + np.exp(-logits)) > 0.4).sum()))


if __name__ == "__main__":
    main()
