"""Writes golden/layout_loss.npz: what docTR's LW-DETR makes of logits and boxes in training.

Run by hand, where docTR is installed; the tests need neither docTR nor torch:

    python tests/make_layout_golden.py

A case is one page: "logits" (Q, K), "boxes" (Q, 6), "true" (M, 6), "kind" (M,), and its "loss".
"""

from pathlib import Path

import numpy as np
import torch
from doctr.models.layout.lw_detr.pytorch import LWDETR

QUERIES, CLASSES = 12, 4


def boxes(random: np.random.RandomState, count: int) -> np.ndarray:
    turn = random.uniform(-3, 3, count)
    where = np.c_[random.uniform(0.2, 0.8, (count, 2)), random.uniform(0.02, 0.4, (count, 2))]
    return np.c_[where, np.sin(turn), np.cos(turn)].astype("float32")


def main() -> None:
    random, result = np.random.RandomState(8), {}
    for case, count in enumerate((0, 1, 5)):
        logits = random.normal(-1, 2, (QUERIES, CLASSES)).astype("float32")
        found, true = boxes(random, QUERIES), boxes(random, count)
        found[:count] = true + random.normal(0, 0.02, true.shape)  # some are near to what they should be
        kind = random.randint(0, CLASSES, count)
        given = [{"boxes": true, "labels": kind}]
        loss = LWDETR.compute_loss(None, torch.from_numpy(logits)[None], torch.from_numpy(found)[None], given)
        print(case, count, float(loss))
        parts = {"logits": logits, "boxes": found, "true": true, "kind": kind, "loss": np.array(float(loss))}
        result |= {f"{key}{case}": value for key, value in parts.items()}
    np.savez_compressed(Path(__file__).parent / "golden" / "layout_loss.npz", **result)


if __name__ == "__main__":
    main()
