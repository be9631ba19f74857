"""What training a finder of regions is: its batches of pages and boxes, its validation. A recipe has the loss."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from recipes import metrics, plots
from recipes.data import augment, datasets, documents
from recipes.data.documents import LABELS
from recipes.data.pipeline import Batch
from recipes.layout import targets
from recipes.recipe import Recipe
from zoo import decoding, runtime
from zoo.regions import Finder, fitted
from zoo.registry import Card

VALIDATION_SEED = 1_000_003
MOST = 64  # regions of a page; of more, the smallest do not count
LEAST = 0.01  # score of a region from which it counts in validation

Page = tuple[np.ndarray, list[tuple[str, np.ndarray]]]  # (H, W, 3) uint8; of `LABELS` each, and an outline (4, 2)


class Task:
    """Batches of pages and their regions.

    Args:
        recipe: what the run is. Pages are as large as the network takes them, whatever its `size`.
        card: of the network: the names of its classes. Those that no page has are learnt to be absent.
        data: folder of the real data sets, whose pages must say what their parts are; None trains on synthetic ones.
        loss: (targets, outputs) → (B,) parts by name.

    Raises:
        ValueError: the card's classes are not as many as the network's, a name is not known, or pages are read at
            another size than they are learnt at.
    """

    def __init__(self, recipe: Recipe, card: Card, data: Path | None, *, loss: Callable):
        self.recipe, self.reading, self.loss = recipe, card.reading, loss
        self.size = tuple(card.options["image_size"])
        labels = card.reading["labels"]
        if len(labels) != card.options["classes"]:
            raise ValueError(f"{card.name} has classes={card.options['classes']}; its reading names {len(labels)}")
        if tuple(card.reading["size"]) != self.size:
            raise ValueError(f"{card.name} learns pages of {self.size} pixels; its reading has {card.reading['size']}")
        self.places, self.known = targets.places(labels), np.array(targets.known(labels))
        self.real, self.held = map(_known, datasets.train_split(data, recipe.real, recipe.few))
        self.sources = ["synthetic pages"] + datasets.sources(data, recipe.real)

    def page(self, seed: tuple[int, ...]) -> Page:
        """A synthetic page."""
        page = documents.document(np.random.default_rng(seed))
        return page.image, list(page.parts)

    @staticmethod
    def labelled(entry: datasets.Entry) -> Page:
        """A real page."""
        picture = entry.read()
        return picture, datasets.regions(entry, picture.shape[:2])

    def sample(self, index: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The sample number `index` of the run: a real page now and then, else a synthetic one; and its targets."""
        rng = np.random.default_rng((self.recipe.seed, 7, index))
        if self.real and rng.random() < self.recipe.real_share:
            image, parts = self.labelled(datasets.draw(self.real, rng)[1])
            image = augment.degrade(image, rng, 0.5)
        else:
            image, parts = self.page((self.recipe.seed, 6, index))
        picture, scale = fitted(image, self.size)
        parts = [(label, outline / scale) for label, outline in parts if label in self.places]
        kinds = [self.places[label] for label, _ in parts]
        return picture, targets.boxes(_stacked([outline for _, outline in parts]), kinds, self.size, MOST)

    def batch(self, step: int) -> Batch:
        """Pages (B, H, W, 3) uint8, and "boxes" and "kind" of `targets.boxes` with a first axis B."""
        samples = [self.sample(step * self.recipe.batch + i) for i in range(self.recipe.batch)]
        pictures, drawn = zip(*samples, strict=True)
        return np.stack(pictures), {key: np.stack([one[key] for one in drawn]) for key in drawn[0]}

    def held_out(self) -> list[Page]:
        """What validation looks at: pages that no step sees."""
        held = [self.labelled(entry) for entries in self.held.values() for entry in entries]
        return held + [self.page((VALIDATION_SEED, i)) for i in range(self.recipe.validation - len(held))]

    def validate(self, network, picture: Path) -> dict[str, float]:
        """The mean average precision of regions on held-out pages, found as a user's are, as "score".

        Writes a picture of the first pages with what was found.
        """
        run = runtime.in_process(network, decoding.needed(self.reading))
        find = Finder(run, **self.reading | {"threshold": LEAST})
        found, true, shown = [], [], []
        for image, parts in self.held_out():
            parts = [(label, outline) for label, outline in parts if label in self.places]
            seen = find(image)
            found.append(self._boxes([(self.known[find.labels.index(r.label)], r.polygon, r.score) for r in seen]))
            true.append(self._boxes([(LABELS.index(label), outline, 1.0) for label, outline in parts]))
            sure = [region.polygon for region in seen if region.score > self.reading.get("threshold", 0.5)]
            shown.append((image, _stacked(sure), _stacked([outline for _, outline in parts])))
        plots.regions(shown[:4], picture)
        result = metrics.mean_average_precision(found, true, len(LABELS))
        return {"score": result["map"], **result}

    @staticmethod
    def _boxes(rows: list) -> metrics.Boxes:
        kinds, polygons, scores = zip(*rows, strict=True) if rows else ((), (), ())
        return metrics.Boxes(metrics.upright(polygons), np.array(kinds, int), np.array(scores, float))


def _stacked(polygons: list[np.ndarray]) -> np.ndarray:
    return np.array(polygons, "float32").reshape(-1, 4, 2)


def _known(sets: datasets.Named) -> datasets.Named:
    """Of the sets those pages that say what their parts are."""
    known = {name: [entry for entry in entries if entry.regions] for name, entries in sets.items()}
    return {name: entries for name, entries in known.items() if entries}
