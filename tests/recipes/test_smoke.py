"""Every recipe, at its card's test options: the loss of one batch falls, a checkpoint gives back what it kept.

By default one recipe of each task; `python -m pytest tests/recipes/test_smoke.py -m ""` for all.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import zoo
from recipes import recipe, train
from recipes.data.documents import LABELS
from recipes.data.pipeline import cached
from recipes.recipe import Recipe
from recipes.segmentation.targets import NAMES
from serving import export
from zoo import decoding, registry, runtime

STEPS = 10
QUICK = {
    "classification.lenet5", "detection.linknet_resnet18", "recognition.crnn_resnet34", "segmentation.unet",
}  # fmt: skip
RATES = {"layout": 1e-2}  # where another than that of `SMALL` is seen to learn in so few steps
EXPORTED = [
    "classification.mobilenet_v3_small", "detection.db_mobilenet_v3_large", "recognition.crnn_mobilenet_v3_small",
    "segmentation.unet",
]  # fmt: skip
# What a recipe changes beside its card's test options.
SMALL = {
    "batch": 2, "steps": 1000, "size": (128, 128), "real": (), "longest": 4, "widest": 64, "easy": 1000, "rate": 3e-3,
    "warmup": 1, "ema": 0.9, "validation": 3,
}  # fmt: skip


def small(card: registry.Card) -> registry.Card:
    """The card at its test options, with as many names of classes as its network then has."""
    reading = dict(card.reading)
    count = card.test_options.get("classes", 0)
    if "charset" in reading:
        reading["charset"] = "0123456789"[:count]
    if "angles" in reading:
        reading["angles"] = [90 * turn for turn in range(count)]
    if "labels" in reading:
        reading["labels"] = list((LABELS if card.task == "layout" else NAMES)[:count])
    if card.task in ("classification", "layout"):
        reading["size"] = card.test_options.get("image_size", [64, 64])
    if card.task == "detection":
        reading |= {"size": [128, 128], "multiple": 128}
    return replace(card, options=card.options | card.test_options, reading=reading)


@pytest.fixture
def how(request, monkeypatch) -> Recipe:
    """The recipe of a name, of a small network, every batch of which is the first."""
    found = recipe.find(request.param)
    card_of, task_of = registry.card, train.make_task
    monkeypatch.setattr(registry, "card", lambda name: small(card_of(name)) if name == found.model else card_of(name))

    def fixed(*args):
        task = task_of(*args)
        first = cached(task.batch, 1)  # when it is asked for: a task for pretraining makes none before its lesson
        task.batch = lambda step: first(0)
        return task

    monkeypatch.setattr(train, "make_task", fixed)
    rate = RATES.get(card_of(found.model).task, SMALL["rate"])
    return replace(found, **SMALL | {"rate": rate})


def marked(names: list[str], quick: set[str]) -> list:
    return [pytest.param(name, marks=() if name in quick else pytest.mark.slow) for name in names]


@pytest.mark.parametrize("how", marked(recipe.names(), QUICK), indirect=True)
def test_the_loss_falls_and_a_checkpoint_gives_back_what_it_kept(how, tmp_path):
    parts = train.assemble(how)
    losses = list(parts.step.losses(parts.task, 0, STEPS))
    assert np.isfinite(losses).all(), losses
    assert np.mean(losses[-3:]) < losses[0], losses

    checkpoint = train.Checkpoint(tmp_path / "checkpoint.safetensors", parts.step.network, parts.optimizer)
    parts.step.sync()
    checkpoint.save(STEPS, 0.5)
    kept = {variable.path: np.asarray(variable) for variable in parts.network.weights}
    further = list(parts.step.losses(parts.task, STEPS, STEPS + 2))
    parts.step.sync()
    assert any((np.asarray(variable) != kept[variable.path]).any() for variable in parts.network.weights)
    assert checkpoint.restore() == (STEPS, 0.5)
    for variable in parts.network.weights:
        np.testing.assert_array_equal(np.asarray(variable), kept[variable.path])
    np.testing.assert_allclose(list(parts.step.losses(parts.task, STEPS, STEPS + 2)), further, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("how", EXPORTED, indirect=True)
def test_what_was_trained_is_what_is_exported(how, tmp_path):
    """A run's network, its ONNX file and its SavedModel answer alike."""
    import tensorflow as tf

    run = train.train(replace(how, steps=2, checkpoint_every=2, validate_every=2), tmp_path / "run", verbose=False)
    assert (run / "report.html").is_file()
    card = zoo.card(run)
    widths = card.reading.get("widths", [64])
    size = {"recognition": (32, widths[0]), "classification": tuple(card.reading.get("size", ()))}.get(
        card.task, (128, 128)
    )
    pixels = np.random.default_rng(0).integers(0, 256, (1, *size, 3)).astype("uint8")
    names = decoding.needed(card.reading) if card.task == "detection" else runtime.LOGITS
    expected = runtime.in_process(zoo.load(run), names)(pixels)
    written = runtime.connect(run, "onnxruntime")(pixels)
    served = tf.saved_model.load(str(export.export(run, tmp_path / "models"))).signatures["pixels"]
    answers = served(**{next(iter(served.structured_input_signature[1])): tf.constant(pixels)})
    for key, value in expected.items():
        scale = np.abs(value).max()
        np.testing.assert_allclose(written[key], value, rtol=1e-4, atol=1e-5 * scale)
        np.testing.assert_allclose(answers[key].numpy(), value, rtol=1e-4, atol=1e-5 * scale)
