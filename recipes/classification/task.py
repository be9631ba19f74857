"""What training a classifier is: its batches of pictures and classes, its loss, its validation.

The card says what it is shown: single characters of an alphabet, or words or pages that lie turned by quarters. Real
data sets give what suits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from recipes import plots
from recipes.data import augment, corpus, datasets, documents, synthetic
from recipes.data.pipeline import Batch, cached
from recipes.recipe import Recipe
from zoo import runtime
from zoo.classifying import Classifier
from zoo.registry import Card

VALIDATION_SEED = 1_000_003
PARTS = 0.5  # share of pages of which a part is shown, from closer
LARGEST = 2  # times the size that the network is given: real pictures are kept no larger


class Sample(NamedTuple):
    """A picture (H, W, 3) uint8 of any size and its class."""

    image: np.ndarray
    label: int


# What reads as something after half a turn: by itself, as another of these, or as a mark.
EITHER_WAY = frozenset("0OoQ8xXzZsSNHIil|169unbqdpMWmw")


def tells(text: str) -> bool:
    """Whether a word shows which way up it is: several characters, among them one that is nothing upside down."""
    return len(text) > 1 and any(character.isalnum() and character not in EITHER_WAY for character in text)


def _word(rng: np.random.Generator) -> np.ndarray:
    """A synthetic word that tells."""
    while not tells(text := corpus.word(rng)):
        pass
    return synthetic.draw_word(text, rng).image


# The pictures that a classifier of turns is shown, upright.
UPRIGHT: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "word": _word,
    "page": lambda rng: documents.document(rng).image,
}

SHOWN = {  # what it takes of a data set, as `shown` does
    "character": "a character of the alphabet",
    "word": "a word, or a page of words, that tells which way up it is",
    "page": "a page",
}


class Task:
    """Batches of pictures and their classes.

    Args:
        recipe: what the run is.
        card: of the classifier: the size of its pictures, what they show, and what its classes mean.
        data: folder of the real data sets; None trains on synthetic pictures alone.

    Raises:
        ValueError: the card's classes are not as many as the network's.
    """

    def __init__(self, recipe: Recipe, card: Card, data: Path | None):
        self.recipe, self.reading = recipe, card.reading
        self.classifier = Classifier(lambda batch: {}, **card.reading)  # for what it knows of pictures
        self.picture, self.names = self.classifier.picture, self.classifier.labels
        if len(self.names) != card.options["classes"]:
            raise ValueError(f"{card.name} has classes={card.options['classes']}; its reading names {len(self.names)}")
        self.turned = self.picture != "character"
        self.grouped = len(self.names) if self.turned else 1  # steps whose samples are drawn together
        self.real, self.held = self._pictures(datasets.train_split(data, recipe.real, recipe.few))
        self.kept, self.held_kept = self._pictures(datasets.train_split(data, recipe.replay))
        self.sources = [f"synthetic {self.picture}s", *datasets.sources(data, recipe.real + recipe.replay)]
        self.upright = cached(self._upright, 2 * recipe.batch)

    def _pictures(self, split: tuple[datasets.Named, datasets.Named]) -> list[dict[str, list[Sample]]]:
        """The pictures of both halves of `train_split`, of each data set that has some.

        Raises:
            ValueError: one of the sets has none.
        """
        halves = [{name: list(self._known(entries)) for name, entries in half.items()} for half in split]
        for name in split[0]:
            if not any(half[name] for half in halves):
                count = sum(len(half[name]) for half in split)
                raise ValueError(
                    f"nothing of {name} can be learnt from: none of its {count} pictures is {SHOWN[self.picture]}"
                )
        return [{name: samples for name, samples in half.items() if samples} for half in halves]

    def _known(self, entries: Iterable[datasets.Entry]) -> Iterator[Sample]:
        """What can be learnt from of a data set."""
        for sample in (sample for entry in entries for sample in shown(self.classifier, entry)):
            yield Sample(self._shrunk(sample.image), sample.label)

    def _shrunk(self, image: np.ndarray) -> np.ndarray:
        """A picture at no more than twice the size that it is shown at."""
        factor = min(
            1.0, *(LARGEST * size / side for size, side in zip(self.classifier.size, image.shape, strict=False))
        )
        return cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA) if factor < 1 else image

    def _upright(self, index: int) -> np.ndarray:
        """The picture number `index` of the run, before it is turned."""
        rng = np.random.default_rng((self.recipe.seed, 6, index))
        pictures = datasets.chosen(self.real, self.kept, self.recipe.real_share, rng)
        image = vary(datasets.draw(pictures, rng)[1].image, rng) if pictures else UPRIGHT[self.picture](rng)
        return part(image, rng) if self.picture == "page" and rng.random() < PARTS else image

    def sample(self, index: int) -> Sample:
        """The sample number `index` of the run.

        Each word or page comes by all turns, in as many batches one after the other: those of a batch all differ, since
        batch normalization would take a few pictures for all.
        """
        if self.turned:
            batch, turns = self.recipe.batch, len(self.names)
            step, place = divmod(index, batch)
            return turned(self.upright(step // turns * batch + place), (step + place) % turns)
        rng = np.random.default_rng((self.recipe.seed, 5, index))
        if pictures := datasets.chosen(self.real, self.kept, self.recipe.real_share, rng):
            sample: Sample = datasets.draw(pictures, rng)[1]
            return Sample(vary(sample.image, rng), sample.label)
        return self.drawn(rng)

    def drawn(self, rng: np.random.Generator) -> Sample:
        """A synthetic sample that depends on `rng` alone, of any class equally often."""
        label = int(rng.integers(len(self.names)))
        if self.turned:
            return turned(UPRIGHT[self.picture](rng), label)
        return Sample(synthetic.draw_word(self.names[label], rng).image, label)

    def collate(self, samples: list[Sample]) -> Batch:
        """Pictures (B, H, W, 3) uint8 and "class" (B,) int32."""
        pixels = np.stack([self.classifier.fitted(sample.image) for sample in samples])
        return pixels, {"class": np.array([sample.label for sample in samples], "int32")}

    def batch(self, step: int) -> Batch:
        """The samples of a step, as `collate` has them."""
        return self.collate([self.sample(step * self.recipe.batch + i) for i in range(self.recipe.batch)])

    def loss(self, target: dict, outputs: dict):
        """(B,) cross-entropy of the class."""
        from recipes import losses  # with a framework, which processes that make batches do without

        return losses.classes(target["class"], outputs["logits"], self.recipe.smoothing)

    def held_out(self) -> dict[str, list[Sample]]:
        """What validation looks at: samples that no step sees, the real ones by all turns."""
        count = self.recipe.validation
        sets = {"synthetic": [self.drawn(np.random.default_rng((VALIDATION_SEED, i))) for i in range(count)]}
        return sets | datasets.held_sets(self.held, self.held_kept, count, lambda name, some: self._by_all_turns(some))

    def samples(self, name: str, entries: Iterable[datasets.Entry]) -> list[Sample]:
        """The pictures of a data set, as `counts` takes them: by all turns."""
        return self._by_all_turns(self._known(entries))

    def _by_all_turns(self, samples: Iterable[Sample]) -> list[Sample]:
        turns = range(len(self.names) if self.turned else 1)
        return [turned(s.image, k) if self.turned else s for s in samples for k in turns]

    def validate(self, network, picture: Path) -> dict[str, float]:
        """The share of held-out pictures of each set whose class is found, "…_accuracy"; "score" is their mean.

        Writes a picture of the first of each set with the class that was found.
        """
        reader, shown, scores = self.reader(network), [], {}
        for name, samples in self.held_out().items():
            found = [label for label, _ in reader([sample.image for sample in samples])]
            true = [self.names[sample.label] for sample in samples]
            scores[f"{name}_accuracy"] = float(np.mean([one == other for one, other in zip(found, true, strict=True)]))
            shown += list(zip([sample.image for sample in samples[:30]], found, true, strict=False))
        plots.words(shown, picture)
        return {"score": float(np.mean(list(scores.values()))), **scores}

    def reader(self, network) -> Classifier:
        """The network as the reading path uses it."""
        return Classifier(runtime.in_process(network), **self.reading)

    def counts(self, reader: Classifier, samples: Sequence[Sample]) -> np.ndarray:
        """(N, 3) for each sample: its class found, told, and true, which is (1 or 0, 1, 1)."""
        found = reader([sample.image for sample in samples])
        pairs = zip(found, samples, strict=True)
        return np.array([(label == self.names[sample.label], 1, 1) for (label, _), sample in pairs], int).reshape(-1, 3)


def shown(classify: Classifier, entry: datasets.Entry) -> Iterator[Sample]:
    """What a classifier is shown: a character of its alphabet; words that tell, wider than high; the page."""
    if classify.picture == "character":
        if entry.text in classify.labels:
            yield Sample(entry.read(), classify.labels.index(entry.text))
    elif classify.picture == "page":
        if entry.text is None:
            yield Sample(entry.read(), 0)
    else:
        words = (picture for picture, text in datasets.crops(entry) if tells(text))
        yield from (Sample(word, 0) for word in words if word.shape[1] > word.shape[0])


def turned(image: np.ndarray, turns: int) -> Sample:
    """The picture after so many quarter turns against the clock, which are its class."""
    return Sample(np.ascontiguousarray(np.rot90(image, turns)), turns)


def vary(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A real picture as another camera would have taken it."""
    image, _ = augment.seen(image, rng, 4.0, 0.04)
    return augment.degrade(image, rng, 0.6)


def part(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A part of a page, at least two fifths of its sides; the whole where less than half as much is on the part."""
    height, width = image.shape[:2]
    share = rng.uniform(0.4, 1)
    top, left = (int(rng.integers(0, max(1, int((1 - share) * side)))) for side in (height, width))
    cut = image[top : top + int(share * height), left : left + int(share * width)]
    return cut if cut.std() > image.std() / 2 else image


make = Task
