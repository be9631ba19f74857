"""What training a segmenter is: its batches of pages and classes of pixels, its loss, its validation."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recipes import losses, metrics, plots
from recipes.data import augment, datasets, documents
from recipes.data.documents import Regions
from recipes.data.pipeline import Batch
from recipes.recipe import Recipe
from recipes.segmentation import targets
from zoo import runtime
from zoo.registry import Card
from zoo.segmenting import Segmenter

VALIDATION_SEED = 1_000_003


class Task:
    """Batches of pages and the classes of their pixels.

    Args:
        recipe: what the run is; `size` is that of the pages.
        card: of the segmenter: the names of its classes.
        data: folder of the real data sets, whose pages must say what their parts are; None trains on synthetic ones.

    Raises:
        ValueError: the card's classes are not as many as the network's, or none that synthetic pages have.
    """

    def __init__(self, recipe: Recipe, card: Card, data: Path | None):
        self.recipe, self.reading = recipe, card.reading
        self.names = tuple(card.reading["labels"])
        if len(self.names) != card.options["classes"]:
            raise ValueError(f"{card.name} has classes={card.options['classes']}; its reading names {len(self.names)}")
        targets.merged(np.zeros(1, np.uint8), self.names)
        self.real, self.held = map(_known, datasets.train_split(data, recipe.real, recipe.few))
        self.sources = ["synthetic pages"] + datasets.sources(data, recipe.real)

    def page(self, seed: tuple[int, ...]) -> Regions:
        """A synthetic page and its pixels' places in the names of the card."""
        page = documents.layout(np.random.default_rng(seed))
        return Regions(page.image, targets.merged(page.classes, self.names))

    def labelled(self, entry: datasets.Entry) -> Regions:
        """A real page and its pixels' places in the names of the card."""
        picture = entry.read()
        classes = datasets.classes(entry, picture.shape[:2])
        assert classes is not None  # those of others are left out
        return Regions(picture, targets.merged(classes, self.names))

    def sample(self, index: int) -> Regions:
        """The sample number `index` of the run, `recipe.size` large: a real page now and then, else a synthetic one."""
        rng = np.random.default_rng((self.recipe.seed, 7, index))
        if self.real and rng.random() < self.recipe.real_share:
            page = self.labelled(datasets.draw(self.real, rng)[1])
            page = page._replace(image=augment.degrade(page.image, rng, 0.5))
        else:
            page = self.page((self.recipe.seed, 6, index))
        return targets.fitted(page, self.recipe.size)

    def batch(self, step: int) -> Batch:
        """Pages (B, H, W, 3) uint8 and "class" (B, H, W) int32."""
        samples = [self.sample(step * self.recipe.batch + i) for i in range(self.recipe.batch)]
        classes = np.stack([sample.classes for sample in samples]).astype("int32")
        return np.stack([sample.image for sample in samples]), {"class": classes}

    @staticmethod
    def loss(target: dict, outputs: dict):
        """(B,) cross-entropy and dice of the classes."""
        return losses.segments(target, outputs)

    def held_out(self) -> list[Regions]:
        """What validation looks at: pages that no step sees."""
        held = [self.labelled(entry) for entries in self.held.values() for entry in entries]
        return held + [self.page((VALIDATION_SEED, i)) for i in range(self.recipe.validation - len(held))]

    def validate(self, network, picture: Path) -> dict[str, float]:
        """The mean intersection over union of the classes on held-out pages, segmented as a user's are, as "score".

        Writes a picture of the first pages with what was found.
        """
        segment = Segmenter(runtime.in_process(network), **self.reading)
        counts, shown = np.zeros((len(self.names),) * 2, int), []
        for index, page in enumerate(self.held_out()):
            found = segment(page.image)
            counts += metrics.confusion(found, page.classes, len(self.names))
            if index < 4:
                shown.append((page.image, found, page.classes))
        plots.segments(shown, picture)
        result = metrics.miou(counts)
        return {"score": result["miou"], **result}


def _known(sets: datasets.Named) -> datasets.Named:
    """Of the sets those pages that say what their parts are."""
    known = {name: [entry for entry in entries if entry.regions] for name, entries in sets.items()}
    return {name: entries for name, entries in known.items() if entries}


make = Task
