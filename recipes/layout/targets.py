"""What a finder of regions learns from: turned boxes of classes, in shares of a picture's sides."""

from __future__ import annotations

from collections.abc import Sequence

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
