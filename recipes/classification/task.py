"""What training a classifier is: its batches of pictures and classes, its loss, its validation.

The card says what it is shown: single characters of an alphabet, or words or pages that lie turned by quarters.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from recipes import losses, plots
from recipes.data import corpus, documents, synthetic
from recipes.data.pipeline import Batch
from recipes.recipe import Recipe
from zoo import image as images
from zoo.charset import Charset
from zoo.registry import Card

VALIDATION_SEED = 1_000_003


class Sample(NamedTuple):
    """A picture (H, W, 3) uint8 of any size and its class."""

    image: np.ndarray
    label: int


# The pictures that a classifier of turns is shown, upright.
UPRIGHT: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "word": lambda rng: synthetic.draw_word(corpus.word(rng), rng).image,
    "page": lambda rng: documents.document(rng).image,
}


class Task:
    """Batches of synthetic pictures and their classes.

    Args:
        recipe: what the run is.
        card: of the classifier: the size of its pictures, what they show, and what its classes mean.
        data: not used: there are no real data sets of classes.

    Raises:
        ValueError: the card's classes are not as many as the network's.
    """

    def __init__(self, recipe: Recipe, card: Card, data: Path | None):
        self.recipe, reading = recipe, card.reading
        self.size, self.picture = (int(reading["size"][0]), int(reading["size"][1])), str(reading["picture"])
        characters = self.picture == "character"
        self.names = list(Charset(reading["charset"]).characters) if characters else list(map(str, reading["angles"]))
        if len(self.names) != card.options["classes"]:
            raise ValueError(f"{card.name} has classes={card.options['classes']}; its reading names {len(self.names)}")
        self.sources = [f"synthetic {self.picture}s"]

    def drawn(self, rng: np.random.Generator) -> Sample:
        """A sample that depends on `rng` alone, of any class equally often; k quarter turns go against the clock."""
        label = int(rng.integers(len(self.names)))
        if self.picture == "character":
            return Sample(synthetic.draw_word(self.names[label], rng).image, label)
        return Sample(np.ascontiguousarray(np.rot90(UPRIGHT[self.picture](rng), label)), label)

    def fitted(self, image: np.ndarray) -> np.ndarray:
        """The picture at the size that the network is given: a character stretched, others in the middle of black."""
        if self.picture == "character":
            return images.resize(image, *self.size)
        factor = min(self.size[0] / image.shape[0], self.size[1] / image.shape[1])
        height, width = (max(1, round(side * factor)) for side in image.shape[:2])
        top, left = (self.size[0] - height) // 2, (self.size[1] - width) // 2
        result = np.zeros((*self.size, 3), "uint8")
        result[top : top + height, left : left + width] = images.resize(image, height, width)
        return result

    def sample(self, index: int) -> Sample:
        """The sample number `index` of the run."""
        return self.drawn(np.random.default_rng((self.recipe.seed, 5, index)))

    def collate(self, samples: list[Sample]) -> Batch:
        """Pictures (B, H, W, 3) uint8 and "class" (B,) int32."""
        pixels = np.stack([self.fitted(sample.image) for sample in samples])
        return pixels, {"class": np.array([sample.label for sample in samples], "int32")}

    def batch(self, step: int) -> Batch:
        """The samples of a step, as `collate` has them."""
        return self.collate([self.sample(step * self.recipe.batch + i) for i in range(self.recipe.batch)])

    def loss(self, target: dict, outputs: dict):
        """(B,) cross-entropy of the class."""
        return losses.classes(target["class"], outputs["logits"], self.recipe.smoothing)

    def held_out(self) -> list[Sample]:
        """What validation looks at: samples that no step sees."""
        return [self.drawn(np.random.default_rng((VALIDATION_SEED, i))) for i in range(self.recipe.validation)]

    def validate(self, network, picture: Path) -> dict[str, float]:
        """The share of held-out pictures whose class is found, as "score" and "accuracy".

        Writes a picture of the first of them with the class that was found.
        """
        samples, found = self.held_out(), []
        for start in range(0, len(samples), self.recipe.batch):
            pixels, _ = self.collate(samples[start : start + self.recipe.batch])
            found += np.asarray(network(pixels, training=False)["logits"]).argmax(-1).tolist()
        shown = zip(samples[:60], found, strict=False)
        plots.words([(s.image, self.names[label], self.names[s.label]) for s, label in shown], picture)
        accuracy = float(np.mean([s.label == label for s, label in zip(samples, found, strict=True)]))
        return {"score": accuracy, "accuracy": accuracy}


make = Task
