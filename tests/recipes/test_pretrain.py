"""Pretraining: its losses by hand, its pictures, and that a backbone learns what pictures without labels can teach."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops
from safetensors.numpy import load_file

from recipes import beside, optimizer, pretrain, recipe, step, train
from recipes.recipe import Recipe
from zoo import registry

LINES = Recipe(
    model="crnn_mobilenet_v3_small", task="recipes.pretrain", adapt="contrastive",
    options={"features": "mobilenet_v3_test_r", "charset": "digits", "units": 8},
    batch=8, steps=2, rate=1e-2, warmup=0, ema=0.9, longest=4, widest=64, windows=2,
    checkpoint_every=1, validate_every=2, validation=8,
)  # fmt: skip


# ---------------------------------------------------------------- losses


def test_contrast_by_hand():
    """Unit vectors a, b at a right angle, c = a turned by 60°: pairs (a, a) and (b, c) with τ = 1/2."""
    a, b, c = [1, 0], [0, 1], [0.5, np.sqrt(3) / 2]
    one, other = np.array([a, b], "float32"), np.array([np.array(a) * 3, c], "float32")  # lengths do not count
    e = lambda x, y: np.exp(2 * np.dot(x, y))  # noqa: E731
    first = [-np.log(e(a, a) / (e(a, b) + e(a, a) + e(a, c)))] * 2
    second = [-np.log(e(b, c) / (e(b, a) + e(b, a) + e(b, c))), -np.log(e(c, b) / (e(c, a) + e(c, b) + e(c, a)))]
    found = np.asarray(pretrain.contrast(one, other, 0.5))
    np.testing.assert_allclose(found, [np.mean(first), np.mean(second)], rtol=1e-5)


def test_windows_are_means_of_equal_stretches():
    steps = np.arange(10, dtype="float32").reshape(1, 5, 2)
    np.testing.assert_allclose(np.asarray(pretrain.windows(steps, 5)), steps, rtol=1e-6)
    found = np.asarray(pretrain.windows(steps, 2))[0, :, 0]  # steps 0, 1, 2 and 2, 3, 4, each twice its number
    np.testing.assert_allclose(found, [2, 6])
    np.testing.assert_allclose(np.asarray(pretrain.windows(steps, 1))[0, 0], [4, 5])


def test_the_error_of_what_is_hidden_is_that_of_hidden_pixels():
    truth = np.zeros((1, 2, 2, 3), "float32")
    found = np.array([[[[1, 1, 1], [9, 9, 9]], [[0, 3, 0], [9, 9, 9]]]], "float32")
    hidden = np.array([[[1, 0], [1, 0]]], "float32")
    assert float(pretrain.hidden_error(found, truth, hidden)[0]) == 1.0
    assert float(pretrain.hidden_error(found, truth, 0 * hidden)[0]) == 0.0


# ---------------------------------------------------------------- pictures


def test_patches_are_hidden_whole():
    mask = pretrain.hide(np.zeros((32, 100, 3), "uint8"), (16, 8), 0.5, np.random.default_rng(0))
    assert mask.shape == (32, 100) and set(np.unique(mask)) == {0, 1}
    cells = mask[:, :96].reshape(2, 16, 12, 8).transpose(0, 2, 1, 3).reshape(24, -1)
    assert (cells.min(1) == cells.max(1)).all()
    assert 11 <= cells[:, 0].sum() + mask[0, 96] + mask[16, 96] <= 13


def test_a_second_view_of_a_strip_keeps_places_along_the_line():
    strip = np.zeros((32, 128, 3), "uint8")
    strip[:, 64:] = 200
    for seed in range(20):
        view = pretrain.seen_again(strip, np.random.default_rng(seed), True).astype(float)
        assert view.shape == strip.shape
        left, right = view[:, 8:56].mean(), view[:, 72:120].mean()
        assert abs(left - right) > 40, seed
    page = pretrain.seen_again(np.zeros((64, 96, 3), "uint8"), np.random.default_rng(0), False)
    assert page.shape == (64, 96, 3) and page.dtype == np.uint8


# ---------------------------------------------------------------- learning


def stripes(rng: np.random.Generator, count: int) -> np.ndarray:
    """(count, 32, 32, 3) uint8 whose columns have a brightness each: what is hidden is what stands above or below."""
    return np.repeat(rng.integers(0, 256, (count, 1, 4, 3)), 8, 2).repeat(32, 1).astype("uint8")


class Base:
    """The task of a model that stripes are shown."""

    sources = ("stripes",)
    shape = (16, 32, 32, 3)

    def __init__(self, *given):
        pass

    def batch(self, number: int):
        return stripes(np.random.default_rng(number), 16), {}


@pytest.fixture
def striped(monkeypatch):
    """Pretraining of a backbone of two layers on stripes, none of them degraded."""
    monkeypatch.setattr("recipes.recognition.task.make", Base)
    monkeypatch.setattr(beside, "trunk", lambda network, card: network.get_layer("end").output)
    monkeypatch.setattr(pretrain.augment, "degrade", lambda picture, rng, strength: picture)


def backbone() -> keras.Model:
    """(B, 32, 32, 3) → (B, 2, 4, 32): places of 16 × 8 pixels that see the whole height."""
    image = keras.Input((32, 32, 3), name="image")
    x = keras.layers.Rescaling(1 / 127.5, -1)(image)
    x = keras.layers.Conv2D(64, (16, 8), (16, 8), activation="relu", name="start")(x)
    x = keras.layers.Conv2D(32, (3, 1), padding="same", activation="relu", name="end")(x)
    return keras.Model(image, {"logits": x}, name="stripes")


def taught(how: Recipe, steps: int) -> tuple[pretrain.Task, float, float]:
    """The task after so many steps, and the loss on other pictures before and after."""
    keras.utils.set_random_seed(0)
    task = pretrain.make(how, registry.card(how.model), None)
    network = task.part(backbone())
    learner = task.learner(network)
    adam = optimizer.make(how, learner)
    before = task.validate(network, Path())["unlabelled_loss"]
    doer = step.make(learner, task.loss, adam, step.devices())
    list(doer.losses(task, 0, steps))
    doer.sync()
    return task, before, task.validate(network, Path())["unlabelled_loss"]


@pytest.fixture(autouse=True)
def _undrawn(monkeypatch):
    monkeypatch.setattr(pretrain.plots, "words", lambda *given: None)
    monkeypatch.setattr(train.plots, "curves", lambda *given: None)


@pytest.mark.slow
def test_hidden_stripes_are_told_by_what_is_above_and_below(striped):
    """One patch of each two is hidden: whoever looks at the other row knows it; whoever does not errs by a half."""
    how = replace(
        LINES, adapt="masked", patch=(16, 8), hidden=0.25, batch=16, rate=3e-3, steps=400, ema=0, validation=64
    )
    _, before, after = taught(how, 400)
    assert after < 0.25 < 0.45 < before


@pytest.mark.slow
def test_views_of_one_picture_become_alike(striped):
    how = replace(LINES, batch=16, rate=3e-3, steps=120, ema=0, validation=64, windows=1)
    task, before, after = taught(how, 120)
    assert after < 0.6 * before
    pictures, arrays = task.batch(10**6)
    outputs = task.whole({"image": pictures, **{name: arrays[name] for name in task.told}}, training=False)
    one, other = (np.asarray(ops.normalize(outputs[name], axis=-1)) for name in ("one", "other"))
    assert np.mean((one @ other.T).argmax(1) == np.arange(16)) > 0.7


def test_a_vision_transformer_fills_in_patches():
    """Cells of a ViT are its patches, in rows, without the first place; those of a CRNN are as large as its strides."""
    card = replace(registry.card("vitstr_small"), options={"features": "vit_test", "charset": "digits", "longest": 8})
    network = registry.build("vitstr_small", **card.options)
    trunk = keras.Model(network.input, {beside.FEATURES: beside.trunk(network, card)})
    assert trunk.output[beside.FEATURES].shape == (None, 129, 16)
    how = replace(LINES, model="vitstr_small", adapt="masked")
    lesson = pretrain.Masked(how, card, trunk)
    assert lesson.cell == (4, 8)
    seen = np.random.default_rng(0).integers(0, 256, (2, 32, 128, 3)).astype("uint8")
    arrays = lesson.arrays(0, seen, seen)
    lesson.pixels.kernel.assign(0 * lesson.pixels.kernel)
    lesson.pixels.bias.assign(np.full(96, 0.5, "float32"))
    features = trunk(arrays["masked"])
    error = np.asarray(lesson.answers(trunk, arrays, {}, [features])["error"])
    truth, mask = seen / 127.5 - 1, arrays["mask"].astype(bool)
    np.testing.assert_allclose(error, [np.abs(t - 0.5)[m].mean() for t, m in zip(truth, mask, strict=True)], rtol=1e-5)
    contrastive = pretrain.Contrastive(replace(how, windows=16), card, trunk)
    instances = np.asarray(contrastive._instances(features[beside.FEATURES]))  # one for each column of patches
    wanted = np.asarray(features[beside.FEATURES])[:, 1:].reshape(2, 8, 16, 16).mean(1).reshape(32, 16)
    np.testing.assert_allclose(instances, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["contrastive", "masked"])
def test_a_run_begins_with_a_backbone_that_was_pretrained(tmp_path, name, capsys):
    """The run's weights are those of the backbone alone; it goes on after a stop; a recognizer starts with them."""
    how = replace(LINES, adapt=name)
    train.train(replace(how, steps=2), tmp_path / "before", verbose=False)
    stored = load_file(tmp_path / "before/weights.safetensors")
    assert stored and not any(key.startswith(("recurrent", "logits", "lesson")) for key in stored)
    assert registry.card(tmp_path / "before").weights["data"] == ["synthetic words without labels"]
    after = replace(
        LINES, task="recipes.recognition.task", adapt="", start=str(tmp_path / "before"), options={**LINES.options},
    )  # fmt: skip
    network = train.assemble(after).network
    assert "begin at random" in capsys.readouterr().err
    own = {variable.path: np.asarray(variable) for variable in network.weights}
    assert {path.partition("/")[0].partition("_")[0] for path in own.keys() - stored.keys()} == {
        "recurrent1",
        "recurrent2",
        "logits",
    }
    for key, value in stored.items():
        np.testing.assert_array_equal(own[key], value)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["contrastive", "masked"])
def test_it_runs_beside_labels_too(tmp_path, name):
    from recipes.data import folders

    folders.write_words(tmp_path / "theirs", 5, 12, "digits", 4)
    how = replace(LINES, task="recipes.recognition.task", adapt=name, target="theirs", adapt_weight=0.5)
    parts = train.assemble(how, tmp_path)
    losses = list(parts.step.losses(parts.task, 0, 2))
    assert np.isfinite(losses).all()
    assert {v.path for v in parts.step.network.trainable_variables} > {
        v.path for v in parts.network.trainable_variables
    }


def test_a_lesson_is_told_of_pictures_from_other_processes_and_through_layers(monkeypatch):
    """The other process knows the task alone, without a learner; a layer makes all it draws black."""

    class Other:
        def __init__(self, how, card, data, count, grouped):
            assert (count, grouped) == (2, 16)  # a group of steps is drawn by one process
            self.batch = pretrain.make(how, card, data).batch

    monkeypatch.setattr(train, "Workers", Other)
    how = replace(LINES, adapt="masked")
    plain, helped = train.assemble(how), train.assemble(how, workers=2)
    (pixels, told), (expected, wanted) = helped.task.batch(3), plain.task.batch(3)
    np.testing.assert_array_equal(pixels, expected)
    assert told.keys() == wanted.keys() == {"masked", "unlabelled", "mask"}
    for name, values in wanted.items():
        np.testing.assert_array_equal(told[name], values)
    black = train.assemble(replace(how, layers=({"class": "keras.layers:Rescaling", "scale": 0.0},)))
    _, told = black.task.batch(3)
    assert not told["unlabelled"].any() and set(np.unique(told["masked"])) == {0, pretrain.HIDDEN}


def test_recipes_of_pretraining_are_listed_and_refuse_what_needs_labels():
    named = [name for name in recipe.names() if name.startswith("pretraining.")]
    assert {recipe.find(name).adapt for name in named} == {"contrastive", "masked"}
    for name in named:
        assert recipe.find(name).task == "recipes.pretrain"
    with pytest.raises(ValueError, match="adapt=mmd: pretraining is contrastive or masked"):
        pretrain.make(replace(LINES, adapt="mmd"), registry.card(LINES.model), None)
    for unheard in ({"teacher": "crnn_vgg16_bn"}, {"bits": 8}):
        with pytest.raises(ValueError, match="a backbone is pretrained by itself; take (teacher|bits)= out"):
            pretrain.make(replace(LINES, adapt="masked", **unheard), registry.card(LINES.model), None)
    with pytest.raises(ValueError, match="lenet5 is for classification"):
        pretrain.make(replace(LINES, model="lenet5"), registry.card("lenet5"), None)
