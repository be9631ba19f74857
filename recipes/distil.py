"""Distillation: a network learns from a larger one's answers, beside labels. Hinton et al. 2015, arXiv:1503.02531.

    zoo train recognition.crnn_mobilenet_v3_small --run runs/student --set teacher=crnn_vgg16_bn soften=2

Both must answer with logits of one shape: the same alphabet, and as many steps for a strip of a width. Features may
differ in their channels: not they are compared, but how alike a batch's samples are by them. What a spotter asks is a
detector: where text is.
"""

from __future__ import annotations

from typing import Any

import keras

from recipes import losses
from recipes.data.pipeline import Batch
from recipes.recipe import Recipe
from zoo import registry
from zoo.charset import Charset
from zoo.spotting.ocrnet import parts

FEATURES = "features"  # the output that is added to a network


class Distilled:
    """A task whose loss asks a teacher, too; all else is the task's own.

    Args:
        task: with labels.
        teacher: the network to learn from; it stays as it is.
        recipe: says how much the teacher counts beside the labels.
    """

    def __init__(self, task: Any, teacher: keras.Model, recipe: Recipe):
        teacher.trainable = False
        self.task, self.teacher, self.recipe = task, teacher, recipe

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)

    def batch(self, step: int) -> Batch:
        """The task's batch, whose pixels are among the targets, too."""
        pixels, targets = self.task.batch(step)
        return pixels, {**targets, "image": pixels}

    def loss(self, targets: dict, outputs: dict):
        """(B,): (1 - w) · L_task + w · L_logits + v · L_features."""
        known = self.teacher(targets["image"], training=False)
        share = self.recipe.teacher_share
        loss = (1 - share) * losses.whole(self.task.loss(targets, outputs))
        loss += share * losses.distillation(known["logits"], outputs["logits"], self.recipe.soften)
        if self.recipe.alike:
            loss += self.recipe.alike * losses.similarity(known[FEATURES], outputs[FEATURES])
        return loss


def prepare(recipe: Recipe, network: keras.Model, task: Any) -> tuple[keras.Model, Any]:
    """The network with its features as a further output, and the task that asks the teacher; both as they are without.

    Raises:
        ValueError: the teacher's logits do not fit.
    """
    if not recipe.teacher:
        return network, task
    spots = recipe.task.startswith("recipes.spotting.")
    _check_kind(recipe, task, "detection" if spots else recipe.task.removeprefix("recipes.").partition(".")[0])
    teacher = registry.load(recipe.teacher)
    pupil = parts(network).locate if spots else network
    ours, theirs = (one.output["logits"].shape[-1] for one in (pupil, teacher))
    if ours != theirs:
        raise ValueError(
            f"teacher={recipe.teacher}: it has {theirs} classes and {recipe.model} {ours}; they must be the same"
        )
    if not isinstance(pupil.input, dict):  # of networks that write what they have read so far
        _compare(recipe, pupil, teacher)
    charset = None if spots else getattr(task, "charset", None)
    if charset and charset.characters != _alphabet(recipe.teacher):
        raise ValueError(
            f"teacher={recipe.teacher}: its classes are of another alphabet than those of {recipe.model}; they must be "
            "the same characters in the same order"
        )
    learner = network if spots else with_features(network, recipe.alike)  # a spotter's features are one of its outputs
    return learner, Distilled(task, with_features(teacher, recipe.alike), recipe)


def _check_kind(recipe: Recipe, task: Any, learns: str) -> None:
    """Raises `ValueError` where the teacher does not do what is learnt, or its logits become text in another way."""
    if learns not in registry.TASKS:
        return
    card = registry.card(recipe.teacher)
    if card.task != learns:
        raise ValueError(f"teacher={recipe.teacher}: it is for {card.task}; give a model for {learns}")
    theirs, ours = card.reading.get("decoding", "ctc"), getattr(task, "decoding", "ctc")
    if theirs != ours:
        raise ValueError(
            f"teacher={recipe.teacher}: its logits become text by {theirs} and those of {recipe.model} by {ours}: "
            f"their steps and last classes differ; give a teacher that reads by {ours}"
        )


def _compare(recipe: Recipe, network: keras.Model, teacher: keras.Model) -> None:
    """Nothing, where both answer to a picture of the recipe's size with logits of one shape."""
    high, wide = network.input.shape[1:3]
    usual = recipe.widest if recipe.task.startswith("recipes.recognition.") else recipe.size[1]
    sides = high or recipe.size[0], wide or usual
    told = f"teacher={recipe.teacher}: of pictures of {sides[0]} × {sides[1]}"
    ours = _shape(network, sides)
    try:
        theirs = _shape(teacher, sides)
    except ValueError as error:
        raise ValueError(f"{told} it makes nothing ({error}); take one for such pictures") from error
    if ours != theirs:
        raise ValueError(f"{told} it makes logits {theirs} and {recipe.model} {ours}; they must be of one shape")


def _shape(network: keras.Model, sides: tuple[int, int]) -> tuple[int | None, ...]:
    """Of the logits of a picture."""
    return tuple(network.compute_output_spec(keras.KerasTensor((1, *sides, 3)))["logits"].shape[1:])


def _alphabet(teacher: str) -> str:
    return Charset(registry.card(teacher).options["charset"]).characters


def with_features(network: keras.Model, wanted: float) -> keras.Model:
    """The network with what its last convolution gives as the output "features"; as it is where they are not wanted."""
    if not wanted:
        return network
    last = [layer for layer in network.layers if len(getattr(layer.output, "shape", ())) == 4][-1]
    return keras.Model(network.input, {**network.output, FEATURES: last.output}, name=network.name)
