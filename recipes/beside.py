"""Lessons: what pictures without labels teach a network, beside labelled ones.

    zoo train recognition.crnn_mobilenet_v3_small --run runs/receipts --data DATA --set adapt=mmd target=receipts

    mmd, adversarial, teacher    draw two domains together, or learn from one's own answers: `recipes.adapt`
    contrastive, masked          tell pictures apart, or fill in what was hidden: `recipes.pretrain`

    the task's pictures ──┐                            ┌─► outputs, features ─► the task's loss
                          ├─► network, once for all ───┤                        + adapt_weight · the lesson's
    further pictures ─────┘                            └─► outputs, features ─► the lesson

All pictures go through the network as one batch, so that batch normalization sees what it will see when both are read.
A lesson's variables are the learner's: the optimizer, checkpoints and devices treat them as any others; the network's
weights are saved without them.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from recipes import losses
from recipes.data import datasets
from recipes.data.pipeline import Batch
from recipes.recipe import Recipe
from zoo import image as images
from zoo.backbones import BACKBONES, backbone
from zoo.registry import Card

LESSONS = {
    "mmd": "recipes.adapt:Discrepancy",
    "adversarial": "recipes.adapt:Adversary",
    "teacher": "recipes.adapt:Teacher",
    "contrastive": "recipes.pretrain:Contrastive",
    "masked": "recipes.pretrain:Masked",
}
FEATURES = "trunk"  # the output that is added to a network: what its backbone ends in

VIT_END = "block_norm"  # the last layer of `zoo.backbones.vit`


class Lesson(keras.layers.Layer):
    """What pictures without labels teach; a layer only in that it may hold variables.

    Attributes:
        pictures: names of the arrays (B, H, W, 3) that go through the network with the task's pictures.
        told: names of further arrays that the lesson is told.
        reads_features: whether it looks at what the backbone ends in.
        compares: whether it compares the pictures of a device's part of the batch with each other.
    """

    pictures: tuple[str, ...] = ()
    told: tuple[str, ...] = ()
    reads_features = True
    compares = False

    def __init__(self, recipe: Recipe, card: Card, network: keras.Model):
        super().__init__(name="lesson")
        self.recipe, self.card = recipe, card
        self.built = True

    def arrays(self, step: int, pixels: np.ndarray, unlabelled: np.ndarray) -> dict[str, np.ndarray]:
        """What `pictures` and `told` name, in plain NumPy.

        Args:
            step: number of the step.
            pixels: the task's pictures.
            unlabelled: those of the target, of the same shape.
        """
        raise NotImplementedError

    def answers(self, network: keras.Model, given: dict, ours: dict, others: list[dict]) -> dict:
        """Further outputs of the learner.

        Args:
            network: the one that learns.
            given: all that the learner was given, by name.
            ours: the network's outputs for the task's pictures, features among them.
            others: those for each of `pictures`.
        """
        raise NotImplementedError

    def loss(self, outputs: dict):
        """(B,) or a scalar, of what `answers` gave."""
        raise NotImplementedError

    def rng(self, step: int) -> np.random.Generator:
        """Draws for a step, other than the task's."""
        return np.random.default_rng((self.recipe.seed, 6, step))


class Learner(keras.Model):
    """A network and a lesson: from {"image", …} to the network's outputs for "image" and the lesson's answers."""

    def __init__(self, network: keras.Model, lesson: Lesson):
        super().__init__(name=network.name, dtype="float32")  # a lesson's averages, whatever the network computes in
        self.network, self.lesson = network, lesson
        self.built = True

    def call(self, inputs, training=None):
        pictures = [inputs["image"], *(inputs[name] for name in self.lesson.pictures)]
        outputs = self.network(ops.concatenate(pictures, 0), training=training)
        rows = ops.shape(inputs["image"])[0]
        ours, *others = (
            {key: value[part * rows : (part + 1) * rows] for key, value in outputs.items()}
            for part in range(len(pictures))
        )
        return ours | self.lesson.answers(self.network, inputs, ours, others)


class Taught:
    """A task with a lesson beside it; all else is the task's own."""

    def __init__(self, task: Any, lesson: Lesson, draw: Any):
        self.task, self.lesson, self.draw = task, lesson, draw
        self.told = (*lesson.pictures, *lesson.told)
        self.sources = [*task.sources, f"{Path(lesson.recipe.target).name} without labels"]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)

    def batch(self, step: int) -> Batch:
        """The task's batch, and what the lesson looks at among the targets."""
        pixels, targets = self.task.batch(step)
        unlabelled = self.draw(np.random.default_rng((self.lesson.recipe.seed, 7, step)), pixels.shape)
        return pixels, {**targets, **self.lesson.arrays(step, pixels, unlabelled)}

    def loss(self, targets: dict, outputs: dict):
        """(B,): L_task + w · L_lesson."""
        taught = self.lesson.recipe.adapt_weight * self.lesson.loss(outputs)
        return losses.whole(self.task.loss(targets, outputs)) + taught


def prepare(recipe: Recipe, card: Card, network: keras.Model, task: Any, data: Path | None) -> tuple[keras.Model, Any]:
    """The learner and the task with the recipe's lesson; both as they are where it has none.

    Raises:
        ValueError: there is no such lesson, or none for the target; the target holds no pictures, or the network cannot
            be taught by them.
    """
    if not recipe.adapt and recipe.target:
        raise ValueError(
            f"target={recipe.target} is looked at by a lesson alone: give one of {', '.join(LESSONS)} as adapt="
        )
    if not recipe.adapt:
        return network, task
    kind = lesson(recipe.adapt)
    if not hasattr(task, "unlabelled"):
        raise ValueError(
            f"adapt={recipe.adapt}: lessons are for detection and recognition; {recipe.model} is for {card.task}; take "
            "adapt= out"
        )
    if isinstance(network.input, dict):
        raise ValueError(f"adapt={recipe.adapt}: {recipe.model} learns from more than the picture; take adapt= out")
    if not recipe.target:
        raise ValueError(f"adapt={recipe.adapt} takes pictures without labels: give their folder by --set target=DIR")
    draw = task.unlabelled(pictures(data, recipe.target))  # all: `few` is of labels
    if kind.reads_features:
        network = with_features(network, card)
    taught = kind(recipe, card, network)
    return Learner(network, taught), Taught(task, taught, draw)


def lesson(name: str) -> type[Lesson]:
    """The lesson of a name.

    Raises:
        ValueError: there is none.
    """
    if name not in LESSONS:
        raise ValueError(f"adapt={name}: there are {', '.join(LESSONS)}")
    module, _, kind = LESSONS[name].partition(":")
    return getattr(importlib.import_module(module), kind)


def with_features(network: keras.Model, card: Card) -> keras.Model:
    """The network with what its backbone ends in as a further output."""
    return keras.Model(network.input, {**network.output, FEATURES: trunk(network, card)}, name=network.name)


def pictures(data: Path | None, target: str, few: int = 0) -> list[Path]:
    """The files of a folder of pictures, or those that the labels of a data set name for training; texts are not read.

    Args:
        data: folder that holds the target, unless that is a path.
        target: name or path.
        few: so many of them at most, in equal steps; 0 is all.

    Raises:
        ValueError: there are none, or no such folder.
    """
    folder = Path(data or ".") / target
    if not folder.is_dir():
        raise ValueError(f"target={target}: there is no folder {folder}; it is under --data, or a path")
    found = _labelled(folder)
    if found is None:
        found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in images.SUFFIXES)
        if not found:
            raise ValueError(f"target={target}: {folder} holds no pictures; give a folder of them, or a data set")
    if not found:
        raise ValueError(
            f"target={target}: {folder} names no picture of `train` that is not held out; give a folder of pictures "
            "alone, or another data set"
        )
    few = min(few or len(found), len(found))
    return [found[index * len(found) // few] for index in range(few)]


def _labelled(folder: Path) -> list[Path] | None:
    """The pictures that the labels of a folder name for training; None where there are no labels."""
    try:
        return [entry.path for entry in datasets.halves(datasets.read(folder))[0]]
    except FileNotFoundError:
        return None
    except ValueError:
        if any((folder / name).is_file() for name in ("labels.jsonl", "labels.json")):
            raise
        return None  # a text beside pictures, and no label file of PaddleOCR


def trunk(network: keras.Model, card: Card):
    """What a network's backbone ends in: (B, H, W, C), or (B, S, C) of one that reads sequences of patches.

    Raises:
        ValueError: the network has no backbone that could be told from the rest.
    """
    features = card.options.get("features")
    if features in BACKBONES:
        last = backbone(features, keras.Input((64, 64, 3)))[-1]  # drawn once more, for the name of its last layer
        return network.get_layer(last._keras_history.operation.name).output
    layers = {layer.name: layer for layer in network.layers}
    if VIT_END in layers:
        return layers[VIT_END].output
    if "logits" in layers and len(layers["logits"].output.shape) == 3:
        return layers["logits"].input
    raise ValueError(f"{card.name}: adapt= and pretraining need a backbone of zoo.backbones, or a sequence to read")


def pooled(features):
    """(B, …, C) → (B, C) float32: the mean over all places."""
    rank = len(features.shape)
    return ops.mean(ops.cast(features, "float32"), tuple(range(1, rank - 1)))
