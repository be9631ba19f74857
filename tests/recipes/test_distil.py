"""A network that learns from another."""

from __future__ import annotations

import math
from dataclasses import replace

import keras
import numpy as np
import pytest

from recipes import distil, losses, optimizer, recipe, step, train
from recipes.recipe import Recipe
from recipes.spotting import task as spotting
from zoo import registry
from zoo.charset import Charset

HOW = Recipe(model="student", task="", rate=0.02, warmup=0, steps=200, ema=0, decay=0, teacher="teacher")


def small(channels: int, classes: int = 4) -> keras.Model:
    """(B, 8, 8, 3) → (B, 4, classes)."""
    image = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Conv2D(channels, 3, 2, "same", activation="relu", name="columns")(image)
    x = keras.layers.Reshape((4, -1))(x)
    return keras.Model(image, {"logits": keras.layers.Dense(classes, name="logits")(x)})


class Task:
    """Random pictures without a truth: whoever learns here learns from the teacher."""

    sources = ("pictures",)

    def batch(self, number: int):
        return np.random.default_rng(number).normal(size=(16, 8, 8, 3)).astype("float32"), {
            "y": np.zeros(16, "float32")
        }

    def loss(self, targets, outputs):
        return keras.ops.mean(outputs["logits"], (1, 2)) ** 2 + targets["y"]


@pytest.fixture
def teacher(monkeypatch) -> keras.Model:
    keras.utils.set_random_seed(1)
    network = small(8)
    monkeypatch.setattr(registry, "load", lambda name: network)
    return network


# ---------------------------------------------------------------- losses


def test_distillation_by_hand():
    """p = (1/4, 3/4), q = (1/2, 1/2): 1/4 · ln 1/2 + 3/4 · ln 3/2; of two steps of which one agrees, half."""
    teacher, logits = np.array([[[0, np.log(3)], [1, 2]]], "float32"), np.array([[[0, 0], [1, 2]]], "float32")
    value = np.asarray(losses.distillation(teacher, logits))
    np.testing.assert_allclose(value, [(0.25 * np.log(0.5) + 0.75 * np.log(1.5)) / 2], rtol=1e-5)


def test_a_single_logit_is_one_class_of_two():
    """As above, of maps (B, H, W, 1): a teacher's ln 1/3 is 1/4, a student's 0 a half."""
    teacher, logits = np.full((1, 2, 3, 1), -np.log(3), "float32"), np.zeros((1, 2, 3, 1), "float32")
    value = np.asarray(losses.distillation(teacher, logits))
    np.testing.assert_allclose(value, [0.25 * np.log(0.5) + 0.75 * np.log(1.5)], rtol=1e-5)


def test_distillation_keeps_its_height_at_high_temperatures():
    """For τ → ∞ it is the variance of the logits' differences over 2 K (section 2.1 of the paper)."""
    rng = np.random.default_rng(0)
    teacher, logits = rng.normal(size=(2, 1, 5, 7)).astype("float32")
    difference = (teacher - teacher.mean(-1, keepdims=True)) - (logits - logits.mean(-1, keepdims=True))
    wanted = (difference**2).sum(-1).mean(-1) / (2 * 7)
    np.testing.assert_allclose(np.asarray(losses.distillation(teacher, logits, 300.0)), wanted, rtol=2e-2)


def test_similarity_by_hand():
    """Two samples that are one to the teacher, and nothing alike to the student: rows (1, 1)/√2 and (1, 0)."""
    same, apart = np.array([[1, 0], [1, 0]], "float32"), np.array([[1, 0, 0], [0, 1, 0]], "float32")
    a = 1 / np.sqrt(2)
    wanted = [((a - 1) ** 2 + a**2) / 2] * 2
    np.testing.assert_allclose(np.asarray(losses.similarity(same, apart)), wanted, rtol=1e-5)
    np.testing.assert_allclose(np.asarray(losses.similarity(apart, 7 * apart[:, [1, 2, 0]])), [0, 0], atol=1e-6)


# ---------------------------------------------------------------- learning


def learn(how: Recipe, network: keras.Model, steps: int) -> None:
    adam = optimizer.make(how, network)
    learner, task = distil.prepare(how, network, Task())
    list(step.make(learner, task.loss, adam, step.devices()).losses(task, 0, steps))


@pytest.mark.parametrize("alike", [0.0, 0.5])
def test_a_student_comes_to_answer_as_its_teacher(teacher, alike):
    keras.utils.set_random_seed(2)
    student, before = small(6), [np.asarray(v).copy() for v in teacher.weights]
    pixels = Task().batch(999)[0]
    wanted = np.asarray(teacher(pixels)["logits"])

    def distance() -> float:
        return float(np.mean(np.asarray(losses.distillation(wanted, np.asarray(student(pixels)["logits"])))))

    start = distance()
    learn(replace(HOW, teacher_share=1.0, alike=alike), student, 150)
    assert distance() < 0.25 * start
    for variable, value in zip(teacher.weights, before, strict=True):
        np.testing.assert_array_equal(np.asarray(variable), value)
    assert set(student.output) == {"logits"}


def test_a_task_with_a_teacher_is_still_the_task(teacher):
    network, task = distil.prepare(HOW, small(6), Task())
    assert task.sources == ("pictures",) and set(network.output) == {"logits"}
    pixels, targets = task.batch(3)
    assert targets["image"] is pixels and set(targets) == {"y", "image"}
    plain, own = distil.prepare(replace(HOW, teacher=""), network, Task())
    assert plain is network and isinstance(own, Task)


def test_a_task_whose_loss_has_parts_asks_a_teacher_too(teacher):
    """As that of tables has; the sum counts."""
    network, plain = distil.prepare(HOW, small(6), Task())
    _, parted = distil.prepare(HOW, small(6), Task())
    loss = parted.task.loss
    parted.task.loss = lambda targets, outputs: {name: 0.5 * loss(targets, outputs) for name in ("cls", "iou")}
    pixels = np.random.default_rng(0).normal(size=(3, 8, 8, 3)).astype("float32")
    targets, outputs = {"image": pixels, "y": np.zeros(3, "float32")}, network(pixels)
    np.testing.assert_allclose(*(np.asarray(task.loss(targets, outputs)) for task in (parted, plain)), rtol=1e-6)


def test_a_teacher_of_another_alphabet_is_refused(teacher):
    with pytest.raises(ValueError, match="teacher=teacher: it has 4 classes and student 5"):
        distil.prepare(HOW, small(6, 5), Task())


def test_a_teacher_of_as_many_other_characters_is_refused(teacher, monkeypatch):
    """What it calls a "b" is another's "c": the number of classes does not tell."""
    known = replace(registry.card("crnn_mobilenet_v3_small"), options={"charset": "abc"})
    monkeypatch.setattr(registry, "card", lambda name: known)
    task = Task()
    task.charset = Charset("abc")
    assert distil.prepare(HOW, small(6), task)[1].teacher is teacher
    task.charset = Charset("acb")
    with pytest.raises(ValueError, match="teacher=teacher: its classes are of another alphabet than those of student"):
        distil.prepare(HOW, small(6), task)


def test_a_teacher_of_other_steps_or_pictures_is_refused(teacher, monkeypatch):
    """Steps of a strip, or a map of another stride: the number of classes does not tell these either."""
    image = keras.Input((None, None, 3), name="image")
    fine, coarse = (
        keras.Model(image, {"logits": keras.layers.Conv2D(1, 3, stride, "same", name="logits")(image)})
        for stride in (1, 4)
    )
    monkeypatch.setattr(registry, "load", lambda name: coarse)
    how = replace(HOW, task="recipes.detection.task", size=(64, 96), teacher="db_resnet50")
    with pytest.raises(
        ValueError, match=r"of pictures of 64 × 96 it makes logits \(16, 24, 1\) and student \(64, 96, 1\)"
    ):
        distil.prepare(how, fine, Task())
    assert distil.prepare(how, coarse, Task())[1].teacher is coarse
    monkeypatch.setattr(registry, "load", lambda name: small(8, 1))
    with pytest.raises(ValueError, match="teacher=db_resnet50: of pictures of 64 × 96 it makes nothing"):
        distil.prepare(how, fine, Task())


@pytest.fixture
def spotter(tmp_path) -> tuple[Recipe, keras.Model, spotting.Task]:
    """A small spotter, its recipe and its task, whose crops are synthetic."""
    card = registry.card("ocrnet_mobilenet_v3_large")
    options = card.options | card.test_options | {"classes": 6}
    how = Recipe(model=card.name, task="recipes.spotting.task", batch=2, size=(64, 96), widest=32, options=options,
                 teacher="db_mobilenet_v3_large", teacher_share=0.9)  # fmt: skip
    network = registry.build(card.name, **options)
    return how, network, spotting.Task(how, replace(card, options=options), None)


def test_a_spotter_asks_a_detector_where_text_is(spotter):
    """That it has an alphabet and the teacher has none does not matter; its features are compared as they are."""
    how, network, task = spotter
    learner, asking = distil.prepare(replace(how, alike=0.5), network, task)
    pixels, targets = asking.batch(0)
    outputs = learner({"image": pixels, "words": targets["words"], "columns": targets["columns"]})
    known = asking.teacher(pixels, training=False)
    assert known["logits"].shape == outputs["logits"].shape and set(outputs) == set(network.output)
    wanted = (
        0.1 * sum(spotting.weighted(targets, outputs).values())
        + 0.9 * losses.distillation(known["logits"], outputs["logits"], how.soften)
        + 0.5 * losses.similarity(known["features"], outputs["features"])
    )
    np.testing.assert_allclose(np.asarray(asking.loss(targets, outputs)), np.asarray(wanted), rtol=1e-5)


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        ("crnn_mobilenet_v3_small.european", "it is for recognition; give a model for detection"),
        ("ocrnet_resnet50", "it is for spotting; give a model for detection"),
        ("craft_vgg16_bn", "it has 2 classes and ocrnet_mobilenet_v3_large 1"),
        ("east_resnet50", r"it makes logits \(16, 24, 1\) and ocrnet_mobilenet_v3_large \(64, 96, 1\)"),
    ],
)
def test_a_spotter_asks_nothing_but_a_detector_with_such_a_map(spotter, monkeypatch, teacher, message):
    how, network, task = spotter
    monkeypatch.setattr(registry, "load", registry.build)
    with pytest.raises(ValueError, match=f"teacher={teacher}: .*{message}"):
        distil.prepare(replace(how, teacher=teacher), network, task)


@pytest.mark.parametrize(
    ("name", "teacher", "message"),
    [
        ("recognition.crnn_mobilenet_v3_small", "parseq",
         "teacher=parseq: its logits become text by attention and those of crnn_mobilenet_v3_small by ctc.*; give a"),
        ("recognition.vitstr_small", "crnn_vgg16_bn",
         "teacher=crnn_vgg16_bn: its logits become text by ctc and those of vitstr_small by attention"),
        ("recognition.crnn_mobilenet_v3_small", "ocrnet_resnet50",
         "teacher=ocrnet_resnet50: it is for spotting; give a model for recognition"),
        ("detection.db_resnet50", "crnn_vgg16_bn",
         "teacher=crnn_vgg16_bn: it is for recognition; give a model for detection"),
    ],
)  # fmt: skip
def test_a_teacher_of_another_kind_is_refused_before_it_is_loaded(monkeypatch, name, teacher, message):
    monkeypatch.setattr(registry, "load", None)
    how = replace(recipe.find(name), teacher=teacher, real=())
    task = train.make_task(how, registry.card(how.model), None)
    with pytest.raises(ValueError, match=message):
        distil.prepare(how, small(6), task)


def test_a_teacher_with_other_steps_is_refused(teacher, monkeypatch):
    """As of a training graph that reads in several orders."""
    image = keras.Input((8, 8, 3))
    for shape in ((2, 4, 4), (5, 4)):
        x = keras.layers.Reshape(shape)(keras.layers.Dense(math.prod(shape))(keras.layers.Flatten()(image)))
        with pytest.raises(
            ValueError, match=r"of pictures of 8 × 8 it makes logits \(4, 4\) and student \(.*must be of one shape"
        ):
            distil.prepare(HOW, keras.Model(image, {"logits": x}), Task())
