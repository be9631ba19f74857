"""What training a detector of regions is: its batches of crops and maps, its loss, its validation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from recipes import losses, metrics, plots
from recipes.data import datasets, shards
from recipes.data.pages import Page, crop, labelled, scaled, signed, synthetic, varied
from recipes.data.pipeline import Batch, cached
from recipes.detection import targets
from recipes.recipe import Recipe
from zoo import bands, decoding, runtime
from zoo import image as images
from zoo.reading import Detector
from zoo.registry import Card

PAGES, CROPS = 16, 4  # a block of PAGES · CROPS samples is cut from PAGES pages, neighbours from different ones
VALIDATION_SEED = 1_000_003


class Task:
    """Batches of crops with their maps.

    Args:
        recipe: what the run is.
        card: of the detector: the size at which it reads, and how.
        data: folder of the real data sets; None trains on synthetic pages alone.
        maps: from polygons (N, 4, 2), which of them do not count (N,), and (height, width) to what the network learns
            from: arrays of one shape for every picture. The default and that of `loss` are those of DB.
        loss: from these of a batch, and the network's outputs, to (B,).
    """

    def __init__(
        self,
        recipe: Recipe,
        card: Card,
        data: Path | None,
        maps: Callable[..., dict[str, np.ndarray]] = targets.maps,
        loss: Callable = losses.db,
    ):
        self.recipe, self.reading = recipe, card.reading
        real, kept = datasets.train_split(data, recipe.real, recipe.few), datasets.train_split(data, recipe.replay)
        self.real, self.held = map(_pages, datasets.with_places(real))
        self.kept, self.held_kept = map(_pages, datasets.with_places(kept))
        self.packed = shards.of(data, recipe.shards, recipe.seed)
        if self.packed:
            self._drawn(0)  # shards of no use are told of before a run begins
            self.real = {}  # which validate, but teach nothing
        named = recipe.replay if self.packed else recipe.real + recipe.replay
        self.sources = ["synthetic pages"] + datasets.sources(data, named) + self.packed.sources
        self.page = cached(self._page, 2 * PAGES)
        self.grouped = max(1, PAGES * CROPS // recipe.batch)  # steps whose samples are drawn together
        self.shape = (recipe.batch, *recipe.size, 3)  # of a batch
        self.maps, self.loss = maps, loss

    def _drawn(self, number: int) -> datasets.Entry:
        """The page number `number` of the shards."""
        return self.packed.draw(number, lambda entry: entry.text is None)

    def _page(self, index: int) -> Page:
        """The page number `index` of the run, with its longer side as the card's size, more or less."""
        rng = np.random.default_rng((self.recipe.seed, 3, index))
        if self.packed and rng.random() < self.recipe.real_share:
            entry = self._drawn(index)
            return self._resized(self._real(entry.path.parts[0], entry, rng), rng)
        entries = datasets.chosen(self.real, self.kept, self.recipe.real_share, rng)
        return self._resized(self._real(*datasets.draw(entries, rng), rng) if entries else synthetic(rng), rng)

    def _real(self, name: str, entry: datasets.Entry, rng: np.random.Generator) -> Page:
        """A real page as another camera would have taken it, half of the photographs with more words on them."""
        page = self.labelled(name, entry)
        return varied(signed(page, rng) if rng.random() < 0.5 else page, rng)

    def labelled(self, name: str, entry: datasets.Entry) -> Page:
        """What can be learnt from a page of the data set `name`."""
        return labelled(entry)

    def _resized(self, page: Page, rng: np.random.Generator) -> Page:
        """The page with its longer side as the card's size, more or less, and up to that of its closest look."""
        most = self.reading.get("most", bands.MOST) if self.reading.get("small") else 1.5
        scale = max(self.reading["size"]) * np.exp(rng.uniform(np.log(0.6), np.log(most))) / max(page.image.shape[:2])
        return scaled(page, min(scale, 2.0))

    def sample(self, index: int) -> Page:
        """The crop number `index` of the run, `recipe.size` large."""
        block, place = divmod(index, PAGES * CROPS)
        page = self.page(block * PAGES + place % PAGES)
        return crop(page, self.recipe.size, np.random.default_rng((self.recipe.seed, 4, index)))

    def target(self, page: Page) -> dict[str, np.ndarray]:
        """What the detector learns from a crop."""
        return self.maps(page.polygons, page.ignore, self.recipe.size)

    def batch(self, step: int) -> Batch:
        """Crops (B, H, W, 3) uint8 and what the detector learns from them."""
        samples = [self.sample(step * self.recipe.batch + i) for i in range(self.recipe.batch)]
        drawn = [self.target(page) for page in samples]
        return np.stack([page.image for page in samples]), {key: np.stack([m[key] for m in drawn]) for key in drawn[0]}

    def unlabelled(self, paths: Sequence[Path]) -> Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]:
        """A function that draws crops of pictures, of a shape (B, H, W, 3) uint8."""
        read = cached(lambda index: next(iter(images.pages(paths[index]))).pixels, PAGES)

        def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
            nothing = np.zeros((0, 4, 2), np.float32), np.zeros(0, bool)
            pages = [Page(read(int(index)), *nothing) for index in rng.integers(0, len(paths), shape[0])]
            windows = [crop(self._resized(varied(page, rng), rng), (shape[1], shape[2]), rng) for page in pages]
            return np.stack([window.image for window in windows])

        return draw

    def held_out(self) -> dict[str, list[Page]]:
        """What validation reads: synthetic pages that no step sees, and the real ones held out."""
        count = self.recipe.validation
        sets = {"synthetic": [synthetic(np.random.default_rng((VALIDATION_SEED, i))) for i in range(count)]}
        return sets | datasets.held_sets(self.held, self.held_kept, count, self.samples)

    def samples(self, name: str, entries: Iterable[datasets.Entry]) -> list[Page]:
        """The pages of a data set, as `counts` takes them."""
        return [labelled(entry) for entry in entries if datasets.placed(entry)]

    def reader(self, network) -> Detector:
        """The network as the reading path uses it."""
        return Detector(runtime.in_process(network, decoding.needed(self.reading)), **self.reading)

    def counts(self, detector: Detector, pages: Sequence[Page]) -> np.ndarray:
        """(N, 3) for each page: boxes that match, were found, and are true."""
        return _counts([detector(page.image)[0] for page in pages], pages)

    def validate(self, network, picture: Path) -> dict[str, float]:
        """Precision, recall and hmean on each held-out set, found as on a user's pages; "score" is the mean hmean.

        Writes a picture of the first pages of each set with what was found.
        """
        detector, shown, means = self.reader(network), [], []
        scores: dict[str, float] = {}
        for name, pages in self.held_out().items():
            found = [detector(page.image)[0] for page in pages]
            shown += [
                (page.image, boxes, page.polygons[~page.ignore])
                for boxes, page in zip(found[:3], pages[:3], strict=True)
            ]
            result = metrics.hmean(*map(int, _counts(found, pages).sum(0)))
            scores |= {f"{name}_{key}": value for key, value in result.items()}
            means.append(result["hmean"])
        plots.regions(shown, picture)
        return {"score": float(np.mean(means)), **scores}


def _counts(found: Sequence[np.ndarray], pages: Sequence[Page]) -> np.ndarray:
    pairs = zip(found, pages, strict=True)
    return np.array([metrics.matches(boxes, page.polygons, page.ignore) for boxes, page in pairs], int).reshape(-1, 3)


def _pages(sets: datasets.Named) -> datasets.Named:
    """The sets that are not empty.

    Raises:
        ValueError: one is of crops.
    """
    for name, entries in sets.items():
        if any(entry.text is not None for entry in entries):
            raise ValueError(
                f"{name} is of crops, from which recognizers learn; this takes pages with polygons of words"
            )
    return {name: entries for name, entries in sets.items() if entries}


make = Task
