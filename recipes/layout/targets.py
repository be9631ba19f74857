"""What a finder of regions learns from: turned boxes of classes, in shares of a picture's sides."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recipes.data.documents import LABELS

# Which of the labels of synthetic and labelled pages the classes of docTR's networks are. Theirs have an item of a list
# where ours have the whole list, which cannot be mended.
KNOWN = {name: name for name in LABELS} | {
    "Caption": "text", "Footnote": "text", "Formula": "text", "List-item": "list", "Page-footer": "text",
    "Page-header": "text", "Picture": "figure", "Section-header": "title", "Table": "table", "Text": "text",
    "Title": "title",
}  # fmt: skip


def known(labels: Sequence[str]) -> list[int]:
    """The place in `LABELS` of each label of a network.

    Raises:
        ValueError: a label is not known.
    """
    if unknown := [name for name in labels if name not in KNOWN]:
        raise ValueError(f"regions are called {', '.join(LABELS)}, or as docTR calls them, not {', '.join(unknown)}")
    return [LABELS.index(KNOWN[name]) for name in labels]


# How docTR calls what synthetic and labelled pages have.
THEIRS = {"text": "Text", "title": "Title", "list": "List-item", "table": "Table", "figure": "Picture"}


def places(labels: Sequence[str]) -> dict[str, int]:
    """Of each of `LABELS` the place in the labels of a network, by its own name or by docTR's; some may have none."""
    known(labels)
    names = {name: name if name in labels else THEIRS[name] for name in LABELS}
    return {label: labels.index(name) for label, name in names.items() if name in labels}


def turned(polygons: np.ndarray) -> np.ndarray:
    """(N, 6) float32 boxes of quadrilaterals (N, 4, 2): centre, width, height, sine and cosine of the turn.

    The width goes along the longer sides: of an upright box that is higher than wide the turn is 90 degrees.
    """
    sides = np.roll(polygons, -1, 1) - polygons  # top, right, bottom, left
    along = np.stack([sides[:, 0] - sides[:, 2], sides[:, 1] - sides[:, 3]], 1) / 2  # (N, 2, 2)
    length = np.linalg.norm(along, axis=2)
    long = length.argmax(1)
    every = np.arange(len(polygons))
    x, y = along[every, long].T / np.maximum(length[every, long], 1e-9)
    return np.column_stack([polygons.mean(1), length[every, long], length[every, 1 - long], y, x]).astype("float32")


def boxes(polygons: np.ndarray, kinds: Sequence[int], size: tuple[int, int], most: int) -> dict[str, np.ndarray]:
    """The targets of a picture: "boxes" (most, 6) float32 in shares of its sides, and "kind" (most,) int32, or -1.

    Of more regions, and of those without an area, the smallest do not count.

    Args:
        polygons: (N, 4, 2) in pixels.
        kinds: of each the place in the labels of the network.
        size: height and width of the picture.
    """
    found = turned(polygons / np.array(size[::-1], "float32"))
    order = np.argsort(-found[:, 2] * found[:, 3], kind="stable")[:most]
    order = order[found[order, 3] > 1e-5]
    result = {"boxes": np.zeros((most, 6), "float32"), "kind": np.full(most, -1, "int32")}
    result["boxes"][: len(order)], result["kind"][: len(order)] = found[order], np.array(kinds, "int32")[order]
    return result
