"""Self-supervised pretraining: a backbone learns from pictures without labels, before it learns from few with them.

    zoo train pretraining.crnn_mobilenet_v3_small_contrastive --run runs/before --data DATA --set target=LINES
    zoo train recognition.crnn_mobilenet_v3_small --run runs/after --data DATA --start runs/before

    contrastive    what is seen of one picture twice is alike, and unlike all others
                   of strips, stretches are compared: SeqCLR, Aberdam et al. 2021, arXiv:2012.10873
                   of pages, whole pictures: SimCLR, Chen et al. 2020, arXiv:2002.05709
    masked         hidden patches are filled in, by their pixels (SimMIM, Xie et al. 2022, arXiv:2111.09886)

A run of pretraining trains the backbone of the recipe's model alone, and its weights hold nothing else. As a lesson
(`--set adapt=masked target=LINES adapt_weight=0.5`, see `recipes.beside`) it runs beside the labels instead.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
from keras import layers, ops

from recipes import beside, plots
from recipes.beside import FEATURES, Lesson, pooled
from recipes.data import augment
from recipes.data.pipeline import Batch
from recipes.recipe import Recipe
from zoo.registry import Card

TASKS = {"recognition": "recipes.recognition.task", "detection": "recipes.detection.task"}
PROJECTED = 64  # values of what is compared
STRENGTH = 1.3  # of the degradation of each view, in the measure of `augment.degrade`
HIDDEN = 128  # the grey of hidden patches


# ---------------------------------------------------------------- losses


def contrast(one, other, temperature: float):
    """InfoNCE of pairs, each row of `one` and the same of `other`, all else being unlike: (N,). Chen et al. 2020, eq. 1

    ℓ(i, j) = -log( exp(cos(z_i, z_j) / τ) / Σ_{k ≠ i} exp(cos(z_i, z_k) / τ) ), the mean of both directions.

    Args:
        one, other: (N, C) of any length; N at least 2.
        temperature: τ.
    """
    rows = ops.normalize(ops.concatenate([ops.cast(one, "float32"), ops.cast(other, "float32")], 0), axis=-1)
    count = ops.shape(one)[0]
    scores = ops.matmul(rows, ops.transpose(rows)) / temperature
    scores = scores - 1e9 * ops.eye(2 * count)  # itself
    index = ops.arange(2 * count)
    losses = ops.sparse_categorical_crossentropy((index + count) % (2 * count), scores, from_logits=True)
    return (losses[:count] + losses[count:]) / 2


def windows(features, count: int):
    """(B, S, C) → (B, count, C): the means of as many equal stretches of a sequence, which may overlap by a step.

    The i-th is from ⌊i·S/count⌋ to ⌈(i+1)·S/count⌉ (adaptive average pooling; Aberdam et al. 2021, section 3.4).
    """
    steps = ops.shape(features)[1]
    place, index = ops.arange(steps)[None], ops.arange(count)[:, None]
    inside = ops.logical_and(place >= index * steps // count, place < -(-(index + 1) * steps // count))
    inside = ops.cast(inside, "float32")
    return ops.matmul(inside / ops.sum(inside, 1, keepdims=True), ops.cast(features, "float32"))


def hidden_error(found, truth, hidden):
    """The mean absolute error of the hidden pixels: (B, H, W, 3) twice, (B, H, W) → (B,). Xie et al. 2022, eq. 3."""
    error = ops.mean(ops.abs(found - truth), -1) * hidden
    return ops.sum(error, (1, 2)) / ops.maximum(ops.sum(hidden, (1, 2)), 1.0)


# ---------------------------------------------------------------- pictures


def seen_again(picture: np.ndarray, rng: np.random.Generator, strip: bool) -> np.ndarray:
    """The picture in another view of the same size: degraded, and a strip cut a little closer above and below.

    What is at a place of the sequence stays there. Of a page, a part of it is seen, from half of its sides to all.
    """
    height, width = picture.shape[:2]
    if strip:
        top, bottom = rng.integers(0, max(1, height // 8) + 1, 2)
        part = picture[top : height - bottom]
    else:
        high, wide = (max(1, round(side * rng.uniform(0.5, 1))) for side in (height, width))
        y, x = int(rng.integers(0, height - high + 1)), int(rng.integers(0, width - wide + 1))
        part = picture[y : y + high, x : x + wide]
    view = cv2.resize(part, (width, height), interpolation=cv2.INTER_LINEAR)
    view = augment.degrade(view, rng, STRENGTH)
    return 255 - view if rng.random() < 0.2 else view


def hide(picture: np.ndarray, patch: tuple[int, int], share: float, rng: np.random.Generator) -> np.ndarray:
    """(H, W) uint8, 1 where patches of a size are hidden: this share of all, drawn."""
    rows, columns = (-(-side // step) for side, step in zip(picture.shape[:2], patch, strict=True))
    chosen = np.zeros(rows * columns, np.uint8)
    chosen[rng.permutation(rows * columns)[: max(1, round(share * rows * columns))]] = 1
    mask = np.kron(chosen.reshape(rows, columns), np.ones(patch, np.uint8))
    return mask[: picture.shape[0], : picture.shape[1]]


def patch_of(network: keras.Model) -> tuple[int, int] | None:
    """Height and width of a ViT's patches; None of other networks."""
    found = [layer for layer in network.layers if layer.name == "patches"]
    return (int(found[0].kernel_size[0]), int(found[0].kernel_size[1])) if found else None


# ---------------------------------------------------------------- lessons


class Contrastive(Lesson):
    """Two views of a picture are alike and unlike all others of the device's part of the batch, window by window."""

    pictures = ("one", "other")
    compares = True

    def __init__(self, recipe: Recipe, card: Card, network: keras.Model):
        super().__init__(recipe, card, network)
        channels = network.output[FEATURES].shape[-1]
        self.strip, patches = card.task == "recognition", patch_of(network)
        self.rows = network.input.shape[1] // patches[0] if patches else 0
        self.hidden = layers.Dense(channels, "relu", name="view_hidden", dtype="float32")
        self.projection = layers.Dense(PROJECTED, name="view_projection", dtype="float32")
        self.hidden.build((None, channels))
        self.projection.build((None, channels))

    def arrays(self, step: int, pixels: np.ndarray, unlabelled: np.ndarray) -> dict[str, np.ndarray]:
        rng = self.rng(step)
        return {
            name: np.stack([seen_again(picture, rng, self.strip) for picture in unlabelled]) for name in self.pictures
        }

    def answers(self, network: keras.Model, given: dict, ours: dict, others: list[dict]) -> dict:
        views = zip(self.pictures, others, strict=True)
        return {name: self.projection(self.hidden(self._instances(view[FEATURES]))) for name, view in views}

    def _instances(self, features):
        """(B, …, C) → (B · windows, C), a window of each picture after the other; of pages (B, C)."""
        if not self.strip:
            return pooled(features)
        if self.rows:
            features = ops.reshape(features[:, 1:], (ops.shape(features)[0], self.rows, -1, features.shape[-1]))
        if len(features.shape) == 4:
            features = ops.mean(features, 1)  # (B, W, C)
        parts = windows(features, self.recipe.windows)
        return ops.reshape(parts, (-1, parts.shape[-1]))

    def loss(self, outputs: dict):
        return ops.mean(contrast(outputs["one"], outputs["other"], self.recipe.temperature))


class Masked(Lesson):
    """Pixels of hidden patches, from a linear layer on what the backbone makes of the rest."""

    pictures = ("masked",)
    told = ("unlabelled", "mask")

    def __init__(self, recipe: Recipe, card: Card, network: keras.Model):
        super().__init__(recipe, card, network)
        self.cell, channels = self._cell(network), network.output[FEATURES].shape[-1]
        self.pixels = layers.Dense(3 * self.cell[0] * self.cell[1], name="pixels", dtype="float32")
        self.pixels.build((None, channels))

    def _cell(self, network: keras.Model) -> tuple[int, int]:
        """Height and width in pixels of what each place of the features stands for."""
        sides = [side or 128 for side in network.input.shape[1:3]]
        features = network.compute_output_spec(keras.KerasTensor((1, *sides, 3)))[FEATURES]
        if len(features.shape) == 4:
            return sides[0] // features.shape[1], sides[1] // features.shape[2]
        patches = patch_of(network)
        if not patches:
            raise ValueError(f"adapt=masked: the places of {self.card.name}'s features are not known; take contrastive")
        return patches

    def arrays(self, step: int, pixels: np.ndarray, unlabelled: np.ndarray) -> dict[str, np.ndarray]:
        rng, how = self.rng(step), self.recipe
        mask = np.stack([hide(picture, how.patch, how.hidden, rng) for picture in unlabelled])
        masked = np.where(mask[..., None] > 0, np.uint8(HIDDEN), unlabelled)
        return {"unlabelled": unlabelled, "mask": mask, "masked": masked}

    def answers(self, network: keras.Model, given: dict, ours: dict, others: list[dict]) -> dict:
        features = others[0][FEATURES]
        (high, wide), (_, height, width, _) = self.cell, ops.shape(given["unlabelled"])
        rows, columns = height // high, width // wide
        if len(features.shape) == 3:
            features = features[:, 1:]
        cells = ops.reshape(self.pixels(features), (-1, rows, columns, high, wide, 3))
        found = ops.reshape(ops.transpose(cells, (0, 1, 3, 2, 4, 5)), (-1, rows * high, columns * wide, 3))
        truth = ops.cast(given["unlabelled"], "float32")[:, : rows * high, : columns * wide] / 127.5 - 1
        hidden = ops.cast(given["mask"], "float32")[:, : rows * high, : columns * wide]
        return {"error": hidden_error(found, truth, hidden)}

    def loss(self, outputs: dict):
        return outputs["error"]


# ---------------------------------------------------------------- the task


class Backbone(keras.Model):
    """A backbone and its lesson: what a run of pretraining trains."""

    def __init__(self, network: keras.Model, lesson: Lesson):
        super().__init__(name=network.name)
        self.network, self.lesson = network, lesson
        self.built = True

    def call(self, inputs, training=None):
        pictures = [inputs[name] for name in self.lesson.pictures]
        features = self.network(ops.concatenate(pictures, 0), training=training)[FEATURES]
        rows = ops.shape(pictures[0])[0]
        others = [{FEATURES: features[part * rows : (part + 1) * rows]} for part in range(len(pictures))]
        return self.lesson.answers(self.network, inputs, {}, others)


class Task:
    """Pretraining on the recipe's target, else on what the model's own task draws, without its labels."""

    def __init__(self, recipe: Recipe, card: Card, data: Path | None):
        if card.task not in TASKS:
            raise ValueError(f"{card.name} is for {card.task}; pretrained are backbones for {', '.join(TASKS)}")
        self.recipe, self.card = recipe, card
        self.base = importlib.import_module(TASKS[card.task]).make(recipe, card, data)
        self.draw, self.sources = None, [f"{source} without labels" for source in self.base.sources]
        self.grouped = getattr(self.base, "grouped", 1)  # steps whose samples are drawn together
        if recipe.target:
            self.draw, self.grouped = self.base.unlabelled(beside.pictures(data, recipe.target, recipe.few)), 1
            self.sources = [f"{Path(recipe.target).name} without labels"]

    def part(self, network: keras.Model) -> keras.Model:
        """The network's backbone, which alone is trained and kept."""
        return keras.Model(network.input, {FEATURES: beside.trunk(network, self.card)}, name=network.name)

    def learner(self, network: keras.Model) -> keras.Model:
        """What the trainer is given: the backbone with the lesson, which is told of each batch from now on."""
        self.lesson = beside.lesson(self.recipe.adapt)(self.recipe, self.card, network)
        self.told = (*self.lesson.pictures, *self.lesson.told)
        self.whole = Backbone(network, self.lesson)
        drawn = self.batch  # in other processes, or changed by layers, where the trainer has put these in its place

        def taught(step: int) -> Batch:
            pictures, _ = drawn(step)
            return pictures, self.lesson.arrays(step, pictures, pictures)

        self.batch = taught  # type: ignore[method-assign]
        return self.whole

    def batch(self, step: int) -> Batch:
        """Pictures; once there is a learner, also what the lesson makes of them."""
        return self.pictures(step), {}

    def pictures(self, step: int) -> np.ndarray:
        """(B, H, W, 3) uint8 of the target, or of the model's own task."""
        rng = np.random.default_rng((self.recipe.seed, 7, step))
        return self.draw(rng, self.base.shape) if self.draw else self.base.batch(step)[0]

    def loss(self, targets: dict, outputs: dict):
        """(B,) or a scalar."""
        return self.lesson.loss(outputs)

    def validate(self, network, picture: Path) -> dict[str, float]:
        """The lesson's loss on batches that no step sees; "score" is minus that. Writes the first pictures as shown."""
        count = max(1, self.recipe.validation // self.recipe.batch)
        losses, shown = [], []
        for step in range(count):
            pictures = self.pictures(10**9 + step)
            arrays = self.lesson.arrays(10**9 + step, pictures, pictures)
            given = {"image": pictures, **{name: arrays[name] for name in self.told}}
            losses.append(float(np.mean(ops.convert_to_numpy(self.lesson.loss(self.whole(given, training=False))))))
            shown += list(arrays[self.lesson.pictures[0]])
        plots.words([(strip, "", "") for strip in shown[:60]], picture)
        return {"score": -float(np.mean(losses)), "unlabelled_loss": float(np.mean(losses))}


def make(recipe: Recipe, card: Card, data: Path | None) -> Any:
    """The task of a recipe of pretraining.

    Raises:
        ValueError: the recipe's lesson is none that needs no labels, or it asks for what a backbone alone does without.
    """
    if recipe.adapt not in ("contrastive", "masked"):
        raise ValueError(f"adapt={recipe.adapt}: pretraining is contrastive or masked")
    if wrong := next((name for name in ("teacher", "bits") if getattr(recipe, name)), ""):
        raise ValueError(f"{wrong}={getattr(recipe, wrong)}: a backbone is pretrained by itself; take {wrong}= out")
    return Task(recipe, card, data)
