"""What training a spotter is: its batches of crops, maps and words, its loss, its validation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from recipes import losses, metrics, plots
from recipes.data import datasets
from recipes.data.pages import Page, labelled
from recipes.data.pipeline import Batch
from recipes.detection import task as detection
from recipes.recipe import Recipe
from recipes.recognition.targets import padded
from recipes.spotting import targets
from zoo import runtime
from zoo.charset import Charset
from zoo.reading import Spotter, spotter_of
from zoo.registry import Card

WORDS = 40  # of a crop, that are read in a step
WEIGHTS = {"cls": 1.0, "iou": 1.0, "ctc": 1.0}  # λ of the parts of the loss, see `losses.spotting`
LOOSE = 0.04  # deviation of corners, in heights, while it is not known how far the network's own boxes are off
PROBES = 12  # crops on which that is measured
ILLUSTRATED = 3


class Task(detection.Task):
    """Batches of crops with their maps, the words to be read in them, and the classes of their pixels.

    Words are read at first where they truly are. As training goes on more and more of them are read where the network
    would have found them: `begin` measures how far its boxes are off the true ones, and `batch` moves true boxes so.

    Args:
        recipe: what the run is; `widest` is that of views, columns.
        card: of the spotter.
        data: folder of the real data sets; None trains on synthetic pages alone.
    """

    def __init__(self, recipe: Recipe, card: Card, data: Path | None):
        super().__init__(recipe, card, data, loss=weighted)
        self.card, self.charset = card, Charset(card.options["charset"])
        if recipe.together and " " not in self.charset.characters:
            raise ValueError(f"{recipe.together=} needs an alphabet with a space: --set options=charset:french_lines")
        self.told = ("words", "columns")
        self.errors = np.zeros((0, 4, 2), np.float32)  # of boxes that the network found
        self._probe: Spotter | None = None

    def labelled(self, name: str, entry: datasets.Entry) -> Page:
        """A real page; of sroie, whose labels are all in capitals, letters teach nothing."""
        page = labelled(entry)
        if name != "sroie":
            return page
        texts = tuple("" if any(c.isalpha() for c in text) else text for text in page.texts)
        return page._replace(texts=texts)

    def batch(self, step: int) -> Batch:
        """Crops (B, H, W, 3) uint8, the words that the network is told, and what it learns from them."""
        drawn: list[dict[str, np.ndarray]] = []
        share = min(1.0, step / max(1, self.recipe.steps)) if len(self.errors) else 0.0
        pages = [self.sample(step * self.recipe.batch + i) for i in range(self.recipe.batch)]
        every = [targets.words(page, self.charset, self.recipe.longest) for page in pages]
        reach = self.reach(every, np.random.default_rng((self.recipe.seed, 6, step)))
        for row, (page, words) in enumerate(zip(pages, every, strict=True)):
            rng = np.random.default_rng((self.recipe.seed, 5, step, row))
            drawn.append(self.target(page) | self.words(words, rng, share, reach))
        longest = padded(max(len(values["ids"][0]) for values in drawn))
        widest = -(-max(int(values["columns"].sum(1).max()) for values in drawn) // 16) * 16 or 16
        for values in drawn:
            missing = longest - len(values["ids"][0])
            values["ids"] = np.pad(values["ids"], ((0, 0), (0, missing)), constant_values=self.charset.blank)
            values["columns"], values["frames"] = values["columns"][:, :widest], values["frames"][:, : widest // 2]
        return np.stack([page.image for page in pages]), {
            key: np.stack([values[key] for values in drawn]) for key in drawn[0]
        }

    def target(self, page: Page) -> dict[str, np.ndarray]:
        """What the branches learn from a crop, but for its words."""
        classes = np.zeros(self.recipe.size, np.uint8) if page.classes is None else page.classes
        return super().target(page) | {
            "class": classes.astype("int32"),
            "known": np.array(page.classes is not None, "float32"),
            "character": targets.characters(page, self.charset),
        }

    def reach(self, every: Sequence[Sequence[targets.Word]], rng: np.random.Generator) -> int:
        """Columns of the views of a step: those of one of its words, drawn as any, up to the next of the card's widths.

        Words that are about as wide are read in one step, since what a view has more than its word takes as much time.
        """
        found = [word for words in every for word in words]
        widths = [width for width in self.card.reading["widths"] if width < self.recipe.widest]
        wide = targets.wide([found[int(rng.integers(len(found)))]], self.recipe.widest)[0] if found else 0
        return next((width for width in sorted(widths) if width >= wide), self.recipe.widest)

    def words(
        self, every: Sequence[targets.Word], rng: np.random.Generator, share: float, reach: int
    ) -> dict[str, np.ndarray]:
        """The words of a crop that are read in a step, as `targets.strips` has them; few ones come several times.

        Some of them, as many as the recipe's `together` says, are two neighbours with a space between them.

        Args:
            every: words of the crop.
            rng: draws them.
            share: part of them that is read where the network would have found it.
            reach: columns of views; wider words are left out, those of half as many or fewer come last.
        """
        wide = targets.wide(every, self.recipe.widest)
        fitting = np.flatnonzero(wide <= reach)
        order = fitting[rng.permutation(max(WORDS, len(fitting))) % len(fitting)] if len(fitting) else fitting
        order = order[np.argsort(2 * wide[order] <= reach, kind="stable")][:WORDS]
        chosen = [every[i] for i in order]
        pairs = targets.spans(every, self.recipe.longest) if self.recipe.together else []
        pairs = [pairs[i] for i in np.flatnonzero(targets.wide(pairs, self.recipe.widest) <= reach)]
        if pairs:
            chosen = [
                pairs[int(rng.integers(len(pairs)))] if rng.random() < self.recipe.together else word for word in chosen
            ]
        quads = [targets.moved(word.quad, self._error(rng, share)) for word in chosen]
        return targets.strips(chosen, quads, self.charset, WORDS, reach)

    def _error(self, rng: np.random.Generator, share: float) -> np.ndarray:
        if rng.random() < share:
            return self.errors[int(rng.integers(len(self.errors)))]
        return rng.normal(0, LOOSE, (4, 2)).astype(np.float32)

    def begin(self, step: int, network) -> None:
        """Measures how far the boxes that the network finds on crops before `step` are off the true ones.

        Those that cut a word do not count: what is not seen cannot be read.

        A run that goes on from a checkpoint measures the same, since its weights are the same.
        """
        self._probe = self._probe or self.reader(network)
        errors = []
        for index in range(PROBES if step else 0):
            page = self.sample(max(0, step * self.recipe.batch - 1 - index))
            found, _ = self._probe.detector(page.image)
            for i, j in metrics.pair(found, page.polygons, page.ignore)[0]:
                errors.append(targets.error(found[i], page.polygons[j]))
        errors = [error for error in errors if targets.whole(error)]
        self.errors = np.array(errors, np.float32).reshape(-1, 4, 2)

    def reader(self, network) -> Spotter:  # type: ignore[override]
        """The network as the reading path uses it."""
        return spotter_of(self.card, runtime.parts_in_process(self.card, network))

    def counts(self, spotter: Spotter, pages: Sequence[Page]) -> np.ndarray:  # type: ignore[override]
        """(N, 3) for each page: words found and read right, read, and true, as a bag of letters and digits."""
        return np.array([_counted(*spotter(page.image), page)[1] for page in pages], int).reshape(-1, 3)

    def validate(self, network, picture: Path) -> dict[str, float]:
        """The hmean of boxes and of words on each held-out set, read as a user's pages are; "score" is that of words.

        Writes a picture of the first pages of each set with what was found.
        """
        spotter, shown, means = self.reader(network), [], []
        scores: dict[str, float] = {}
        for name, pages in self.held_out().items():
            boxes, words = np.zeros(3, int), np.zeros(3, int)
            for index, page in enumerate(pages):
                found, sure, readings = spotter(page.image)
                right, read = _counted(found, sure, readings, page)
                boxes, words = boxes + right, words + read
                if index < ILLUSTRATED:
                    shown.append((page.image, found, page.polygons[~page.ignore]))
            scores |= {f"{name}_{key}": value for key, value in metrics.hmean(*map(int, boxes)).items()}
            scores[f"{name}_words"] = metrics.hmean(*map(int, words))["hmean"]
            means.append(scores[f"{name}_words"])
        plots.regions(shown, picture)
        return {"score": float(np.mean(means)), **scores}


def weighted(target: dict, outputs: dict) -> dict:
    """λ1·L_cls, λ2·L_iou and λ3·L_ctc, (B,) each: see `losses.spotting`."""
    return {name: WEIGHTS[name] * value for name, value in losses.spotting(target, outputs).items()}


def _counted(found, scores, readings, page: Page) -> tuple[tuple[int, int, int], np.ndarray]:
    """Of boxes and of words on a page: right, found, true. Illegible places do not count."""
    pairs, counted = metrics.pair(found, page.polygons, page.ignore)
    read = [reading.text for reading, counts in zip(readings, counted, strict=True) if counts]
    true = [text for text, skipped in zip(page.texts, page.ignore, strict=True) if not skipped]
    return (len(pairs), int(counted.sum()), int((~page.ignore).sum())), np.array(metrics.bag(read, true))


make = Task
