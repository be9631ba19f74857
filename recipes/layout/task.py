"""What training a finder of regions is: its batches of pages and boxes, its validation. A recipe has the loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from recipes import metrics, plots
from recipes.data import augment, datasets, documents
from recipes.data.documents import LABELS
from recipes.data.pipeline import Batch
from recipes.layout import targets
from recipes.recipe import Recipe
from zoo import decoding, runtime
from zoo.regions import Finder, Region, fitted
from zoo.registry import Card

VALIDATION_SEED = 1_000_003
MOST = 64  # regions of a page; of more, the smallest do not count
LEAST = 0.01  # score of a region from which it counts in validation
SHOWN = 3  # pages of each set

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
        self.real, self.held = datasets.with_parts(datasets.train_split(data, recipe.real, recipe.few))
        self.kept, self.held_kept = datasets.with_parts(datasets.train_split(data, recipe.replay))
        self.sources = ["synthetic pages"] + datasets.sources(data, recipe.real + recipe.replay)

    def page(self, seed: tuple[int, ...]) -> Page:
        """A synthetic page."""
        page = documents.document(np.random.default_rng(seed))
        return page.image, list(page.parts)

    @staticmethod
    def labelled(entry: datasets.Entry) -> Page:
        """A real page."""
        seen, entry = entry.seen()
        return seen.pixels, datasets.regions(entry, seen.pixels.shape[:2])

    def sample(self, index: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The sample number `index` of the run: a real page now and then, else a synthetic one; and its targets."""
        rng = np.random.default_rng((self.recipe.seed, 7, index))
        if entries := datasets.chosen(self.real, self.kept, self.recipe.real_share, rng):
            image, parts = self.labelled(datasets.draw(entries, rng)[1])
            image = augment.degrade(image, rng, 0.5)
        else:
            image, parts = self.page((self.recipe.seed, 6, index))
        picture, scale = fitted(image, self.size)
        parts = [(label, outline / scale) for label, outline in parts if label in self.places]
        kinds = [self.places[label] for label, _ in parts]
        return picture, targets.boxes(stacked([outline for _, outline in parts]), kinds, self.size, MOST)

    def batch(self, step: int) -> Batch:
        """Pages (B, H, W, 3) uint8, and "boxes" and "kind" of `targets.boxes` with a first axis B."""
        samples = [self.sample(step * self.recipe.batch + i) for i in range(self.recipe.batch)]
        pictures, drawn = zip(*samples, strict=True)
        return np.stack(pictures), {key: np.stack([one[key] for one in drawn]) for key in drawn[0]}

    def held_out(self) -> dict[str, list[Page]]:
        """What validation looks at: synthetic pages that no step sees, and the real ones held out."""
        count = self.recipe.validation
        sets = {"synthetic": [self.page((VALIDATION_SEED, i)) for i in range(count)]}
        return sets | datasets.held_sets(self.held, self.held_kept, count, self.samples)

    def samples(self, name: str, entries: Iterable[datasets.Entry]) -> list[Page]:
        """The pages of a data set, as `counts` takes them."""
        return [self.labelled(entry) for entry in entries if entry.regions is not None]

    def reader(self, network, **options) -> Finder:
        """The network as the reading path uses it, but for some options."""
        return Finder(runtime.in_process(network, decoding.needed(self.reading)), **self.reading | options)

    def counts(self, find: Finder, pages: Sequence[Page]) -> np.ndarray:
        """(N, 3) for each page: regions of their class that overlap by a half, that were found, and that are true."""
        rows = [compared(find(image), self.nameable(parts)) for image, parts in pages]
        return np.array([(page.right.sum(), len(page.right), len(page.met)) for page in rows], int).reshape(-1, 3)

    def nameable(self, parts: list[tuple[str, np.ndarray]]) -> list[tuple[str, np.ndarray]]:
        """Of a page's parts those that the network can tell, by the names that it has for them."""
        return [(self.reading["labels"][self.places[label]], box) for label, box in parts if label in self.places]

    def validate(self, network, picture: Path) -> dict[str, float]:
        """The mean average precision of regions on each held-out set, found as a user's are; "score" is the mean.

        Writes a picture of the first pages of each set with what was found.
        """
        find, shown = self.reader(network, threshold=LEAST), []
        scores: dict[str, dict[str, float]] = {}
        for name, pages in self.held_out().items():
            found, true = [], []
            for index, (image, parts) in enumerate(pages):
                parts = [(label, outline) for label, outline in parts if label in self.places]
                seen = find(image)
                found.append(self._boxes([(self.known[find.labels.index(r.label)], r.polygon, r.score) for r in seen]))
                true.append(self._boxes([(LABELS.index(label), outline, 1.0) for label, outline in parts]))
                if index < SHOWN:
                    sure = [region.polygon for region in seen if region.score > self.reading.get("threshold", 0.5)]
                    shown.append((image, stacked(sure), stacked([outline for _, outline in parts])))
            scores[name] = metrics.mean_average_precision(found, true, len(LABELS))
        plots.regions(shown, picture)
        each = {f"{name}_{key}": value for name, result in scores.items() for key, value in result.items()}
        return {"score": float(np.mean([result["map"] for result in scores.values()])), **each}

    @staticmethod
    def _boxes(rows: list) -> metrics.Boxes:
        kinds, polygons, scores = zip(*rows, strict=True) if rows else ((), (), ())
        return metrics.Boxes(metrics.upright(polygons), np.array(kinds, int), np.array(scores, float))


class Compared(NamedTuple):
    """Of regions found on a page which are right, of the true ones which were met: (N,) and (M,) bool."""

    right: np.ndarray
    met: np.ndarray


def compared(found: Sequence[Region], true: Sequence[tuple[str, np.ndarray]]) -> Compared:
    """Regions found beside the true ones, (label, outline): a pair is of one class and overlaps by a half."""
    result = Compared(np.zeros(len(found), bool), np.zeros(len(true), bool))
    for label in {label for label, _ in true}:
        ours = [i for i, region in enumerate(found) if region.label == label]
        theirs = [j for j, (name, _) in enumerate(true) if name == label]
        boxes = stacked([found[i].polygon for i in ours]), stacked([true[j][1] for j in theirs])
        pairs, _ = metrics.pair(*boxes, np.zeros(len(theirs), bool))
        result.right[[ours[i] for i, _ in pairs]] = True
        result.met[[theirs[j] for _, j in pairs]] = True
    return result


def stacked(polygons: Sequence[np.ndarray]) -> np.ndarray:
    """(N, 4, 2) float32."""
    return np.array(polygons, "float32").reshape(-1, 4, 2)
