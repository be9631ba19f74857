"""Writes golden/tables.npz: what docTR's TableCenterNet reads from maps of a table, and what it loses in training.

Run by hand, where docTR is installed; the tests need neither docTR nor torch:

    python tests/make_tables_golden.py

"cells" (N, 4, 2) in pixels of the maps and "places" (N, 4), first and last column, first and last row, describe a table
of 4 × 4 with two cells that span. Maps are drawn from docTR's targets, not quite exactly: "read/…" are maps and
"found/…" what is read from them, "loss/…" are maps and the loss.
"""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from doctr.models.table_structure.tablecenternet.base import TableCenterNetPostProcessor, _build_table_target
from doctr.models.table_structure.tablecenternet.pytorch import TableCenterNet

SIZE = (24, 32)
X, Y = (1.3, 9.2, 15.7, 22.1, 29.4), (1.6, 6.4, 12.8, 17.1, 21.9)  # of the lines of the table
OURS = {"hm": "logits", "reg": "offset", "ct2cn": "corners", "cn2ct": "centres", "lc": "logical", "sp": "span"}


def table() -> tuple[np.ndarray, np.ndarray]:
    """The first row spans columns 1 and 2, the second column rows 2 and 3; the table leans a little."""
    places = [(0, 0, 0, 0), (1, 2, 0, 0), (3, 3, 0, 0), (0, 0, 1, 1), (1, 1, 1, 1), (2, 2, 1, 1), (3, 3, 1, 1)]
    places += [(1, 1, 2, 3)] + [(c, c, r, r) for r in (2, 3) for c in (0, 2, 3)]
    cells = [[(X[a], Y[c]), (X[b + 1], Y[c]), (X[b + 1], Y[d + 1]), (X[a], Y[d + 1])] for a, b, c, d in places]
    lean = np.array([[1, 0.02], [-0.02, 1]])
    return (np.array(cells) @ lean + [1.5, -0.5]).astype("float32"), np.array(places)


def maps(target: dict[str, np.ndarray], random: np.random.RandomState, noise: float) -> dict[str, np.ndarray]:
    """Maps (C, H, W) by docTR's names that say what the targets do, but for noise."""
    height, width = SIZE
    result = {"hm": np.log(target["hm"].clip(0.02, 0.98) / (1 - target["hm"].clip(0.02, 0.98)))}
    for key, channels in (("reg", 2), ("ct2cn", 8), ("cn2ct", 8), ("sp", 2)):
        at, value = {
            "reg": (target["reg_ind"][target["reg_mask"] > 0], target["reg"][target["reg_mask"] > 0]),
            "ct2cn": (target["ct_ind"][target["ct_mask"] > 0], target["ct2cn"][target["ct_mask"] > 0]),
            "cn2ct": (target["cn_ind"][target["cn_mask"] > 0], target["cn2ct"][target["cn_mask"] > 0]),
            "sp": (target["ct_ind"][target["ct_mask"] > 0], target["lc_span"][target["ct_mask"] > 0]),
        }[key]
        drawn = np.zeros((channels, height * width), "float32")
        drawn[:, at] = value.T
        result[key] = drawn.reshape(channels, height, width)
    result["lc"] = target["lc"]
    result = {key: value + random.uniform(-noise, noise, value.shape) for key, value in result.items()}
    return {key: value.astype("float32") for key, value in result.items()}


def main() -> None:
    random = np.random.RandomState(4)
    cells, places = table()
    target = _build_table_target(cells, places, SIZE)
    result = {"cells": cells, "places": places}
    bound = SimpleNamespace(center_k=3000, corner_k=5000, _vec_pair_loss=TableCenterNet._vec_pair_loss)
    bound._logic_coord_loss = TableCenterNet._logic_coord_loss
    bound._polygons_decode = lambda *given: TableCenterNet._polygons_decode(bound, *given)

    drawn = maps(target, random, 0.2)
    drawn["cn2ct"][:, :, 21:] += 3  # of corners at the right the centres are off: some cells find few of theirs
    heads = {key: torch.from_numpy(value)[None] for key, value in drawn.items()}
    decoded = TableCenterNet._decode(bound, heads)
    (found,) = TableCenterNetPostProcessor(assume_straight_pages=False)(decoded)
    result |= {f"read/{OURS[key]}": np.moveaxis(value, 0, -1) for key, value in drawn.items()}
    result |= {f"found/{key}": value for key, value in found.items()}
    print(found["scores"], found["logical"].tolist(), sep="\n")

    drawn = maps(target, random, 0.8)
    heads = {key: torch.from_numpy(value)[None] for key, value in drawn.items()}
    dense = {key: torch.from_numpy(value)[None] for key, value in target.items()}
    loss = float(TableCenterNet._loss_from_dense(bound, heads, dense))
    result |= {f"loss/{OURS[key]}": np.moveaxis(value, 0, -1) for key, value in drawn.items()}
    result |= {"loss/loss": np.array(loss)}
    print(loss)
    np.savez_compressed(Path(__file__).parent / "golden" / "tables.npz", **result)


if __name__ == "__main__":
    main()
