"""What training a segmenter is: its batches of pages and classes of pixels, its loss, its validation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
SHOWN = 3  # pages of each set


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
        self.real, self.held = datasets.with_parts(datasets.train_split(data, recipe.real, recipe.few))
        self.kept, self.held_kept = datasets.with_parts(datasets.train_split(data, recipe.replay))
        self.sources = ["synthetic pages"] + datasets.sources(data, recipe.real + recipe.replay)

    def page(self, seed: tuple[int, ...]) -> Regions:
        """A synthetic page and its pixels' places in the names of the card."""
        page = documents.layout(np.random.default_rng(seed))
        return Regions(page.image, targets.merged(page.classes, self.names))

    def labelled(self, entry: datasets.Entry) -> Regions:
        """A real page and its pixels' places in the names of the card."""
        seen, entry = entry.seen()
        classes = datasets.classes(entry, seen.pixels.shape[:2])
        assert classes is not None  # those of others are left out
        return Regions(seen.pixels, targets.merged(classes, self.names))

    def sample(self, index: int) -> Regions:
        """The sample number `index` of the run, `recipe.size` large: a real page now and then, else a synthetic one."""
        rng = np.random.default_rng((self.recipe.seed, 7, index))
        if entries := datasets.chosen(self.real, self.kept, self.recipe.real_share, rng):
            page = self.labelled(datasets.draw(entries, rng)[1])
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

    def held_out(self) -> dict[str, list[Regions]]:
        """What validation looks at: synthetic pages that no step sees, and the real ones held out."""
        count = self.recipe.validation
        sets = {"synthetic": [self.page((VALIDATION_SEED, i)) for i in range(count)]}
        return sets | datasets.held_sets(self.held, self.held_kept, count, self.samples)

    def samples(self, name: str, entries: Iterable[datasets.Entry]) -> list[Regions]:
        """The pages of a data set, as `counts` takes them."""
        return [self.labelled(entry) for entry in entries if entry.regions is not None]

    def reader(self, network) -> Segmenter:
        """The network as the reading path uses it."""
        return Segmenter(runtime.in_process(network), **self.reading)

    def counts(self, segment: Segmenter, pages: Sequence[Regions]) -> np.ndarray:
        """(N, 3) for each page: pixels of any class but the first that were found right, were found, and are true."""
        rows = []
        for page in pages:
            found = segment(page.image)
            rows.append(((found == page.classes)[page.classes > 0].sum(), (found > 0).sum(), (page.classes > 0).sum()))
        return np.array(rows, int).reshape(-1, 3)

    def validate(self, network, picture: Path) -> dict[str, float]:
        """The mean intersection over union of the classes on each held-out set, segmented as a user's pages are.

        "score" is the mean of the sets. Writes a picture of the first pages of each with what was found.
        """
        segment, shown, scores = self.reader(network), [], {}
        for name, pages in self.held_out().items():
            counts = np.zeros((len(self.names),) * 2, int)
            for index, page in enumerate(pages):
                found = segment(page.image)
                counts += metrics.confusion(found, page.classes, len(self.names))
                if index < SHOWN:
                    shown.append((page.image, found, page.classes))
            scores[name] = metrics.miou(counts)
        plots.segments(shown, picture)
        each = {f"{name}_{key}": value for name, result in scores.items() for key, value in result.items()}
        return {"score": float(np.mean([result["miou"] for result in scores.values()])), **each}


make = Task
