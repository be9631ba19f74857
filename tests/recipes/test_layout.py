"""What finders of regions learn from, their loss and score by hand-worked values, and that one learns."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import zoo
from recipes import evaluate, recipe, step, train
from recipes.data import datasets, documents
from recipes.layout import lw_detr_s, targets, task
from zoo.decoding import turned
from zoo.geometry import iou
from zoo.regions import Finder, fitted

RNG = np.random.default_rng(31)

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


def test_a_page_may_be_known_to_have_no_regions(tmp_path):
    """Of two pages one has nothing, so that a table found on it is none; of a page without the key nothing is known."""
    Image.new("RGB", (100, 100)).save(tmp_path / "a.png")
    table = {"polygon": [[10, 20], [60, 20], [60, 70], [10, 70]], "label": "table"}
    rows = [{"image": "a.png", "regions": parts} for parts in ([], [table])] + [{"image": "a.png", "words": []}]
    (tmp_path / "labels.jsonl").write_text("\n".join(map(json.dumps, rows)))
    entries = datasets.read(tmp_path)
    assert [[*map(len, half.values())] for half in datasets.with_parts(({"a": entries}, {"a": []}))] == [[2], []]
    assert not datasets.classes(entries[0], (100, 100)).any() and datasets.classes(entries[2], (100, 100)) is None

    def run(batch):
        logits = np.full((1, 11), -20.0)
        logits[0, 8] = 2
        return {"logits": logits[None], "boxes": np.array([[[0.35, 0.45, 0.5, 0.5, 0, 1]]])}

    find = Finder(run, labels=LABELS, size=(100, 100), threshold=evaluate.LEAST)
    given = [(entry, entry.read()) for entry in entries[:2]]
    both, one = evaluate.layout_scores(find, given), evaluate.layout_scores(find, given[1:])
    assert (both["pages"], both["ap50"], one["ap50"]) == (2, pytest.approx(0.5), 1)


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


# ---------------------------------------------------------------- targets


def test_a_box_is_turned_along_its_longer_sides():
    """One that is wide, one that is high, one of sides 5 and 10 whose top rises with a slope of 3 to 4."""
    wide, high = [[0, 0], [4, 0], [4, 2], [0, 2]], [[0, 0], [2, 0], [2, 4], [0, 4]]
    slanted = np.array([[0, 0], [8, -6], [11, -2], [3, 4]])
    expected = [[2, 1, 4, 2, 0, 1], [1, 2, 4, 2, 1, 0], [5.5, -1, 10, 5, -0.6, 0.8]]
    np.testing.assert_allclose(targets.turned(np.array([wide, high, slanted], "float32")), expected, atol=1e-6)


def test_what_is_decoded_from_targets_are_the_outlines():
    page = documents.document(np.random.default_rng(3), "invoice")
    outlines = np.array([outline for _, outline in page.parts], "float32")
    size = (1200, 1200)
    drawn = targets.boxes(outlines, list(range(len(outlines))), size, 64)
    back = turned.corners(drawn["boxes"]) * 1200
    for index, kind in enumerate(drawn["kind"]):
        if kind >= 0:
            assert iou(back[index], outlines[kind]) > 0.9  # a page in perspective has no exact rectangles
    assert sorted(drawn["kind"])[-len(outlines) :] == list(range(len(outlines)))
    few = targets.boxes(outlines, list(range(len(outlines))), size, 2)
    areas = drawn["boxes"][:, 2] * drawn["boxes"][:, 3]
    assert few["kind"].tolist() == drawn["kind"][:2].tolist() and (np.diff(areas) <= 1e-6).all()


def test_places_of_labels():
    assert targets.places(["title", "figure"]) == {"title": 0, "figure": 1}
    assert targets.places(LABELS) == {"text": 9, "title": 10, "list": 3, "table": 8, "figure": 6}


def test_parts_of_a_synthetic_page_are_its_classes():
    page = documents.document(np.random.default_rng(5))
    for label, outline in page.parts:
        x, y = np.round(outline.mean(0)).astype(int)
        inside = 0 <= y < len(page.classes) and 0 <= x < page.classes.shape[1]
        assert not inside or (page.classes[y, x] > 0 and label in documents.LABELS)
    assert len(page.parts) > 1


# ---------------------------------------------------------------- loss


def box(x, y, width, height, degrees=0.0):
    return [x, y, width, height, math.sin(math.radians(degrees)), math.cos(math.radians(degrees))]


def test_likeness_by_hand():
    """Of one size, a distance d apart: exp(-d² / 8σ²) of variance σ² = w² / 12; a turn by 180 degrees is none."""
    one = np.array([box(0.5, 0.5, 0.2, 0.1)], "float32")
    same = np.asarray(lw_detr_s.alike(one, np.array([box(0.5, 0.5, 0.2, 0.1, 180)], "float32")))
    quarter = np.asarray(lw_detr_s.alike(one, np.array([box(0.5, 0.5, 0.1, 0.2, 90)], "float32")))
    assert same == pytest.approx([1], abs=1e-3) and quarter == pytest.approx([1], abs=1e-3)
    apart = np.asarray(lw_detr_s.alike(one, np.array([box(0.6, 0.5, 0.2, 0.1)], "float32")))
    assert apart == pytest.approx([1 - math.sqrt(1 - math.exp(-(0.1**2) / (8 * 0.2**2 / 12)))], rel=1e-4)
    # Twice as large: the shapes' part is ½ ln(whole / 4 own) with a = 5 σ², own = 4 σ² of each axis: exp(-½ ln(25/16)).
    twice = np.asarray(lw_detr_s.alike(one, np.array([box(0.5, 0.5, 0.4, 0.2)], "float32")))
    assert twice == pytest.approx([1 - math.sqrt(1 - 4 / 5)], rel=1e-4)


def test_the_loss_is_doctrs():
    with np.load(Path(__file__).parent.parent / "golden" / "layout_loss.npz") as file:
        golden = dict(file)
    for case in range(3):
        logits, boxes, true, kind, expected = (
            golden[f"{key}{case}"] for key in ("logits", "boxes", "true", "kind", "loss")
        )
        target = {"boxes": np.zeros((1, 7, 6), "float32"), "kind": np.full((1, 7), -1, "int32")}
        target["boxes"][0, : len(true)], target["kind"][0, : len(true)] = true, kind
        parts = lw_detr_s.sets(target, logits[None, None], boxes[None, None])
        assert float(sum(np.asarray(value)[0] for value in parts.values())) == pytest.approx(float(expected), rel=1e-4)


def test_each_true_box_gets_a_query_of_its_own():
    """The second would rather have the first query, but the sum is least when the first has it; a third is left out."""
    costs = np.array([[[[1, 2, 0], [5, 3, 0], [9, 9, 9]]]], "float32")
    assert lw_detr_s.assign(np.array([[2, 0, -1]]), costs).tolist() == [[[0, 1, -1]]]
    assert lw_detr_s.assign(np.array([[2, 0, 1]]), costs[:, :, :2]).tolist() == [[[0, -1, 1]]]  # queries are too few
    assert lw_detr_s.assign(np.array([[-1, -1, -1]]), costs).tolist() == [[[-1, -1, -1]]]
    assert lw_detr_s.assign(np.array([[1, -1, -1]]), np.full_like(costs, np.nan)).tolist() == [[[0, -1, -1]]]


def test_the_loss_is_a_sum_over_layers_and_a_mean_over_groups():
    logits = RNG.normal(0, 1, (2, 3, 2, 6, 4)).astype("float32")
    boxes = np.tile(np.array([box(0.5, 0.5, 0.2, 0.1)], "float32"), (2, 3, 2, 6, 1))
    boxes += RNG.uniform(0, 0.1, boxes.shape).astype("float32")
    target = {"boxes": boxes[:, 0, 0, :3], "kind": np.array([[0, 1, -1], [3, -1, -1]], "int32")}
    whole = lw_detr_s.loss(target, {"logits": logits, "boxes": boxes})
    for key, value in whole.items():
        every = [
            np.asarray(lw_detr_s.sets(target, logits[:, layer, group, None], boxes[:, layer, group, None])[key])
            for layer in range(3)
            for group in range(2)
        ]
        np.testing.assert_allclose(np.asarray(value), np.sum(every, 0) / 2, rtol=1e-4)


def test_a_function_runs_on_the_host_within_a_step():
    import tensorflow as tf

    @tf.function
    def doubled(x):
        return step.on_host(lambda array: 2 * array, (None, 3), "float32", x) + x

    np.testing.assert_allclose(np.asarray(doubled(tf.ones((2, 3)))), np.full((2, 3), 3))


# ---------------------------------------------------------------- task


def small(**options):
    """The recipe and the card of a small network."""
    card = zoo.card("lw_detr_s")
    chosen = card.options | card.test_options | options
    names = list(documents.LABELS[: chosen["classes"]])
    return replace(card, options=chosen, reading=card.reading | {"labels": names, "size": chosen["image_size"]})


def test_batches_depend_on_the_seed_and_the_step_alone():
    how = replace(recipe.find("layout.lw_detr_s"), batch=2, real=())
    one, again = (lw_detr_s.make(how, small(), None) for _ in range(2))
    again.batch(0)
    (pixels, drawn), (same, others) = one.batch(2), again.batch(2)
    np.testing.assert_array_equal(pixels, same)
    assert pixels.shape == (2, 64, 96, 3) and drawn["boxes"].shape == (2, task.MOST, 6)
    for key, value in drawn.items():
        np.testing.assert_array_equal(value, others[key])
    assert (drawn["kind"] >= 0).any(1).all()


def test_a_card_must_suit():
    how = recipe.find("layout.lw_detr_s")
    with pytest.raises(ValueError, match="has classes=4; its reading names 5"):
        lw_detr_s.make(how, replace(small(), options=small().options | {"classes": 4}), None)
    with pytest.raises(ValueError, match=r"learns pages of \(64, 64\) pixels; its reading has"):
        lw_detr_s.make(how, replace(small(), options=small().options | {"image_size": [64, 64]}), None)


@pytest.mark.slow
def test_a_finder_learns_pages(tmp_path, monkeypatch):
    """Two pages over and over."""
    drawn = [documents.document(np.random.default_rng(seed), kind) for kind, seed in (("table", 0), ("book", 4))]
    few = [(fitted(page.image, (256, 256))[0], page) for page in drawn]
    scaled = [
        (picture, [(label, outline * 256 / max(page.image.shape[:2])) for label, outline in page.parts])
        for picture, page in few
    ]
    monkeypatch.setattr(task.Task, "page", lambda self, seed: scaled[seed[-1] % 2])
    card = small(image_size=[128, 128], channels=64, queries=24, hidden=128)
    known = train.registry.card
    monkeypatch.setattr(train.registry, "card", lambda name: card if name == "lw_detr_s" else known(name))
    how = replace(
        recipe.find("layout.lw_detr_s"), real=(), batch=2, steps=500, rate=2e-3, warmup=20, ema=0.9, layer_decay=1.0,
        clip=5.0, checkpoint_every=500, validate_every=500, validation=2,
    )  # fmt: skip
    train.train(how, tmp_path / "run", verbose=False)
    scores = zoo.card(tmp_path / "run").results["validation"]
    assert scores["synthetic_ap50"] > 0.7, scores
