"""Another alphabet, going on from a model, and what it learnt and forgot."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import zoo
from recipes import surgery, train, transfer
from recipes.data import folders
from recipes.data.synthetic import Strip
from recipes.recipe import Recipe
from recipes.recognition import task as recognition
from zoo import registry, weights
from zoo.charset import Charset, Reading
from zoo.recognition.crnn import crnn

SMALL = Recipe(
    model="crnn_mobilenet_v3_small",
    task="recipes.recognition.task",
    options={"charset": "digits"},
    batch=4, steps=2, rate=1e-2, warmup=1, ema=0.9, longest=4, widest=64,
    checkpoint_every=2, validate_every=2, validation=4,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _toys(monkeypatch):
    """A recognizer of two layers that is traced at once stands in for every network; no pictures are drawn."""

    def build(name, **options):
        charset = (zoo.card(name).options | options)["charset"]
        image = keras.Input((32, None, 3), name="image")
        x = keras.layers.Rescaling(1 / 255, name="scale")(image)
        x = keras.layers.Conv2D(8, (32, 8), strides=(32, 4), padding="same", activation="relu", name="columns")(x)
        x = keras.layers.Dense(len(Charset(charset)) + 1, dtype="float32", name="logits")(x)
        classes = x.shape[-1]
        return keras.Model(image, {"logits": keras.layers.Reshape((-1, classes), name="steps")(x)}, name="toy")

    monkeypatch.setattr(registry, "build", build)
    monkeypatch.setattr(train.plots, "curves", lambda *paths: None)
    monkeypatch.setattr("recipes.recognition.task.plots.words", lambda *args: None)


def head(characters: str, more: int = 1) -> keras.Model:
    """(B, 3) → (B, characters + more)."""
    x = keras.Input((3,), name="image")
    y = keras.layers.Dense(4, name="hidden")(x)
    return keras.Model(x, {"logits": keras.layers.Dense(len(characters) + more, name="logits")(y)})


def tensors(network: keras.Model) -> dict[str, np.ndarray]:
    return {v.path: np.asarray(v).copy() for v in network.weights}


@pytest.mark.parametrize("more", [1, 2])
def test_what_was_learnt_of_a_character_stays_with_it(more):
    """From "abe" to "éxba": é begins as e, x as the network made it, and the blank stays at the end."""
    old, new = head("abe", more), head("éxba", more)
    made = np.asarray(new.get_layer("logits").kernel).copy()
    weights.assign(new, surgery.graft(new, tensors(old), Charset("abe"), Charset("éxba")))
    given, kernel = np.asarray(old.get_layer("logits").kernel), np.asarray(new.get_layer("logits").kernel)
    for ours, theirs in [(0, 2), (2, 1), (3, 0), *((4 + i, 3 + i) for i in range(more))]:
        np.testing.assert_array_equal(kernel[:, ours], given[:, theirs])
    np.testing.assert_array_equal(kernel[:, 1], made[:, 1])
    x = np.random.default_rng(0).normal(size=(2, 3)).astype("float32")
    before, after = np.asarray(old(x)["logits"]), np.asarray(new(x)["logits"])
    np.testing.assert_allclose(after[:, [3, 2, 4]], before[:, [0, 1, 3]], atol=1e-6)


def test_what_is_no_matter_of_the_alphabet_stays_an_error():
    old, new = head("abe"), head("abcd")
    wide = {**tensors(old), "hidden/kernel": np.zeros((3, 9), "float32")}
    with pytest.raises(ValueError, match=r"hidden/kernel \(3, 4\) in the network, \(3, 9\) given"):
        weights.assign(new, surgery.graft(new, wide, Charset("abe"), Charset("abcd")))


@pytest.fixture(scope="module")
def grown() -> tuple[keras.Model, keras.Model]:
    """A recognizer whose averages are not those that it began with, and the larger one grown out of it."""
    keras.utils.set_random_seed(0)
    how = {"charset": "digits", "units": 8}
    small, large = (crnn(features=f"mobilenet_v3_{size}_r", **how) for size in ("small", "medium"))
    random = np.random.default_rng(0)
    for variable in small.weights:
        variable.assign(variable * random.uniform(0.8, 1.2, variable.shape) + random.uniform(0, 0.05, variable.shape))
    weights.assign(large, surgery.grow(large, tensors(small)))
    return small, large


@pytest.mark.parametrize("training", [False, True])
def test_a_larger_network_does_at_first_what_the_smaller_did(grown, training):
    small, large = grown
    strips = np.random.default_rng(1).integers(0, 256, (4, 32, 64, 3)).astype("float32")
    before, after = (np.asarray(network(strips, training=training)["logits"]) for network in grown)
    assert np.ptp(before, 0).max() > 1e-3  # these weights tell pictures apart
    np.testing.assert_allclose(after, before, atol=1e-4)
    assert large.count_params() > small.count_params()


def test_a_grown_network_learns_with_all_of_it(grown):
    """Once the first steps are made, what the smaller network does not have has gradients in every variable."""
    small, large = grown
    strips = np.random.default_rng(1).integers(0, 256, (4, 32, 64, 3)).astype("float32")
    goal = np.random.default_rng(2).normal(size=(4, 16, 11)).astype("float32")
    old = {variable.path: tuple(variable.shape) for variable in small.weights}
    for _ in range(3):
        with tf.GradientTape() as tape:
            loss = keras.ops.mean((large(strips, training=True)["logits"] - goal) ** 2)
        gradients = tape.gradient(loss, [variable.value for variable in large.trainable_variables])
        for variable, gradient in zip(large.trainable_variables, gradients, strict=True):
            variable.assign_sub(0.1 * gradient)
    for variable, gradient in zip(large.trainable_variables, gradients, strict=True):
        more = np.abs(np.asarray(gradient))
        if old.get(variable.path) != tuple(variable.shape):
            more[tuple(map(slice, old.get(variable.path, (0,))))] = 0
            assert more.max() > 0, variable.path


def test_what_is_no_larger_network_does_not_grow(grown):
    small, large = grown
    assert surgery.grow(small, tensors(large)) is None
    wider = crnn(features="mobilenet_v3_small_r", charset="digits", units=9)
    assert surgery.grow(wider, tensors(small)) is None  # gates stand side by side
    assert surgery.grow(large, {**tensors(small), "elsewhere/kernel": np.zeros(3)}) is None


def test_a_run_grows_out_of_a_smaller_network(tmp_path, monkeypatch, capsys):
    """The last layer of columns has twice as many channels; the run says so, and reads as the smaller one does."""
    train.train(SMALL, tmp_path / "small", verbose=False)

    def build(name, **options):
        image = keras.Input((32, None, 3), name="image")
        x = keras.layers.Rescaling(1 / 255, name="scale")(image)
        x = keras.layers.Conv2D(16, (32, 8), strides=(32, 4), padding="same", activation="relu", name="columns")(x)
        x = keras.layers.Dense(11, dtype="float32", name="logits")(x)
        return keras.Model(image, {"logits": keras.layers.Reshape((-1, 11), name="steps")(x)}, name="toy")

    monkeypatch.setattr(registry, "build", build)
    small = weights.read(tmp_path / "small" / "weights.safetensors")
    train.train(replace(SMALL, start=str(tmp_path / "small"), rate=1e-9, decay=0.0), tmp_path / "large", verbose=False)
    large = weights.read(tmp_path / "large" / "weights.safetensors")
    np.testing.assert_allclose(large["columns/kernel"][..., :8], small["columns/kernel"], atol=1e-6)
    np.testing.assert_allclose(large["logits/kernel"][8:], 0, atol=1e-6)
    assert "grows out of it: 3 of 4 variables are larger, 0 new" in capsys.readouterr().err


def test_a_run_begins_with_another_alphabet(tmp_path):
    """The digits' rows of a run that knew them stand in the network that knows letters, too."""
    train.train(SMALL, tmp_path / "digits", verbose=False)
    how = replace(
        SMALL,
        start=str(tmp_path / "digits"),
        options={**SMALL.options, "charset": "0123456789ab "},
        rate=1e-9,
        decay=0.0,
    )
    train.train(how, tmp_path / "more", verbose=False)
    old, new = (weights.read(tmp_path / name / "weights.safetensors") for name in ("digits", "more"))
    assert old["logits/kernel"].shape[1] == 11 and new["logits/kernel"].shape[1] == 14
    np.testing.assert_allclose(new["logits/kernel"][:, [*range(10), 13]], old["logits/kernel"], atol=1e-6)
    assert zoo.card(tmp_path / "more").options["charset"] == "0123456789ab "


def test_a_models_recipe_is_that_of_its_run_or_of_its_name(tmp_path):
    train.train(SMALL, tmp_path, verbose=False)
    assert transfer.recipe_of(str(tmp_path)) == SMALL
    assert transfer.recipe_of("db_resnet50").model == "db_resnet50"
    with pytest.raises(LookupError, match="no model is named"):
        transfer.recipe_of("nothing")


def test_characters_are_added_once_and_at_the_end(tmp_path):
    how = transfer.finetuning("crnn_mobilenet_v3_small", [tmp_path], characters="ř éřA")
    french = Charset("french").characters
    assert how.options["charset"] == french + "ř "
    apart = transfer.finetuning("crnn_mobilenet_v3_small", [tmp_path], characters="r\u030ce\u0301")  # as of a Mac
    assert apart.options["charset"] == french + "ř"


def test_characters_are_added_to_no_detector(tmp_path):
    with pytest.raises(
        ValueError, match="characters='ě': db_mobilenet_v3_large is for detection, which has no alphabet"
    ):
        transfer.finetuning("db_mobilenet_v3_large", [tmp_path], characters="ě")


def test_finetuning_learns_from_nothing_that_the_run_learnt_from(tmp_path):
    how = replace(SMALL, shards=("old",), few=10, adapt="teacher", target="pictures", teacher="large", sparsity=0.5)
    (tmp_path / "recipe.json").write_text(json.dumps({**asdict(how), "data": "/old"}))
    further = transfer.finetuning(str(tmp_path), [tmp_path / "mine"])
    assert (further.shards, further.few, further.adapt, further.target, further.teacher) == ((), 0, "", "", "")
    assert (
        transfer.recipe_of(str(tmp_path)) == how
        and further.sparsity == 0.5
        and further.real == (str(tmp_path / "mine"),)
    )


def test_a_pretrained_backbone_is_no_model_to_go_on_from(tmp_path):
    how = replace(SMALL, task="recipes.pretrain", adapt="masked")
    (tmp_path / "recipe.json").write_text(json.dumps(asdict(how)))
    with pytest.raises(ValueError, match="is a backbone alone; go on with zoo train RECIPE --run DIR --start"):
        transfer.finetuning(str(tmp_path), [tmp_path / "mine"])


def test_how_to_go_on_from_a_model_without_a_recipe_of_its_name_is_said(tmp_path):
    name = str(tmp_path / "mine")
    (tmp_path / "mine").mkdir()
    registry.write_card(zoo.card("unet_small"), tmp_path / "mine" / "card.toml")
    with pytest.raises(ValueError, match=rf"after 'mine'; .* --start {name}, RECIPE being one of segmentation"):
        transfer.finetuning(name, [tmp_path])


def test_finetuning_mixes_the_target_with_what_was_known(tmp_path):
    mine, theirs = (
        folders.write_words(tmp_path / name, seed, 40, "digits") for seed, name in enumerate(("mine", "theirs"))
    )
    how = replace(transfer.finetuning("crnn_mobilenet_v3_small", [mine], [theirs]), options=SMALL.options, few=5)
    assert how.start == "crnn_mobilenet_v3_small" and how.real == (str(mine.resolve()),) and how.patience
    task = recognition.Task(
        how, replace(zoo.card(how.model), options=zoo.card(how.model).options | SMALL.options), Path(".")
    )
    assert len(task.real["mine"]) == 5 and len(task.kept["theirs"]) > 20 and task.held and task.held_kept
    assert task.sources == ["synthetic words", "mine/train", "theirs/train"]
    known = {id(word): name for name in ("real", "kept") for words in getattr(task, name).values() for word in words}
    drawn = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recognition, "vary", lambda image, rng: drawn.append(id(image)) or image)
        for index in range(400):
            task.sample(index)
    images = {
        id(word.image): name for name in ("real", "kept") for words in getattr(task, name).values() for word in words
    }
    counts = [sum(images[image] == name for image in drawn) for name in ("real", "kept")]
    assert known and 160 < counts[0] < 240 and 70 < counts[1] < 130  # a half, and half of the rest


# ---------------------------------------------------------------- gains and losses


def test_an_interval_holds_no_change_for_equal_models():
    counts = np.array([(1, 1, 1), (0, 1, 1)] * 20)
    assert transfer.bootstrap(counts, counts) == (0.5, 0.5, 0.0, 0.0)


def test_an_interval_is_that_of_the_binomial():
    """40 of 200 words are read by the second model alone: the change has a standard error of sqrt(p q / n)."""
    before, after = np.array([(0, 1, 1)] * 200), np.array([(1, 1, 1)] * 40 + [(0, 1, 1)] * 160)
    score, better, low, high = transfer.bootstrap(before, after)
    error = (0.2 * 0.8 / 200) ** 0.5
    assert (score, better) == (0.0, 0.2)
    assert low == pytest.approx(0.2 - 1.96 * error, abs=0.012) and high == pytest.approx(0.2 + 1.96 * error, abs=0.012)


def test_a_line_counts_by_its_characters():
    """One of four characters is wrong in the first, one is missing and none is wrong in the second."""
    task = recognition.Task(SMALL, zoo.card(SMALL.model), None)
    samples = [Strip(np.zeros((4, 4, 3), "uint8"), text) for text in ("1234", "567")]
    found = task.tallies(lambda crops: [Reading("1239", 1, ()), Reading("56", 1, ())], samples)
    assert found[""].tolist() == [[0, 1, 1], [0, 1, 1]] and found["characters"].tolist() == [[3, 4, 4], [2, 2, 3]]


def test_a_page_counts_by_its_boxes():
    """Two pages: 3 of 4 found where 5 are true, and 0 of 1 where 1 is: 2 · 3 / (5 + 6)."""
    counts = np.array([(3, 4, 5), (0, 1, 1)])
    assert transfer.bootstrap(counts, counts)[0] == pytest.approx(6 / 11)
    nothing = np.zeros((3, 3), int)
    assert transfer.bootstrap(nothing, nothing)[:2] == (1.0, 1.0)


def test_a_finetuned_model_comes_with_a_report(tmp_path):
    mine = folders.write_words(tmp_path / "mine", 3, 40, "digits")
    train.train(SMALL, tmp_path / "start", verbose=False)
    with (mine / "labels.jsonl").open("a") as file:
        file.write(json.dumps({"image": "images/000000.png", "text": "letters", "split": "test"}))  # of no use
    theirs = folders.write_words(tmp_path / "theirs/mine", 4, 40, "digits")  # of the same name
    row = json.dumps({"image": "images/000000.png", "text": "12", "split": "test"})
    (theirs / "labels.jsonl").write_text((theirs / "labels.jsonl").read_text() + row)
    doctrs = tmp_path / "doctrs"  # without splits: all of it is learnt from
    doctrs.mkdir()
    (doctrs / "images").symlink_to(mine / "images")
    (doctrs / "labels.json").write_text('{"000001.png": "12", "000002.png": "34"}')
    how = transfer.finetuning(str(tmp_path / "start"), [mine, doctrs], [theirs])
    how = replace(how, steps=4, checkpoint_every=2, validate_every=2)
    text = transfer.finetune(how, tmp_path / "run", test=True, verbose=False)
    assert [line.split(" |")[0] for line in text.splitlines() if "/test" in line] == [
        "| theirs/mine/test", "| theirs/mine/test, characters"
    ]  # fmt: skip
    assert text == (tmp_path / "run/report.md").read_text()
    assert "# run, which began as start" in text and "| synthetic | 4 |" in text and "| real |" in text
    assert zoo.card(tmp_path / "run").weights["data"] == [
        "synthetic words", f"{tmp_path.name}/mine/train", "doctrs/train", "theirs/mine/train"
    ]  # fmt: skip
    changes = transfer.compare(str(tmp_path / "start"), tmp_path / "start")
    assert [(change.name, change.change) for change in changes] == [("synthetic", 0.0), ("synthetic, characters", 0.0)]
    assert registry.card(tmp_path / "run").options["charset"] == "digits"
