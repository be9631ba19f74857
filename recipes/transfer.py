"""From a model to one for other documents: a recipe that starts from it, and what it learnt and forgot.

    zoo finetune crnn_mobilenet_v3_small --data MINE --run runs/tuned --replay THEIRS

The new model learns from `MINE/train` with a share of samples of what the old one knew: synthetic ones and those of the
sets to replay. Its report compares both models on held-out samples of each.
"""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recipes import pretrain, recipe, train
from recipes.data import datasets
from recipes.recipe import Recipe
from recipes.release import replace_data, stored_recipe
from zoo import registry
from zoo.charset import Charset
from zoo.files import replacing

REPORT = "report.md"
RESAMPLES = 2000


# ---------------------------------------------------------------- recipes


def recipe_of(model: str) -> Recipe:
    """The recipe of a run's folder, or that which is named after a card.

    Raises:
        ValueError: there is none.
    """
    if (Path(model) / train.RECIPE).is_file():
        return stored_recipe(Path(model))
    card = registry.card(model)
    if not (named := recipe.of_card(card.name, card.task)):
        raise ValueError(
            f"no recipe is named after {card.name!r}; give the folder of the run that it came from, or go on with zoo "
            f"train RECIPE --run DIR --start {model}, RECIPE being one of {card.task} of zoo recipes"
        )
    return recipe.find(named)


def finetuning(model: str, data: Sequence[Path], replay: Sequence[Path] = (), characters: str = "") -> Recipe:
    """The recipe to go on from a model with other data.

    Half of the samples are from the data, the others from what the model knew: L = α·L_source + (1 - α)·L_target with
    α = 1/2. The rate is a third of the usual, and training ends when four validations in a row brought nothing.

    Args:
        model: name of a card, or a run's folder.
        data: folders of data sets, of which `train` is learnt.
        replay: folders of data sets that stand for what the model knew, beside synthetic samples.
        characters: to add to a recognizer's alphabet; those that it has stay where they are.

    Raises:
        ValueError: no recipe is known of the model, it is a backbone that was pretrained, or it has no alphabet to
            which characters could be added.
    """
    base = recipe_of(model)
    if base.task == pretrain.__name__:
        raise ValueError(f"{model} is a backbone alone; go on with zoo train RECIPE --run DIR --start {model}")
    if characters:
        if "charset" not in (card := registry.card(model)).options:
            raise ValueError(f"characters={characters!r}: {model} is for {card.task}, which has no alphabet")
        characters = unicodedata.normalize("NFC", characters)  # as labels are
        known = Charset(card.options["charset"]).characters
        added = "".join(character for character in dict.fromkeys(characters) if character not in known)
        base = dataclasses.replace(base, options={**base.options, "charset": known + added})
    usual = Recipe(model="", task="")
    of_the_run = ("shards", "few", "adapt", "target", "teacher")  # what it learnt from
    return dataclasses.replace(
        base,
        **{name: getattr(usual, name) for name in of_the_run},
        start=model,
        real=tuple(str(path.resolve()) for path in data),
        replay=tuple(str(path.resolve()) for path in replay),
        real_share=0.5,
        easy=0,
        steps=1000,
        rate=base.rate / 3,
        warmup=50,
        ema=min(base.ema, 0.99),
        checkpoint_every=50,
        validate_every=100,
        patience=4,
    )


# ---------------------------------------------------------------- what was gained and lost


@dataclasses.dataclass(frozen=True)
class Change:
    """A score on a set before and after, and the interval that holds its change with 95 %."""

    name: str
    count: int
    before: float
    after: float
    low: float
    high: float

    @property
    def change(self) -> float:
        return self.after - self.before


def bootstrap(before: np.ndarray, after: np.ndarray, seed: int = 0) -> tuple[float, float, float, float]:
    """Score before and after, and the 95 % interval of the change, of samples drawn again in pairs.

    Efron and Tibshirani 1993, chapter 13: percentiles.

    Args:
        before: (N, 3) for each sample: right, found, true. The score is the harmonic mean of precision and recall over
            all samples; for words it is the share that is read right.
        after: the same of the same samples.
        seed: of the draws.
    """
    drawn = np.random.default_rng(seed).integers(0, len(before), (RESAMPLES, len(before)))
    changes = _scores(after[drawn].sum(1)) - _scores(before[drawn].sum(1))
    low, high = np.percentile(changes, (2.5, 97.5))
    return float(_scores(before.sum(0))), float(_scores(after.sum(0))), float(low), float(high)


def _scores(counts: np.ndarray) -> np.ndarray:
    """Harmonic means of (…, 3) counts: 2 · right / (found + true)."""
    both = counts[..., 1] + counts[..., 2]
    return np.where(both > 0, 2 * counts[..., 0] / np.maximum(both, 1), 1.0)


def compare(model: str, run: Path, test: bool = False) -> list[Change]:
    """How the run's model differs from the one it began with, on the same samples.

    They are those of `train` that neither model has seen in this run, of each set; or, once at the very end, those of
    `test`.

    Args:
        model: the start.
        run: folder of the finished run.
        test: of each real set the `test` split, as far as it has one.
    """
    how, cards = recipe_of(str(run)), [registry.card(model), registry.card(run)]
    how = dataclasses.replace(how, options={})
    bare = dataclasses.replace(replace_data(how), together=0)  # of the start, whose alphabet may have no space
    tasks = [train.make_task(bare, cards[0], None), train.make_task(how, cards[1], Path("."))]
    networks = [registry.load(model), registry.load(run)]
    readers = [task.reader(network) for task, network in zip(tasks, networks, strict=True)]
    sets: dict[str, list[Any]] = dict(tasks[1].held_out())  # the samples of both: the first task has no data
    if test:
        paths = [Path(path) for path in how.real + how.replay]
        for path, title in zip(paths, datasets.titles(paths), strict=True):
            entries = [entry for entry in datasets.read(path, "test") if entry.split == "test"]  # of docTR's none
            if samples := tasks[1].samples(path.name, entries):
                sets[f"{title}/test"] = samples
    changes = []
    for name, samples in sets.items():
        before, after = (_tallies(task, reader, samples) for task, reader in zip(tasks, readers, strict=True))
        for what, counts in before.items():
            title = f"{name}, {what}" if what else name
            changes.append(Change(title, len(samples), *bootstrap(counts, after[what])))
    return changes


def _tallies(task: Any, reader: Any, samples: Sequence) -> dict[str, np.ndarray]:
    """What counts, by name: of most tasks one thing, ""."""
    return task.tallies(reader, samples) if hasattr(task, "tallies") else {"": task.counts(reader, samples)}


def write_report(changes: Sequence[Change], model: str, path: Path) -> str:
    """The table of changes in Markdown, which is also written to the path."""
    lines = [
        f"# {path.parent.name}, which began as {Path(model).name}",
        "",
        "| set | samples | before | after | change | 95 % interval |",
        "| --- | ---: | ---: | ---: | ---: | --- |",
    ]
    lines += [
        f"| {c.name} | {c.count} | {c.before:.3f} | {c.after:.3f} | {c.change:+.3f} | {c.low:+.3f} to {c.high:+.3f} |"
        for c in changes
    ]
    text = "\n".join(lines) + "\n"
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return text


def finetune(
    how: Recipe,
    run: Path,
    *,
    test: bool = False,
    devices: Sequence[str] = (),
    workers: int = 0,
    verbose: bool = True,
) -> str:
    """Trains by a recipe of `finetuning`, and gives the report of what changed, which is in the run's folder, too."""
    train.train(how, run, Path("."), devices=devices, workers=workers, verbose=verbose)
    return write_report(compare(how.start, run, test), how.start, run / REPORT)
