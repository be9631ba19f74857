"""Pictures of classes: which they are, how they lie, and that a classifier learns them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import zoo
from recipes import recipe, train
from recipes.classification import task
from recipes.data import datasets

CHARACTERS = "mobilenet_v3_small"


def made(name: str, **changes) -> task.Task:
    how = replace(recipe.find(f"classification.{name}"), batch=6, validation=5, **changes)
    return task.make(how, zoo.card(name), None)


def test_batches_depend_on_the_seed_and_the_step_alone():
    one, again, other = made(CHARACTERS), made(CHARACTERS), made(CHARACTERS, seed=1)
    pixels, target = one.batch(3)
    assert pixels.shape == (6, 32, 32, 3) and pixels.dtype == np.uint8
    assert target["class"].shape == (6,) and target["class"].dtype == np.int32
    again.batch(0)
    for ours, theirs in zip((pixels, target["class"]), (again.batch(3)[0], again.batch(3)[1]["class"]), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert not np.array_equal(pixels, other.batch(3)[0]) and not np.array_equal(pixels, one.batch(4)[0])
    assert (one.names[0], one.names[10], len(one.names)) == ("0", "a", 126)


@pytest.mark.parametrize("what", ["crop", "page"])
def test_class_k_is_k_quarter_turns_against_the_clock(what, monkeypatch):
    upright = np.zeros((20, 60, 3), np.uint8)
    upright[:, :20] = 255  # bright at the left
    ours = made(f"mobilenet_v3_small_{what}_orientation")
    monkeypatch.setitem(task.UPRIGHT, ours.picture, lambda rng: upright)
    assert ours.names == ["0", "-90", "180", "90"]  # clockwise: a quarter against the clock is -90
    bright = {0: "left", 1: "bottom", 2: "right", 3: "top"}
    seen = set()
    for index in range(20):
        image, label = ours.sample(index)
        halves = {
            "left": image[:, : image.shape[1] // 3], "right": image[:, -image.shape[1] // 3 :],
            "top": image[: image.shape[0] // 3], "bottom": image[-image.shape[0] // 3 :],
        }  # fmt: skip
        assert bright[label] == max(halves, key=lambda side: halves[side].mean())
        seen.add(label)
    assert seen == {0, 1, 2, 3}


def test_pictures_of_a_batch_differ_and_each_comes_by_all_turns(monkeypatch):
    drawn = iter(range(1, 100))
    ours = made("mobilenet_v3_small_page_orientation")
    upright = np.zeros((20, 60, 3), np.uint8)
    upright[:, :20] = 1  # the left
    monkeypatch.setitem(task.UPRIGHT, "page", lambda rng: upright * next(drawn))
    batches = [[ours.sample(6 * step + place) for place in range(6)] for step in range(8)]
    numbers = [[int(sample.image.max()) for sample in batch] for batch in batches]
    assert all(len(set(batch)) == 6 for batch in numbers)
    seen = [
        (number, s.label)
        for batch, ns in zip(batches, numbers, strict=True)
        for s, number in zip(batch, ns, strict=True)
    ]
    assert sorted(seen) == [(number, label) for number in range(1, 13) for label in range(4)]


@pytest.mark.parametrize(
    ("text", "tells"), [("NO", False), ("69", False), ("808", False), ("--", False), ("a", False), ("44", True),
                        ("not", True), ("é.", True), ("WOW!", False), ("12.50", True)],
)  # fmt: skip
def test_words_that_show_which_way_up_they_are(text, tells):
    assert task.tells(text) == tells


def test_parts_of_pages_hold_something():
    """Of a page whose upper half is blank a part from there is never shown, but the whole page."""
    page = np.full((200, 100, 3), 250, np.uint8)
    page[100::4, 10:90] = 20
    shapes = set()
    for seed in range(60):
        shown = task.part(page, np.random.default_rng(seed))
        assert (shown == 20).any() and min(shown.shape[0] / 200, shown.shape[1] / 100) >= 0.39
        shapes.add(shown.shape)
    assert page.shape in shapes and len(shapes) > 20


def test_turned_pictures_keep_their_shape_in_the_middle():
    """60 x 20 pixels in 256 x 256: 256 wide, 85 high, from row 85 on."""
    ours = made("mobilenet_v3_small_crop_orientation")
    fitted = ours.classifier.fitted(np.full((20, 60, 3), 200, np.uint8))
    rows = np.flatnonzero(fitted.any((1, 2)))
    assert fitted.shape == (256, 256, 3) and (rows[0], rows[-1]) == (85, 169) and (fitted[85:170] == 200).all()


def test_a_network_of_another_number_of_classes_is_refused():
    card = zoo.card(CHARACTERS)
    with pytest.raises(ValueError, match="has classes=5; its reading names 126"):
        task.make(recipe.find(f"classification.{CHARACTERS}"), replace(card, options={"classes": 5}), None)


@pytest.mark.parametrize(
    ("name", "label", "told"),
    [
        (CHARACTERS, '"text": "two"', "none of its 1 pictures is a character of the alphabet"),
        ("mobilenet_v3_small_page_orientation", '"text": "two"', "none of its 1 pictures is a page"),
        ("mobilenet_v3_small_crop_orientation", '"text": "96"', "none of its 1 pictures is a word, or .* which way up"),
    ],
)
def test_a_data_set_of_no_use_is_told(tmp_path, name, label, told):
    Image.new("RGB", (60, 20)).save(tmp_path / "0.png")
    (tmp_path / "labels.jsonl").write_text(f'{{"image": "0.png", {label}}}')
    for field in ("real", "replay"):
        with pytest.raises(ValueError, match=f"nothing of {tmp_path.name} can be learnt from: {told}"):
            made(name, **{"real": (), field: (str(tmp_path),)})


def test_pictures_that_are_scored_come_by_all_turns(tmp_path):
    """As those held out; `zoo finetune --test` asks every task for them likewise."""
    Image.new("RGB", (60, 20)).save(tmp_path / "0.png")
    (tmp_path / "labels.jsonl").write_text('{"image": "0.png", "words": [], "split": "test"}')
    entries = datasets.read(tmp_path, "test")
    samples = made("mobilenet_v3_small_page_orientation", real=()).samples("mine", entries)
    assert [(sample.label, *sample.image.shape[:2]) for sample in samples] == [
        (0, 20, 60), (1, 60, 20), (2, 20, 60), (3, 60, 20),
    ]  # fmt: skip
    assert made(CHARACTERS, real=()).samples("mine", entries) == []


@pytest.mark.slow
def test_turns_of_words_are_learnt(tmp_path):
    """Words that lie are told from words that stand, and so on: by chance a quarter are right."""
    how = replace(
        recipe.find("classification.mobilenet_v3_small_crop_orientation"),
        options={"features": "mobilenet_v3_test", "hidden": 32},
        batch=16, steps=150, rate=3e-3, warmup=20, ema=0.9, checkpoint_every=150, validate_every=150, validation=64,
    )  # fmt: skip
    train.train(how, tmp_path / "run", verbose=False)
    assert zoo.card(tmp_path / "run").results["validation"]["synthetic_accuracy"] > 0.4
    assert zoo.load(tmp_path / "run", **how.options).output["logits"].shape == (None, 4)
