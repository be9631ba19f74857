"""A spotter's recipe: words, places and characters as drawn; its loss by hand; eight pages learnt by heart and read."""

from __future__ import annotations

import csv
from dataclasses import replace

import keras
import numpy as np
import pytest

import zoo
from recipes import losses, recipe, train
from recipes.data import fonts, synthetic
from recipes.data.pages import Page
from recipes.spotting import targets, task
from zoo import registry
from zoo.charset import Charset
from zoo.spotting import ocrnet

DIGITS = Charset("digits")
LETTERS = Charset("0123456789 ")
SMALL = recipe.find("spotting.ocrnet_mobilenet_v3_large")
RNG = np.random.default_rng(4)


def box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float32)


def page(*words: tuple[np.ndarray, str], size=(64, 96)) -> Page:
    """White, with words of which no middles are known but of "12": 20 and 40 pixels from the left."""
    middles = [np.array([[20, 20], [40, 20]], np.float32) if text == "12" else np.zeros((0, 2)) for _, text in words]
    return Page(
        np.full((*size, 3), 255, np.uint8),
        np.array([quad for quad, _ in words], np.float32).reshape(-1, 4, 2),
        np.zeros(len(words), bool),
        tuple(text for _, text in words),
        tuple(middles),
    )


def test_words_to_read_lie_within_the_page_and_are_of_the_alphabet():
    whole, cut, tiny, other, long = (
        box(10, 10, 50, 30),
        box(70, 10, 110, 30),
        box(0, 40, 30, 44),
        *[box(5, 5, 60, 20)] * 2,
    )
    given = page((whole, "12"), (cut, "34"), (tiny, "5"), (other, "é"), (long, "123456"), (whole, ""))
    given.ignore[:] = False
    assert [word.text for word in targets.words(given, DIGITS, 5)] == ["12"]
    given.ignore[0] = True
    assert targets.words(given, DIGITS, 5) == []


def test_a_corner_moved_by_an_error_is_off_by_it():
    true = np.array([[10, 10], [50, 20], [45, 40], [5, 30]], np.float32)
    found = true + RNG.normal(0, 3, (4, 2)).astype(np.float32)
    np.testing.assert_allclose(targets.moved(true, targets.error(found, true)), found, atol=1e-4)
    level = targets.moved(box(0, 0, 40, 10), np.array([[0.5, 0], [0, 0], [0, 0.2], [0, 0]], np.float32))
    np.testing.assert_allclose(level, [[5, 0], [40, 0], [40, 12], [0, 10]], atol=1e-5)


def test_strips_by_hand():
    """A word of 40 by 20 pixels has 32 columns of 16 rows, and so 16 steps; its characters' middles lie a quarter and
    three quarters along it."""
    (word,) = targets.words(page((box(10, 10, 50, 30), "12")), DIGITS, 5)
    got = targets.strips([word], [word.quad], DIGITS, count=3, widest=48)
    np.testing.assert_array_equal(got["words"][0], word.quad)
    assert got["columns"].sum(1).tolist() == [32, 0, 0] and got["columns"][0, :32].all()
    assert got["ids"].tolist() == [[1, 2]] + 2 * [[DIGITS.blank] * 2] and got["length"].tolist() == [2, 0, 0]
    assert np.flatnonzero(got["frames"][0] != DIGITS.blank).tolist() == [4, 12]
    assert got["frames"][0, [4, 12]].tolist() == [1, 2] and got["aligned"].tolist() == [1, 0, 0]


def test_a_wider_place_moves_the_middles():
    (word,) = targets.words(page((box(10, 10, 50, 30), "12")), DIGITS, 5)
    got = targets.strips([word], [box(0, 10, 60, 30)], DIGITS, count=1, widest=48)
    assert got["columns"].sum() == 48
    assert np.flatnonzero(got["frames"][0] != DIGITS.blank).tolist() == [8, 16]  # a third and two thirds of 24 steps


def test_characters_at_pixels():
    given = page((box(10, 10, 50, 30), "12"), (box(56, 40, 88, 56), "7"))
    drawn = targets.characters(given, DIGITS)
    assert drawn.shape == (16, 24)
    assert (drawn[5, 5], drawn[5, 10]) == (1, 2) and drawn[0, 0] == DIGITS.blank
    assert (drawn[10:14, 14:22] == targets.UNKNOWN).all()  # a word of which no middles are known
    assert (drawn == targets.UNKNOWN).sum() == 5 * 9 and ((drawn >= 0) & (drawn < 10)).sum() == 2


def test_neighbours_are_one_text_with_a_space():
    """Of 12 and 7, which stand 10 pixels apart; 345 is too far away, and 6 stands in another line."""
    quads = box(9, 10, 50, 30), box(60, 10, 75, 30), box(140, 10, 180, 30), box(140, 40, 155, 60)
    given = page(*zip(quads, ("12", "7", "345", "6"), strict=True), size=(64, 200))
    given.middles[1].resize((1, 2), refcheck=False)
    given.middles[1][:] = 67, 20
    (span,) = targets.spans(targets.words(given, LETTERS, 5), 5)
    assert span.text == "12 7" and span.quad.tolist() == box(9, 10, 75, 30).tolist()
    assert span.middles.tolist() == [[20, 20], [40, 20], [55, 20], [67, 20]]
    assert targets.spans(targets.words(given, LETTERS, 5), 3) == []  # four characters
    got = targets.strips([span], [span.quad], LETTERS, count=1, widest=64)  # 53 columns for 66 pixels
    assert got["ids"][0, :4].tolist() == [1, 2, LETTERS.characters.index(" "), 7]
    assert np.flatnonzero(got["frames"][0] != LETTERS.blank).tolist() == [4, 12, 18, 23]

    between = page((quads[0], "12"), (box(51, 10, 59, 30), "!"), (quads[1], "7"))  # is of no alphabet here
    assert [word.text for word in targets.words(between, LETTERS, 5)] == ["12", "7"]
    assert targets.spans(targets.words(between, LETTERS, 5), 5) == []


def test_a_share_of_what_is_read_is_neighbours():
    given = targets.words(page((box(10, 10, 50, 30), "12"), (box(60, 10, 75, 30), "7")), LETTERS, 5)
    for share in (0.0, 0.25, 1.0):
        own = small_task(together=share)
        drawn = [own.words(given, np.random.default_rng(seed), 0.0, 128) for seed in range(10)]
        of_both = np.mean([found["length"] == 4 for found in drawn])
        assert share - 0.1 < of_both < share + 0.1 if 0 < share < 1 else of_both == share
    with pytest.raises(ValueError, match="needs an alphabet with a space"):
        task.make(
            replace(SMALL, together=0.1), replace(own.card, options=own.card.options | {"charset": "digits"}), None
        )


def test_words_of_a_step_are_about_as_wide():
    """Of words of 16, 32 and 80 columns, of which the first comes twice, and of their neighbours."""
    quads = box(0, 10, 20, 30), box(30, 10, 50, 30), box(60, 10, 100, 30), box(110, 10, 210, 30)
    every = targets.words(page(*zip(quads, "3456", strict=True), size=(64, 240)), LETTERS, 5)
    assert targets.wide(every, 128).tolist() == [16, 16, 32, 80]
    assert targets.wide(every, 64).tolist() == [16, 16, 32, 64]
    assert targets.wide([], 128).tolist() == []
    own = small_task(together=0.0)
    reaches = [own.reach([every[:1], every[1:]], np.random.default_rng(seed)) for seed in range(400)]
    assert sorted(set(reaches)) == [16, 32, 80]  # widths of the card
    assert 0.18 < np.mean(np.array(reaches) == 80) < 0.32
    assert own.reach([[], []], np.random.default_rng(0)) == 16

    own = small_task(together=0.0, widest=64)  # the widest words are squeezed
    assert {own.reach([every], np.random.default_rng(seed)) for seed in range(50)} == {16, 32, 64}
    for reach, first, others in ((32, {"5"}, {"3", "4"}), (64, {"6"}, {"3", "4", "5"}), (16, {"3", "4"}, set())):
        got = own.words(every, np.random.default_rng(2), 0.0, reach)
        assert got["columns"].shape == (task.WORDS, reach)
        texts = [LETTERS.characters[ids[0]] for ids in got["ids"]]
        assert set(texts) == first | others
        for text in others:
            assert all(texts.index(one) < texts.index(text) for one in first)

    own = small_task(together=1.0)
    got = own.words(every, np.random.default_rng(2), 0.0, 48)  # neighbours of 40 columns, none of more
    assert {tuple(ids[:length]) for ids, length in zip(got["ids"].tolist(), got["length"], strict=True)} == {(3, 10, 4)}
    got = own.words(every, np.random.default_rng(2), 0.0, 32)
    assert set(got["length"].tolist()) == {1}
    assert own.words([], np.random.default_rng(2), 0.0, 32)["length"].tolist() == [0] * task.WORDS


def small_task(**changes) -> task.Task:
    card = zoo.card("ocrnet_mobilenet_v3_large")
    return task.make(
        replace(SMALL, size=(128, 128), batch=2, seed=3, **changes),
        replace(card, options=card.options | card.test_options | {"classes": 6}),
        None,
    )


def test_batches_depend_on_the_step_and_on_how_far_boxes_are_off():
    one, two = small_task(), small_task()
    pixels, given = one.batch(3)
    again, same = two.batch(3)
    np.testing.assert_array_equal(pixels, again)
    for key, value in given.items():
        np.testing.assert_array_equal(value, same[key], err_msg=key)
    assert pixels.shape == (2, 128, 128, 3) and given["words"].shape == (2, task.WORDS, 4, 2)
    assert given["columns"].shape[2] == 2 * given["frames"].shape[2] and given["columns"].shape[2] % 16 == 0
    assert given["known"].tolist() in ([1, 1], [0, 1], [1, 0], [0, 0]) and given["class"].shape == (2, 128, 128)
    two.errors = np.full((1, 4, 2), 0.5, np.float32)
    two.recipe = replace(two.recipe, steps=3)  # at its end: all words are read where the network would find them
    _, other = two.batch(3)
    if given["length"].any():
        assert not np.array_equal(given["words"], other["words"])
    np.testing.assert_array_equal(given["ids"], other["ids"])


def test_the_errors_of_boxes_are_those_of_the_network(monkeypatch):
    """A network that finds every word 2 pixels too far right."""
    own = small_task()
    given = page((box(10, 10, 50, 30), "12"))

    class Fake:
        @staticmethod
        def detector(pixels):
            return given.polygons + np.array([2, 0], np.float32), np.ones(1)

    monkeypatch.setattr(own, "sample", lambda index: given)
    monkeypatch.setattr(own, "reader", lambda network: Fake)
    own.begin(0, None)
    assert len(own.errors) == 0
    own.begin(10, None)
    assert own.errors.shape == (task.PROBES, 4, 2)
    np.testing.assert_allclose(own.errors, np.broadcast_to([0.1, 0], own.errors.shape), atol=1e-6)  # of 20 pixels


@pytest.mark.parametrize(("left", "right", "whole"), [(14, 46, True), (0, 60, True), (16, 50, False), (10, 44, False)])
def test_boxes_that_cut_a_word_are_not_learnt_from(left, right, whole, monkeypatch):
    """Of a word of 40 by 20 pixels a box may lack 5 at either end."""
    own, found = small_task(), box(left, 11, right, 30)
    assert targets.whole(targets.error(found, box(10, 10, 50, 30))) == whole
    given = page((box(10, 10, 50, 30), "12"))

    class Fake:
        @staticmethod
        def detector(pixels):
            return found[None], np.ones(1)

    monkeypatch.setattr(own, "sample", lambda index: given)
    monkeypatch.setattr(own, "reader", lambda network: Fake)
    own.begin(10, None)
    assert len(own.errors) == (task.PROBES if whole else 0)


def random_outputs(batch: int, size: int, classes: int, labels: int, words: int, steps: int) -> dict:
    shapes = {
        "logits": (size, size, 1), "threshold": (size, size, 1), "classes": (size, size, classes),
        "coarse": (size, size, classes), "characters": (size // 4, size // 4, labels), "text": (words, steps, labels),
    }  # fmt: skip
    return {name: RNG.normal(size=(batch, *shape)).astype("float32") for name, shape in shapes.items()}


def test_the_parts_of_the_loss_are_those_of_others():
    """DB's, the segmenters' and the recognizers' of the same numbers; unknown classes tell nothing."""
    outputs = random_outputs(2, 16, 3, 11, words=2, steps=8)
    target = {
        key: RNG.integers(0, 2, (2, 16, 16)).astype("float32") for key in ("region", "mask", "border", "border_mask")
    } | {
        "class": RNG.integers(0, 3, (2, 16, 16)), "known": np.array([1, 0], "float32"),
        "character": np.full((2, 4, 4), targets.UNKNOWN), "ids": np.array([[[1, 2], [3, 10]], [[4, 5], [10, 10]]]),
        "length": np.array([[2, 1], [2, 0]]), "frames": np.full((2, 2, 8), 10), "aligned": np.zeros((2, 2), "float32"),
    }  # fmt: skip
    target["character"][0, 1, 1], target["character"][0, 2, 2] = 7, 10
    got = {name: np.asarray(value) for name, value in losses.spotting(target, outputs).items()}
    whole = np.asarray(losses.db(target, outputs))
    segments = np.asarray(losses.segments(target, {"logits": outputs["classes"], "coarse": outputs["coarse"]}))
    scores = outputs["characters"][0]
    entropy = np.log(np.exp(scores).sum(-1)) - scores[..., 7], np.log(np.exp(scores).sum(-1)) - scores[..., 10]
    characters = np.array([entropy[0][1, 1] / 2 + entropy[1][2, 2] / 2, 0])
    np.testing.assert_allclose(got["cls"] + got["iou"], whole + segments * [1, 0] + characters, rtol=1e-4)
    alone = losses.spotting(target, {name: value for name, value in outputs.items() if name != "characters"})
    np.testing.assert_allclose(got["cls"] - np.asarray(alone["cls"]), characters, rtol=1e-3, atol=1e-5)
    each = [
        np.asarray(losses.ctc({"ids": ids[None], "length": np.array([length])}, text[None]))[0]
        for ids, length, text in zip(
            target["ids"].reshape(4, 2), target["length"].reshape(4), outputs["text"].reshape(4, 8, 11), strict=True
        )
    ]
    np.testing.assert_allclose(got["ctc"], [(each[0] + each[1]) / 2, each[2]], rtol=1e-4)


@pytest.mark.parametrize("option", ["context", "attention", "characters", "shared"])
def test_each_help_can_be_left_out(option):
    """The branches' outputs stay; without the auxiliary characters theirs goes, without the others some layers do. What
    is left reads in two calls what it reads in one."""
    card = registry.card("ocrnet_mobilenet_v3_large")
    whole, without = (
        registry.build(card.name, **{**card.options, **card.test_options, option: given}) for given in (True, False)
    )
    gone = {layer.name for layer in whole.layers} - {layer.name for layer in without.layers}
    wanted = {"context": "with_context", "attention": "attention", "characters": "characters", "shared": "shared_1"}
    assert any(name.startswith(wanted[option]) for name in gone)
    assert set(whole.output) - set(without.output) == ({"characters"} if option == "characters" else set())
    told = {"words": 64 * RNG.uniform(size=(1, 3, 4, 2)), "columns": np.ones((1, 3, 16))}
    told = {name: keras.ops.convert_to_tensor(value.astype("float32")) for name, value in told.items()}
    image = keras.ops.convert_to_tensor(RNG.uniform(0, 255, (1, 64, 64, 3)).astype("float32"))
    divided = ocrnet.parts(without)
    given = divided.locate(image, training=False)
    views = divided.view({"image": image, "features": given["features"], **told}, training=False)
    text = divided.read(views, training=False)["text"]
    np.testing.assert_allclose(text, without({"image": image, **told}, training=False)["text"][0], atol=1e-5)


def test_what_words_are_seen_by_is_told_where_it_is_none():
    with pytest.raises(
        ValueError, match=r"word_features='resnet34_r': words are seen by one of mobilenet_v3_medium_r, "
    ):
        zoo.build("ocrnet_mobilenet_v3_large", word_features="resnet34_r")


# ---------------------------------------------------------------- learning


def written(index: int) -> Page:
    """A page of 128 pixels with three numbers in large print."""
    rng = np.random.default_rng((77, index))
    font = fonts.font(next(p for family in fonts.families() for p in family if p.stem == "DejaVuSans"), 26)
    given = Page(np.full((128, 128, 3), 240, np.uint8), np.zeros((0, 4, 2), np.float32), np.zeros(0, bool))
    quads, texts, middles = [], [], []
    for top in (10, 50, 90):
        text = "".join(map(str, rng.integers(0, 10, rng.integers(2, 5))))
        ink, centres = synthetic.mask(text, font, np.random.default_rng(0))
        left = int(rng.integers(8, 120 - ink.shape[1]))
        view = given.image[top : top + ink.shape[0], left : left + ink.shape[1]]
        view[:] = view * (1 - ink[..., None] / 255)
        quads.append(box(left - 2, top - 2, left + ink.shape[1] + 2, top + ink.shape[0] + 2))
        middles.append(np.stack([centres + left, np.full(len(text), top + ink.shape[0] / 2)], 1).astype(np.float32))
        texts.append(text)
    return given._replace(
        polygons=np.array(quads), ignore=np.zeros(3, bool), texts=tuple(texts), middles=tuple(middles),
        classes=np.zeros((128, 128), np.uint8),
    )  # fmt: skip


@pytest.mark.slow
def test_eight_pages_are_learnt_by_heart_and_read(tmp_path, monkeypatch):
    """By the recipe, with a tiny network; then read by `zoo.reader`, word for word and in their order."""
    pages = [written(index) for index in range(8)]
    monkeypatch.setattr(task.Task, "sample", lambda self, index: pages[index % 8])
    monkeypatch.setattr(task.Task, "held_out", lambda self: {"pages": pages})
    card = zoo.card(SMALL.model)
    small = replace(
        card, options=card.options | card.test_options | {"units": 48, "channels": 32}, weights={}, results={}
    )
    small = replace(small, reading=card.reading | {"size": [128, 128], "multiple": 128})
    (tmp_path / "tiny").mkdir()
    registry.write_card(small, tmp_path / "tiny/card.toml")
    how = replace(
        SMALL, model=str(tmp_path / "tiny"), real=(), size=(128, 128), batch=8, steps=300, rate=6e-3,
        warmup=20, ema=0.95, checkpoint_every=50, validate_every=300, floor=0.05,
    )  # fmt: skip
    train.train(how, tmp_path / "run", verbose=False)
    with (tmp_path / "run/log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {"loss_cls", "loss_iou", "loss_ctc"} <= set(rows[0])
    assert float(rows[-1]["pages_hmean"]) == 1, rows[-1]
    reader = zoo.reader(str(tmp_path / "run"), runtime="keras")
    for given in pages:
        (read,) = reader.read(given.image).pages
        assert [word.text for word in read.words] == list(given.texts)
        for word, polygon in zip(read.words, given.polygons, strict=True):
            np.testing.assert_allclose(word.polygon, polygon, atol=6)
