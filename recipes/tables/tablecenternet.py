"""Cells of tables and their places by TableCenterNet. Xiao and Yang 2025, https://arxiv.org/abs/2504.17522.

    zoo train tables.tablecenternet --run runs/tablecenternet

It learns from synthetic tables alone: what is known of real ones is where their texts are, not their cells. The loss is
docTR's, in which the paper's parts have its weights (section 3.2), but of each page by itself.

Not trained yet: no weights were released, and neither score nor hours are known. Meant for a GPU.
"""

from __future__ import annotations

from functools import partial

from keras import ops

from recipes.recipe import Recipe
from recipes.tables.task import Task
from zoo.sampling import rows

FEW = 1e-4  # added to what is divided by
HALF_TURN = 1.570796
TO_CENTRES, NOWHERE = 0.5, 0.2  # weights of vectors from corners to centres, and of those that lead nowhere


def loss(target: dict, outputs: dict) -> dict:
    """The (B,) parts "peaks", "offset", "corners" and "places".

    Args:
        target: see `targets.maps`, with a first axis B.
        outputs: of the network.
    """
    target = {key: ops.cast(value, "float32") if key not in INDICES else value for key, value in target.items()}
    return {
        "peaks": peaks(target["peaks"], outputs["logits"]),
        "offset": offsets(target, outputs["offset"]),
        "corners": pairs(target, outputs["corners"], outputs["centres"]),
        "places": places(target, outputs["logical"], outputs["span"]),
    }


INDICES = ("cell_at", "touched", "corner_of", "corner_at")


def at(values, index):
    """(B, N, C) values of a map (B, h, w, C) at its pixels (B, N)."""
    height, width = ops.shape(values)[1], ops.shape(values)[2]
    return rows(ops.reshape(values, (-1, height * width, values.shape[-1])), index)


def peaks(true, logits):
    """Focal loss of peaks, over their number (section 3.2.1, after Law and Deng 2018): (B,)."""
    found = ops.clip(ops.sigmoid(logits), FEW, 1 - FEW)
    top = ops.cast(true >= 1, "float32")
    right = top * (1 - found) ** 2 * ops.log(found)
    wrong = (1 - top) * (1 - true) ** 4 * found**2 * ops.log(1 - found)
    return -ops.sum(right + wrong, (1, 2, 3)) / ops.maximum(ops.sum(top, (1, 2, 3)), 1.0)


def share(difference, weight):
    """(B,) sum of the absolute differences (B, N, …), weighed, over the sum of weights."""
    axes = tuple(range(1, len(difference.shape)))
    return ops.sum(ops.abs(difference) * weight, axes) / (ops.sum(weight + 0 * difference, axes) + FEW)


def offsets(target: dict, found):
    """Distance of what pixels are short of, of centres and corners: (B,)."""
    index = ops.concatenate([target["cell_at"], target["corner_at"]], 1)
    there = ops.concatenate([target["cell"], target["corner"]], 1)
    return share(at(found, index) - target["rest"], there[..., None])


def pairs(target: dict, corners, centres):
    """Distances of vectors from centres to corners and back, which weigh less where both are right: (B,).

    Vectors of corners that belong to no cell should be 0.
    """
    cells, count = target["cell"][..., None], ops.shape(target["to_centres"])[1]
    there = at(corners, target["cell_at"])  # (B, N, 8)
    every = at(centres, target["corner_at"])  # (B, M, 8)
    index = ops.reshape(target["corner_of"], (-1, 4 * ops.shape(target["corner_of"])[1]))

    def chosen(vectors):
        """(B, N, 8) of vectors (B, M, 8) those from a cell's corners to its centre."""
        return ops.reshape(rows(ops.reshape(vectors, (-1, 4 * count, 2)), index), (-1, ops.shape(cells)[1], 8))

    back, home = chosen(every), chosen(target["to_centres"])
    off = ops.abs(there - target["to_corners"]) + ops.abs(back - home)
    weight = ops.sin(HALF_TURN * ops.minimum(off / (ops.abs(target["to_corners"]) + FEW), 1.0)) * cells
    number = ops.sum(cells, (1, 2)) * 8 + FEW
    forth = ops.sum(ops.abs(there - target["to_corners"]) * weight, (1, 2)) / number
    again = ops.sum(ops.abs(back - home) * weight, (1, 2)) / number
    nowhere = ops.cast(target["to_centres"] == 0, "float32") * target["corner"][..., None]
    return forth + TO_CENTRES * again + NOWHERE * share(every, nowhere)


def places(target: dict, logical, span):
    """Distances of columns and rows, of their differences between a cell's corners, and of spans: (B,)."""
    inside = target["inside"][..., None]
    sharp = (1 - ops.abs(target["logical"] - ops.round(target["logical"]))) ** 2  # most where lines are
    known = ops.sum(ops.abs(logical - target["logical"]) * inside * sharp, (1, 2, 3))
    result = known / (2 * ops.sum(inside, (1, 2, 3)) + FEW)
    count = ops.shape(target["touched"])[1]
    seen = ops.reshape(at(logical, ops.reshape(target["touched"], (-1, 4 * count))), (-1, count, 4, 2))
    found = at(span, target["cell_at"])  # (B, N, 2)
    number, weights = 2 * ops.sum(target["cell"], 1) + FEW, []
    for axis, (far, near) in enumerate((((1, 2), (0, 3)), ((3, 2), (0, 1)))):
        true, own = target["spans"][..., axis, None], found[..., axis, None]
        apart = ops.stack([seen[:, :, a, axis] - seen[:, :, b, axis] for a, b in zip(far, near, strict=True)], -1)
        off = 5 * (ops.abs(own - true) + ops.abs(apart - true))
        weight = ops.sin(HALF_TURN * ops.minimum(off, 1.0)) * target["cell"][..., None]  # (B, N, 2)
        result = result + ops.sum(ops.abs(apart - true) * weight, (1, 2)) / number
        weights.append(ops.mean(weight, -1))
    return result + ops.sum(ops.abs(found - target["spans"]) * ops.stack(weights, -1), (1, 2)) / number


make = partial(Task, loss=loss)
RECIPE = Recipe(
    model="tablecenternet",
    task=__name__,
    size=(1024, 1024),
    batch=8,
    steps=40_000,
    rate=5e-4,
    warmup=1000,
    checkpoint_every=500,
    validate_every=2000,
    validation=100,
)
