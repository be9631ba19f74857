"""What segmenters learn from, their loss and score by hand-worked values, and that one learns."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

import zoo
from recipes import evaluate, losses, metrics, recipe, train, transfer
from recipes.data import datasets, documents
from recipes.data.documents import Regions
from recipes.segmentation import targets, task
from zoo.segmenting import Segmenter


@pytest.mark.parametrize("seed", range(4))
def test_words_lie_in_regions(seed):
    """The same page with words and with regions: almost every word's middle is in a region, and not all of it is."""
    words = documents.document(np.random.default_rng(seed))
    page = documents.layout(np.random.default_rng(seed))
    np.testing.assert_array_equal(page.image, words.image)
    height, width = page.classes.shape
    middles = words.polygons.mean(1).round().astype(int)
    inside = [page.classes[y, x] > 0 for x, y in middles if 0 <= x < width and 0 <= y < height]
    assert np.mean(inside) > 0.98 and 0.05 < (page.classes > 0).mean() < 0.95


def test_every_label_is_drawn():
    seen = {label for kind in documents.KINDS for seed in range(3)
            for label in np.unique(documents.layout(np.random.default_rng(seed), kind).classes)}  # fmt: skip
    assert seen == set(range(len(documents.LABELS) + 1))


def test_a_page_is_fitted_and_its_classes_stay_whole():
    """40 x 20 into 32 x 32: 32 high, 16 wide, black and background beside it."""
    page = Regions(np.full((40, 20, 3), 200, np.uint8), np.full((40, 20), 4, np.uint8))
    fitted = targets.fitted(page, (32, 32))
    assert (fitted.image[:, :16] == 200).all() and not fitted.image[:, 16:].any()
    assert (fitted.classes[:, :16] == 4).all() and not fitted.classes[:, 16:].any()


def test_classes_without_a_name_are_text():
    given = np.arange(6, dtype=np.uint8)  # background, text, title, list, table, figure
    assert targets.merged(given, ("background", "text", "table")).tolist() == [0, 1, 1, 1, 2, 1]
    assert targets.merged(given, targets.NAMES).tolist() == given.tolist()
    for wrong in (("text", "background"), ("background", "text", "stamp")):
        with pytest.raises(ValueError, match="or the first two and some others"):
            targets.merged(given, wrong)


def test_loss_of_pixels():
    """Two pixels, two classes, probabilities 3/4 for what is true of both.

    Cross-entropy ln(4/3). Dice of each class: 2 · 3/4 / (1 + 1) = 3/4, so 1/4 is lost.
    """
    logits = np.log([[[[3.0, 1.0], [1.0, 3.0]]]]).astype("float32")
    target = {"class": np.array([[[0, 1]]])}
    expected = math.log(4 / 3) + 0.25
    assert np.asarray(losses.segments(target, {"logits": logits})) == pytest.approx([expected], rel=1e-5)
    both = np.asarray(losses.segments(target, {"logits": logits, "coarse": logits}))
    assert both == pytest.approx([1.4 * expected], rel=1e-5)
    # Both pixels of class 0: its dice is 2 · (3/4 + 1/4) / (2 + 1) = 2/3; class 1 is not there and does not count.
    target = {"class": np.array([[[0, 0]]])}
    expected = (math.log(4 / 3) + math.log(4)) / 2 + 1 / 3
    assert np.asarray(losses.segments(target, {"logits": logits})) == pytest.approx([expected], rel=1e-5)


def test_intersection_over_union():
    """Classes 0 and 1 of three pixels: 0 right, 0 found as 1, 1 right; the third class stands nowhere."""
    counts = metrics.confusion(np.array([0, 1, 1]), np.array([0, 0, 1]), 3)
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert metrics.miou(counts) == pytest.approx({"miou": 0.5, "pixels": 2 / 3})
    assert metrics.miou(np.zeros((2, 2), int))["miou"] == 1.0


def test_batches_depend_on_the_seed_and_the_step_alone():
    how = replace(recipe.find("segmentation.unet"), batch=2, size=(64, 64))
    one, again = (task.make(how, zoo.card("unet"), None) for _ in range(2))
    again.batch(0)
    for ours, theirs in zip(one.batch(2), again.batch(2), strict=True):
        for a, b in zip(*(x.values() if isinstance(x, dict) else [x] for x in (ours, theirs)), strict=True):
            np.testing.assert_array_equal(a, b)
    card = replace(zoo.card("unet"), options={"classes": 5})
    with pytest.raises(ValueError, match="has classes=5; its reading names 6"):
        task.make(how, card, None)


@pytest.mark.slow
def test_a_segmenter_learns_pages(tmp_path, monkeypatch):
    """Two pages over and over: at first every pixel is as likely of any class."""
    monkeypatch.setattr(task.Task, "page", lambda self, seed, real=task.Task.page: real(self, (7, seed[-1] % 2)))
    how = replace(
        recipe.find("segmentation.unet"),
        options={"width": 8, "depth": 3}, size=(128, 128), batch=2, steps=400, rate=5e-3, warmup=10, ema=0.9,
        checkpoint_every=400, validate_every=400, validation=2,
    )  # fmt: skip
    small = replace(zoo.card("unet"), reading=zoo.card("unet").reading | {"size": [128, 128]})
    monkeypatch.setattr(
        train.registry, "card", lambda name, real=train.registry.card: small if name == "unet" else real(name)
    )
    train.train(how, tmp_path / "run", verbose=False)
    assert zoo.card(tmp_path / "run").results["validation"]["synthetic_miou"] > 0.7


def test_a_segmenter_learns_further_pages_and_says_what_changed(tmp_path, monkeypatch):
    """A network of one layer; half of the samples are of the given pages, a quarter of those to replay."""
    image = keras.Input((None, None, 3), name="image")
    maps = keras.layers.Conv2D(6, 1, name="logits")(keras.layers.Rescaling(1 / 255, name="scale")(image))
    network = keras.Model(image, {"logits": maps}, name="toy")
    monkeypatch.setattr(train.registry, "build", lambda name, **options: keras.models.clone_model(network))
    given = [{"polygon": [[0, 0], [29, 0], [29, 59], [0, 59]], "label": "text"}]
    for folder, shade in (("mine", 0), ("theirs", 255)):
        (tmp_path / folder).mkdir()
        rows = []
        for i in range(30):
            pixels = np.full((60, 60, 3), 255 - shade, "uint8")
            pixels[:, :30] = shade
            Image.fromarray(pixels).save(tmp_path / folder / f"{i}.png")
            split = "test" if i > 27 else "train"
            rows.append(json.dumps({"image": f"{i}.png", "level": "region", "split": split, "regions": given}))
        (tmp_path / folder / "labels.jsonl").write_text("\n".join(rows))
    how = replace(
        recipe.find("segmentation.unet"), batch=2, steps=1, size=(64, 64), warmup=1, ema=0.5,
        checkpoint_every=1, validate_every=1, validation=2,
    )  # fmt: skip
    monkeypatch.setattr(train.plots, "curves", lambda *paths: None)
    train.train(how, tmp_path / "old", verbose=False)
    plan = transfer.finetuning(str(tmp_path / "old"), [tmp_path / "mine"], [tmp_path / "theirs"])
    plan = replace(plan, steps=2, warmup=1, checkpoint_every=2, validate_every=2, validation=2)
    told = transfer.finetune(plan, tmp_path / "new", test=True, verbose=False)
    rows = [[cell.strip() for cell in line.split("|")[1:3]] for line in told.splitlines() if line.startswith("|")]
    assert rows[2:4] == [["synthetic", "2"], ["real", "2"]] and rows[4][0] == "replay"
    assert rows[5:] == [["mine/test", "2"], ["theirs/test", "2"]]
    drawn = task.make(plan, zoo.card(tmp_path / "new"), Path("."))
    shades = [drawn.sample(i).image[2:58, 2:20].mean() for i in range(40)]
    assert min(shades) < 60 and max(shades) > 200  # mine are dark on the left, theirs light


@pytest.mark.parametrize("name", ["segmentation.unet_small", "layout.lw_detr_s"])
def test_pages_that_say_nothing_of_their_parts_are_told_before_a_run(tmp_path, name):
    """Those whose labels lack `regions` teach nothing; beside others that have some they are passed over."""
    Image.new("RGB", (64, 64)).save(tmp_path / "page.png")
    page = {"image": "page.png", "words": []}
    (tmp_path / "labels.jsonl").write_text(json.dumps(page))
    how = replace(recipe.find(name), real=(str(tmp_path),))
    with pytest.raises(ValueError, match="can be learnt from: not one of its 1 pages .*regions"):
        train.make_task(how, zoo.card(how.model), None)
    parts = [{"polygon": [[1, 1], [9, 1], [9, 9], [1, 9]], "label": "table"}]
    (tmp_path / "labels.jsonl").write_text("\n".join(map(json.dumps, [page, page | {"regions": parts}])))
    made = train.make_task(how, zoo.card(how.model), None)
    assert sum(len(pages) for sets in (made.real, made.held) for pages in sets.values()) == 1


def test_what_a_segmenter_found_is_counted_by_pixels_that_are_something():
    """Of four pixels of text two are found, one as a title; background does not count."""
    made = task.make(recipe.find("segmentation.unet"), zoo.card("unet"), None)
    page = Regions(np.zeros((2, 4, 3), "uint8"), np.array([[1, 1, 1, 1], [0, 0, 0, 0]], "uint8"))
    found = np.array([[1, 1, 2, 0], [0, 0, 0, 3]])
    assert made.counts(lambda image: found, [page]).tolist() == [[2, 4, 4]]


# ---------------------------------------------------------------- labels


def test_words_are_joined_to_regions(tmp_path):
    """Two words of a paragraph with a gap of a word's height, a title far above: two regions, and nothing between."""
    rows = [(10, 60, 40, 70, "paragraph"), (50, 60, 90, 70, "reference"), (10, 10, 60, 20, "section")]
    words = [{"polygon": [[a, b], [c, b], [c, d], [a, d]], "text": "x", "label": name} for a, b, c, d, name in rows]
    Image.new("RGB", (100, 100)).save(tmp_path / "a.png")
    (tmp_path / "labels.jsonl").write_text(json.dumps({"image": "a.png", "words": words}) + "\n")
    (entry,) = datasets.read(tmp_path)
    classes = datasets.classes(entry, (100, 100))
    assert (classes[62:68, 12:88] == targets.NAMES.index("text")).all()  # the gap, too
    assert (classes[12:18, 12:58] == targets.NAMES.index("title")).all()
    assert (classes[30:50] == 0).all() and (classes[80:] == 0).all()


def test_regions_are_drawn_by_their_outlines(tmp_path):
    given = [
        {"polygon": [[0, 0], [40, 0], [40, 40], [0, 40]], "label": "figure", "segmentation": [[0, 0, 39, 0, 0, 39]]},
        {"polygon": [[50, 50], [90, 50], [90, 90], [50, 90]], "label": "table"},
    ]
    row = {"image": "a.png", "level": "region", "regions": given}
    (tmp_path / "labels.jsonl").write_text(json.dumps(row) + "\n")
    (entry,) = datasets.read(tmp_path)
    assert len(entry.polygons) == 0 and entry.level == "region"
    classes = datasets.classes(entry, (100, 100))
    figure, table = targets.NAMES.index("figure"), targets.NAMES.index("table")
    assert classes[5, 5] == figure and classes[35, 35] == 0  # a triangle
    assert (classes[52:88, 52:88] == table).all() and (classes == table).sum() == 41**2
    given[0]["label"] = "painting"
    (tmp_path / "labels.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(ValueError, match="no region is called 'painting'"):
        datasets.read(tmp_path)


def test_a_segmenter_is_scored_by_labels(tmp_path, monkeypatch):
    """One that finds text on the upper half of a page whose left half is text: each class overlaps by a third."""
    Image.new("RGB", (60, 60)).save(tmp_path / "a.png")
    given = [{"polygon": [[0, 0], [29, 0], [29, 59], [0, 59]], "label": "text"}]
    row = {"image": "a.png", "level": "region", "split": "test", "regions": given}
    (tmp_path / "labels.jsonl").write_text(json.dumps(row) + "\n")

    def run(batch):
        logits = np.zeros((*batch.shape[:3], 6), "float32")
        logits[:, :32, :, 1], logits[:, 32:, :, 0] = 1, 1
        return {"logits": logits}

    made = Segmenter(run, labels=targets.NAMES, size=[64, 64], multiple=64)
    monkeypatch.setattr(evaluate, "segmenter", lambda name, runtime: made)
    (result,) = evaluate.evaluate(["unet"], tmp_path)
    assert result.scores["miou"] == pytest.approx(1 / 3, abs=0.01) and result.scores["pages"] == 1
    assert result.scores["iou_text"] == pytest.approx(1 / 3, abs=0.01) and result.scores["pixels"] == pytest.approx(0.5)
    (tmp_path / "labels.jsonl").write_text(json.dumps({"image": "a.png", "split": "test", "words": []}) + "\n")
    with pytest.raises(ValueError, match=r"a\.png: nothing says what its parts are"):
        next(evaluate.evaluate(["unet"], tmp_path))
