"""What training a recognizer is: its batches of strips, its loss, its validation."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from recipes import analysis, plots
from recipes.data import augment, corpus, datasets, shards, synthetic
from recipes.data.pipeline import Batch, cached
from recipes.recipe import Recipe
from recipes.recognition.targets import align, masks, padded
from zoo import image as images
from zoo import runtime
from zoo.charset import Charset, Reading
from zoo.reading import Recognizer
from zoo.registry import Card

GROUP = 16  # batches whose samples are sorted by width together
STRIDE = 4  # pixels of a strip for each step of a recognizer
STEP = 32  # pixels in which a batch's width is rounded up
VALIDATION_SEED = 1_000_003
LINES = 24  # characters of the longest text, above which a recipe reads lines


class Task:
    """Batches of strips and their texts for a CTC recognizer.

    Args:
        recipe: what the run is.
        card: of the recognizer: its alphabet, the height of strips and the widths of buckets.
        data: folder of the real data sets; None trains on synthetic words alone.
    """

    grouped = GROUP  # steps whose samples are drawn together
    longest = sys.maxsize  # characters of a text that can be learnt from, at most

    def __init__(self, recipe: Recipe, card: Card, data: Path | None):
        self.recipe, self.charset = recipe, Charset(card.options["charset"])
        self.height, self.widths = int(card.reading["height"]), tuple(card.reading["widths"])
        self.decoding = str(card.reading.get("decoding", "ctc"))
        if recipe.together and " " not in self.charset.characters:
            raise ValueError(f"{recipe.together=} needs an alphabet with a space: --set options=charset:french_lines")
        if recipe.widest < STEP:
            raise ValueError(f"widest={recipe.widest}: strips are {STEP} pixels wide or more")
        split = datasets.train_split(data, recipe.real, recipe.few)
        self.real, self.held = self._told_words(split)
        self.spans = self._spans(split[0]) if recipe.together else {}
        self.kept, self.held_kept = self._told_words(datasets.train_split(data, recipe.replay))
        self.shape = (recipe.batch, self.height, 0, 3)  # of a batch, of any width
        self.group = cached(self._group, 2)  # two, since threads may be at work on both sides of a border
        self.packed = shards.of(data, recipe.shards, recipe.seed)
        if self.packed:
            self._drawn(0)  # shards of no use are told of before a run begins
            self.real, self.spans = {}, {}  # which validate, but teach nothing
        named = recipe.replay if self.packed else recipe.real + recipe.replay
        self.sources = ["synthetic words"] + datasets.sources(data, named) + self.packed.sources

    def _told_words(self, split: tuple[datasets.Named, datasets.Named]) -> list[dict[str, list[synthetic.Strip]]]:
        """The words of both halves of `train_split`; what is left out is told."""
        halves = [self._words(half) for half in split]
        for name in split[0]:
            self._tell(name, [*split[0][name], *split[1][name]], any(name in half for half in halves))
            self._tell_crowded(name, [strip.text for half in halves for strip in half.get(name, ())])
        return halves

    def _words(self, sets: datasets.Named) -> dict[str, list[synthetic.Strip]]:
        """The words of each data set that has some."""
        words = {name: self.samples(name, entries) for name, entries in sets.items()}
        return {name: samples for name, samples in words.items() if samples}

    def _tell(self, name: str, entries: Sequence[datasets.Entry], useful: bool) -> None:
        """Says how many of a data set's texts the alphabet cannot write, and are not learnt from.

        Raises:
            ValueError: nothing of it can be learnt from.
        """
        words = (" ".join(entry.texts).split() if entry.text is None else [entry.text] for entry in entries)
        texts = [text for text in itertools.chain(*words) if text]  # lines of pages are cut into words
        texts = [self.charset.typed(text) for text in texts]
        long = sum(len(text) > self.longest for text in texts)
        unknown = [text for text in texts if self.charset.plain(text) != text]
        missing = repr("".join(sorted(set("".join(unknown)) - set(self.charset.characters))))
        if entries and not useful:
            why = [f"none of its {len(entries)} pictures has a text"] if not texts else []
            if unknown:
                why.append(f"{len(unknown)} of {len(texts)} texts are not of the alphabet, which lacks {missing}")
            if long:
                why.append(f"{long} of {len(texts)} texts are longer than {self.longest} characters")
            told = ", ".join(why) or f"not one of its {len(texts)} texts is of use"
            raise ValueError(f"nothing of {name} can be learnt from: {told}")
        if unknown:
            print(
                f"{name}: {len(unknown)} of {len(texts)} texts are left out, as the alphabet lacks {missing}",
                file=sys.stderr,
            )
        if long:
            print(
                f"{name}: {long} of {len(texts)} texts are left out, as they are longer than {self.longest} characters",
                file=sys.stderr,
            )

    def _tell_crowded(self, name: str, texts: Sequence[str]) -> None:
        """Says how many of a data set's texts CTC cannot write in the steps of the widest strip: they teach nothing.

        Raises:
            ValueError: these are all.
        """
        widest, steps = self.width(self.recipe.widest), self.width(self.recipe.widest) // STRIDE
        needed = [len(text) + sum(a == b for a, b in itertools.pairwise(text)) for text in texts]  # a blank in between
        crowded = sum(count > steps for count in needed) if self.decoding == "ctc" else 0
        if not crowded:
            return
        told = f"{crowded} of {len(texts)} texts need more steps than the {steps} of strips {widest} pixels wide"
        if len(self.widths) > 1:
            told += f"; --set widest={-(-max(needed) * STRIDE // STEP) * STEP} has enough"
        if crowded == len(texts):
            raise ValueError(f"nothing of {name} can be learnt from: {told}")
        print(f"{name}: {told}: they teach nothing", file=sys.stderr)

    def check(self, network) -> None:
        """Nothing, where a network that CTC teaches gives a step for each `STRIDE` pixels of a strip.

        Raises:
            ValueError: it gives others, as with the backbone of a detector.
        """
        if self.decoding != "ctc":
            return
        import keras

        width = self.width(self.recipe.widest)
        steps = network.compute_output_spec(keras.KerasTensor((1, self.height, width, 3)))["logits"].shape[1]
        if steps not in (None, width // STRIDE):  # None: no network says so before it runs
            options = f"options={self.recipe.options}: " if self.recipe.options else ""
            raise ValueError(
                f"{options}{network.name} reads a strip of {width} pixels in {steps} steps, not in {width // STRIDE}; "
                "a recognizer takes a backbone whose name ends in _r, such as mobilenet_v3_small_r"
            )

    def samples(self, name: str, entries: Iterable[datasets.Entry]) -> list[synthetic.Strip]:
        """The words of a data set's pictures that can be learnt from; of crops those of lines, too."""
        return self._strips(name, (found for entry in entries for found in datasets.crops(entry)))

    def _spans(self, sets: datasets.Named) -> dict[str, list[synthetic.Strip]]:
        """Neighbouring words of each data set that has some: of pages, and those of crops that hold several."""
        spans: dict[str, list[synthetic.Strip]] = {}
        for name, entries in sets.items():
            pages = (found for entry in entries if entry.text is None for found in datasets.spans(entry))
            found = self._strips(name, pages) + [strip for strip in self.real.get(name, ()) if " " in strip.text]
            spans |= {name: found} if found else {}
        return spans

    def _strips(self, name: str, found: Iterable[tuple[np.ndarray, str]]) -> list[synthetic.Strip]:
        return [
            synthetic.Strip(_shrink(picture, 2 * self.height), text)
            for picture, text in ((picture, self.charset.typed(text)) for picture, text in found)
            if self.usable(name, text)
        ]

    def usable(self, name: str, text: str) -> bool:
        """Whether a label can be learnt from: its characters are known, and so is their case.

        The labels of sroie are all in capitals whatever the print: only words without letters tell the truth.
        """
        if name == "sroie" and any(character.isalpha() for character in text):
            return False
        return bool(text) and self.charset.plain(text) == text

    def _drawn(self, number: int) -> datasets.Entry:
        """The word number `number` of the shards."""
        typed = self.charset.typed
        return self.packed.draw(number, lambda entry: self.usable(entry.path.parts[0], typed(entry.text or "")))

    def sample(self, index: int) -> synthetic.Strip:
        """The sample number `index` of the run: a real word now and then, else a synthetic one."""
        rng = np.random.default_rng((self.recipe.seed, 1, index))
        if self.packed and rng.random() < self.recipe.real_share:
            entry = self._drawn(index)
            text = self.charset.typed(entry.text or "")
            return synthetic.Strip(vary(_shrink(entry.read(), 2 * self.height), rng), text)
        if self.real and rng.random() < self.recipe.real_share:
            words = self.spans if self.spans and rng.random() < self.recipe.together else self.real
        elif self.kept and rng.random() < 0.5:
            words = self.kept
        else:
            difficulty = self.recipe.hardest * (min(1.0, index / self.recipe.easy) if self.recipe.easy else 1.0)
            how = self.charset, self.recipe.seed, index, self.recipe.longest, difficulty, self.recipe.together
            texts = self.text if self.recipe.language else None
            return self._by_hand(synthetic.word_at(*how, self.recipe.hand, texts), rng)
        word = self._by_hand(datasets.draw(words, rng)[1], rng)
        return synthetic.Strip(vary(word.image, rng), word.text)

    def _by_hand(self, word: synthetic.Strip, rng: np.random.Generator) -> synthetic.Strip:
        """The word as another hand has it, now and then; where its characters are is not known then."""
        if rng.random() >= self.recipe.hand:
            return word
        return synthetic.Strip(augment.another_hand(word.image, rng), word.text)

    def text(self, rng: np.random.Generator) -> str:
        """A synthetic text in the recipe's language: a part of one of the real sets' texts, or words of its own."""
        longest = self.recipe.longest
        if self.real and rng.random() < self.recipe.quoted:
            words = datasets.draw(self.real, rng)[1].text.split(" ")
            return corpus.cut(" ".join(words[int(rng.integers(len(words))) :]), longest)
        return corpus.running(rng, self.recipe.language, longest)

    def batch(self, step: int) -> Batch:
        """Strips (B, height, W, 3) uint8, "ids" (B, L) int32 padded with the blank, "length" (B,) int32.

        W holds the batch; words longer than the recipe's `widest` are squeezed. The samples of `GROUP` steps are
        sorted by width and dealt out, so that a batch holds words of about one length; its place in the group is drawn,
        so that lengths do not rise and fall with the steps.
        """
        group, place = divmod(step, GROUP)
        size = self.recipe.batch
        samples = self.group(group)
        order = np.argsort([images.strip_width(s.image, self.height) for s in samples], kind="stable")
        turn = np.random.default_rng((self.recipe.seed, 2, group)).permutation(GROUP)[place]
        return self.collate([samples[i] for i in order[turn * size : (turn + 1) * size]])

    def _group(self, group: int) -> list[synthetic.Strip]:
        """The samples of a group of steps."""
        count = GROUP * self.recipe.batch
        return [self.sample(group * count + i) for i in range(count)]

    def collate(self, samples: list[synthetic.Strip]) -> Batch:
        """Strips of one width and their padded labels."""
        width = self.width(max(images.strip_width(sample.image, self.height) for sample in samples))
        pixels = np.stack([images.strip(sample.image, self.height, width) for sample in samples])
        labels = [self.charset.encode(sample.text) for sample in samples]
        ids = np.full((len(labels), padded(max(map(len, labels)))), self.charset.blank, "int32")
        for row, label in zip(ids, labels, strict=True):
            row[: len(label)] = label
        targets = {"ids": ids, "length": np.array([len(label) for label in labels], "int32")}
        if self.recipe.aligned:
            targets["frames"] = np.full((len(samples), width // STRIDE), self.charset.blank, "int32")
            targets["aligned"] = np.array(list(map(self._align, samples, labels, targets["frames"])), "float32")
        return pixels, targets

    def width(self, widest: int) -> int:
        """Pixels of a batch whose widest strip has so many; always the same for a network that knows its places."""
        return self.widths[0] if len(self.widths) == 1 else min(-(-widest // STEP) * STEP, self.recipe.widest)

    def _align(self, sample: synthetic.Strip, label: list[int], frames: np.ndarray) -> float:
        """Writes a sample's characters into its steps (T,) in place; 0 where their places are unknown or too near."""
        if sample.centres is None:
            return 0.0
        width = min(images.strip_width(sample.image, self.height), STRIDE * len(frames))
        scale = width / sample.image.shape[1]
        return align(sample.centres * scale // STRIDE, label, frames)

    def unlabelled(self, paths: Sequence[Path]) -> Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]:
        """A function that draws pictures of words as strips of a shape (B, height, W, 3) uint8; W = 0 is any width.

        Those are drawn that are as wide, within `STEP` pixels, or the nearest: at least as many as a batch has.
        """
        words = [_shrink(next(iter(images.pages(path))).pixels, 2 * self.height) for path in paths]
        words.sort(key=lambda word: images.strip_width(word, self.height))
        widths = np.array([images.strip_width(word, self.height) for word in words])

        def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
            count, height, width, _ = shape
            width = width or self.width(int(rng.choice(widths)))
            stop = max(int(np.searchsorted(widths, width, "right")), min(count, len(words)))
            start = max(0, min(int(np.searchsorted(widths, width - STEP, "right")), stop - count))
            drawn = [words[index] for index in rng.integers(start, stop, count)]
            return np.stack([images.strip(vary(word, rng), height, width) for word in drawn])

        return draw

    def loss(self, target: dict, outputs: dict):
        """(B,) CTC loss per character, and that of the steps where the recipe asks for it."""
        from recipes import losses  # with a framework, which processes that make batches do without

        loss = losses.ctc(target, outputs["logits"])
        if self.recipe.aligned:
            loss += self.recipe.aligned * losses.frames(target, outputs["logits"])
        return loss

    def validate(self, network, picture: Path) -> dict[str, float]:
        """Accuracy of words, or lines, and of characters on each held-out set, read as a user's are.

        "score" is the mean of the words' over the sets; where a recipe reads lines, which are seldom right to the last
        character, that of the characters'. Writes a picture of the first words of each set with what was read.
        """
        recognizer, scores, shown = self.reader(network), {}, []
        for name, samples in self.held_out().items():
            readings = recognizer([sample.image for sample in samples])
            for key, counts in _tallies(readings, samples).items():
                right, found, true = counts.sum(0)
                scores[f"{name}_{key or 'accuracy'}"] = float(2 * right / max(1, found + true))
            shown += [(s.image, r.text, s.text) for r, s in zip(readings[:60], samples, strict=False)]
        plots.words(shown, picture)
        what = "_characters" if self.recipe.longest > LINES else "_accuracy"
        return {"score": float(np.mean([value for key, value in scores.items() if key.endswith(what)])), **scores}

    def reader(self, network) -> Recognizer:
        """The network as the reading path uses it."""
        run = runtime.in_process(network)
        return Recognizer(run, self.charset, height=self.height, widths=self.widths, decoding=self.decoding)

    def counts(self, recognizer: Recognizer, samples: Sequence[synthetic.Strip]) -> np.ndarray:
        """(N, 3) for each sample: words read right, read, and true, which is (1 or 0, 1, 1)."""
        return _words_right(recognizer([sample.image for sample in samples]), samples)

    @staticmethod
    def tallies(recognizer: Recognizer, samples: Sequence[synthetic.Strip]) -> dict[str, np.ndarray]:
        """(N, 3) right, read, and true of words, "", and of "characters": of lines these tell more."""
        return _tallies(recognizer([sample.image for sample in samples]), samples)

    def held_out(self) -> dict[str, list[synthetic.Strip]]:
        """What validation reads: synthetic words that no step sees, and the real ones held out."""
        count = self.recipe.validation
        sets = {"synthetic": [synthetic.word_at(self.charset, VALIDATION_SEED, i) for i in range(count)]}
        return sets | datasets.held_sets(self.held, self.held_kept, count, lambda name, words: words)


def _tallies(readings: Sequence[Reading], samples: Sequence[synthetic.Strip]) -> dict[str, np.ndarray]:
    characters = [
        (sum(a == b for a, b in analysis.aligned(reading.text, sample.text)), len(reading.text), len(sample.text))
        for reading, sample in zip(readings, samples, strict=True)
    ]
    return {"": _words_right(readings, samples), "characters": np.array(characters, int).reshape(-1, 3)}


def _words_right(readings: Sequence[Reading], samples: Sequence[synthetic.Strip]) -> np.ndarray:
    pairs = zip(readings, samples, strict=True)
    return np.array([(reading.text == sample.text, 1, 1) for reading, sample in pairs], int).reshape(-1, 3)


class Attention(Task):
    """Batches for a recognizer that writes a character in each step, and an end.

    "ids" (B, longest + 1) hold the end after each text; strips are as wide as the widest of the card. A training graph
    that wants a teacher is told "tokens" (B, longest + 1): the start, whose class follows the end's, and the text.
    """

    def __init__(self, recipe: Recipe, card: Card, data: Path | None):
        self.longest = int(card.options["longest"])
        super().__init__(recipe, card, data)
        self.told: tuple[str, ...] = ("tokens",) if recipe.options.get("teacher") else ()  # targets as inputs, too

    def usable(self, name: str, text: str) -> bool:
        """Whether a label can be learnt from; see `Task`."""
        return len(text) <= self.longest and super().usable(name, text)

    def collate(self, samples: list[synthetic.Strip]) -> Batch:
        pixels = np.stack([images.strip(sample.image, self.height, max(self.widths)) for sample in samples])
        end, start = len(self.charset), len(self.charset) + 1
        ids = np.full((len(samples), self.longest + 1), end, "int32")
        for row, sample in zip(ids, samples, strict=True):
            row[: len(sample.text)] = self.charset.encode(sample.text)
        tokens = np.concatenate([np.full((len(ids), 1), start, "int32"), ids[:, :-1]], 1)
        length = np.array([len(sample.text) for sample in samples], "int32")
        return pixels, {"ids": ids, "length": length, "tokens": tokens}

    def loss(self, target: dict, outputs: dict):
        """(B,) cross-entropy per character."""
        from recipes import losses

        return losses.attention(target, outputs["logits"], self.recipe.smoothing)


class Permuted(Attention):
    """Batches for a recognizer that learns to read in several orders: it is told "masks" (B, orders, T, T), too."""

    def __init__(self, recipe: Recipe, card: Card, data: Path | None):
        super().__init__(recipe, card, data)
        self.told = ("tokens", "masks")
        self.orders = int(card.options["orders"])

    def batch(self, step: int) -> Batch:
        """What `Attention` makes, with orders drawn for each text."""
        pixels, given = super().batch(step)
        rng = np.random.default_rng((self.recipe.seed, 3, step))
        drawn = [masks(length, self.longest + 1, self.orders, rng) for length in given["length"]]
        return pixels, given | {"masks": np.stack(drawn)}

    def loss(self, target: dict, outputs: dict):
        """(B,) cross-entropy per character, over all orders."""
        from recipes import losses

        return losses.permuted(target, outputs["logits"])


def make(recipe: Recipe, card: Card, data: Path | None) -> Task:
    """The task that suits what the card's network gives."""
    if card.reading.get("decoding", "ctc") == "ctc":
        return Task(recipe, card, data)
    return (Permuted if "orders" in card.options else Attention)(recipe, card, data)


def _shrink(image: np.ndarray, height: int) -> np.ndarray:
    """The picture at no more than this height, aspect kept: a strip needs no more."""
    if len(image) <= height:
        return image
    return images.resize(image, height, max(1, round(image.shape[1] * height / len(image))))


def vary(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A real crop as another camera would have taken it: cut a little wider or closer, tilted, degraded, or small."""
    image, _ = augment.seen(image, rng, 2.0, 0.05)
    image = augment.degrade(image, rng, 0.6)
    return augment.thumbnail(image, rng) if rng.random() < synthetic.SMALL else image
