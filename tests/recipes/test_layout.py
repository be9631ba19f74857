"""What finders of regions learn from, their loss and score by hand-worked values, and that one learns."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from recipes import evaluate
from recipes.data import datasets
from recipes.layout import targets
from zoo.regions import Finder

# ---------------------------------------------------------------- labels and scores


def labelled(folder, rows, level="region", size=(100, 100)) -> None:
    """A page with regions (left, top, right, bottom, label)."""
    parts = [{"polygon": [[a, b], [c, b], [c, d], [a, d]], "text": "x", "label": name} for a, b, c, d, name in rows]
    Image.new("RGB", size).save(folder / "a.png")
    row = {"image": "a.png", "split": "test", "level": level, "regions" if level == "region" else "words": parts}
    (folder / "labels.jsonl").write_text(json.dumps(row) + "\n")


def test_regions_of_labels(tmp_path):
    labelled(tmp_path, [(10, 20, 60, 70, "table"), (0, 0, 30, 9, "section")])
    (entry,) = datasets.read(tmp_path)
    (table, first), (title, second) = datasets.regions(entry, (100, 100))
    assert (table, title) == ("table", "title")
    np.testing.assert_allclose(first, [[10, 20], [60, 20], [60, 70], [10, 70]])
    np.testing.assert_allclose(second, [[0, 0], [30, 0], [30, 9], [0, 9]])


def test_regions_of_words_are_those_that_hang_together(tmp_path):
    """Two words with a gap of their height are one region; one far below is another."""
    rows = [(10, 10, 40, 20, "paragraph"), (50, 10, 90, 20, "paragraph"), (10, 80, 40, 90, "paragraph")]
    labelled(tmp_path, rows, "word")
    (entry,) = datasets.read(tmp_path)
    found = datasets.regions(entry, (100, 100))
    assert [label for label, _ in found] == ["text", "text"]
    np.testing.assert_allclose([polygon[[0, 2]] for _, polygon in found], [[[10, 10], [91, 21]], [[10, 80], [41, 91]]])


def test_a_finder_is_scored_by_labels(tmp_path, monkeypatch):
    """The table is found exactly, the title is half found, and a paragraph that is none is found, surer than both."""
    labelled(tmp_path, [(10, 20, 60, 70, "table"), (0, 0, 40, 10, "title")])

    def run(batch):
        centres = [[0.35, 0.45, 0.5, 0.5], [0.1, 0.05, 0.2, 0.1], [0.5, 0.9, 0.2, 0.1]]
        logits = np.full((3, 11), -20.0)
        logits[0, 8], logits[1, 10], logits[2, 9] = 0, 1, 2
        return {"logits": logits[None], "boxes": np.array([[*box, 0, 1] for box in centres])[None]}

    asked = {}

    def made(name, runtime, **options):
        asked.update(options)
        return Finder(run, labels=LABELS, size=(100, 100), **options)

    monkeypatch.setattr(evaluate, "finder", made)
    (result,) = evaluate.evaluate(["lw_detr_s"], tmp_path)
    assert asked == {"threshold": evaluate.LEAST}
    scores = {key: value for key, value in result.scores.items() if key != "seconds"}
    # At .50 all that is found of the title is right, above it nothing.
    assert scores == pytest.approx(
        {"map": 0.55, "ap50": 1.0, "ap75": 0.5, "ap_table": 1.0, "ap_title": 0.1, "pages": 1}
    )
    (tmp_path / "labels.jsonl").write_text(json.dumps({"image": "a.png", "split": "test", "words": []}) + "\n")
    with pytest.raises(ValueError, match=r"a\.png: nothing says what its parts are; regions"):
        next(evaluate.evaluate(["lw_detr_s"], tmp_path))


LABELS = (
    "Caption", "Footnote", "Formula", "List-item", "Page-footer", "Page-header", "Picture", "Section-header", "Table",
    "Text", "Title",
)  # fmt: skip


def test_labels_of_doctr_are_known():
    assert [targets.LABELS[place] for place in targets.known(["Section-header", "figure", "Picture", "List-item"])] == [
        "title", "figure", "figure", "list",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="not stamp, seal"):
        targets.known(["text", "stamp", "seal"])
