"""How far a recognizer's confidence is to be believed, and the temperature that makes it so. Guo et al. 2017.

    logits / temperature → softmax → confidence of a word, the product of its characters'

https://arxiv.org/abs/1706.04599, section 4.2. The temperature is chosen on words of `train` that nothing was learnt
from. It changes texts only where the windows of a long strip are joined, or a language is asked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from recipes import evaluate, metrics, origin
from recipes.data import datasets
from zoo import registry, runtime
from zoo.reading import Recognizer, recognizer_of
from zoo.registry import Card

TEMPERATURES = np.geomspace(0.5, 4, 43)
PRECISIONS = (0.9, 0.95, 0.99)
TINY = 1e-6  # confidence is kept so far from 0 and 1


@dataclass(frozen=True)
class Calibration:
    """What was found.

    Attributes:
        words: that were read.
        temperature: of the logits.
        before, after: expected calibration errors, without it and with it.
        thresholds: for each of `PRECISIONS` the least confidence from which so many words are right, and the share of
            the words that are as sure; none where no threshold does it.
        min_confidence: that leaves out as many words as the card's did before.
        failures: what could not be read, and why.
    """

    words: int
    temperature: float
    before: float
    after: float
    thresholds: dict[float, tuple[float, float] | None]
    min_confidence: float | None
    failures: list[str]


def calibrate(name: str, folders: Sequence[Path], *, runtime_name: str = "auto") -> Calibration:
    """The calibration of a recognizer on the held-out words of data sets; pictures that cannot be had are left out.

    Raises:
        ValueError: there are none, or the model is no recognizer.
    """
    card = registry.card(name)
    if card.task != "recognition":
        raise ValueError(f"{name} is a model for {card.task}; recognizers are calibrated")
    entries = [entry for folder in folders for entry in datasets.halves(datasets.read(folder))[1]]
    failures: list[str] = []
    given = evaluate.pictures(entries, failures) if entries else ()
    shown = (replace(entry, pixels=picture) for entry, picture in given)
    pairs = [pair for entry in shown for pair in datasets.crops(entry) if metrics.alnum(pair[1])]
    if not pairs:
        raise ValueError(f"{', '.join(map(str, folders))}: no word of `train` is held out")
    crops, texts = zip(*pairs, strict=True)
    run = Recorded(runtime.connect(name, runtime_name))
    usual = {key: value for key, value in card.reading.items() if key not in ("temperature", "min_confidence")}

    def told(temperature: float) -> tuple[np.ndarray, np.ndarray]:
        return judged(recognizer_of(card, run, **usual, temperature=temperature), crops, texts)

    chosen = float(min(TEMPERATURES, key=lambda temperature: surprise(*told(temperature))))
    (confidence, right), (plain, right_before) = told(chosen), told(1.0)
    least = card.reading.get("min_confidence")
    if least is not None:
        now, _ = told(card.reading.get("temperature", 1.0))
        least = float(np.quantile(confidence, np.mean(now < least)))
    return Calibration(
        words=len(texts),
        temperature=round(chosen, 3),
        before=metrics.calibration_error(plain, right_before),
        after=metrics.calibration_error(confidence, right),
        thresholds={share: threshold(confidence, right, share) for share in PRECISIONS},
        min_confidence=None if least is None else round(least, 3),
        failures=failures,
    )


class Recorded:
    """Passes on to a network's `run`; what was asked before is answered from memory."""

    def __init__(self, run: Callable[[np.ndarray], Mapping[str, np.ndarray]]):
        self.run, self.answers = run, {}  # type: ignore[var-annotated]

    def __call__(self, batch: np.ndarray) -> Mapping[str, np.ndarray]:
        key = batch.shape, hashlib.sha256(batch.tobytes()).digest()
        if key not in self.answers:
            self.answers[key] = self.run(batch)
        return self.answers[key]


def judged(recognizer: Recognizer, crops: Sequence[np.ndarray], texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Of each crop the confidence (N,) with which it is read, and whether letters and digits are right (N,) bool."""
    readings = recognizer(crops)
    right = [metrics.alnum(reading.text) == metrics.alnum(text) for reading, text in zip(readings, texts, strict=True)]
    return np.array([reading.score for reading in readings]), np.array(right)


def surprise(confidence: np.ndarray, right: np.ndarray) -> float:
    """The mean negative logarithm of the probability that was given to what turned out."""
    sure = confidence.clip(TINY, 1 - TINY)
    return float(-np.log(np.where(right, sure, 1 - sure)).mean())


def threshold(confidence: np.ndarray, right: np.ndarray, share: float) -> tuple[float, float] | None:
    """The least confidence from which at least this share of the words is right, and the share of words above it."""
    order = np.argsort(-confidence, kind="stable")
    precision = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    ends = np.append(confidence[order][1:] < confidence[order][:-1], True)  # not between words that are as sure
    good = np.flatnonzero((precision >= share) & ends)
    return (float(confidence[order][good[-1]]), float((good[-1] + 1) / len(order))) if len(good) else None


def write(name: str, found: Calibration) -> Path:
    """Writes a calibration into the card of the model; the path of the card."""
    card: Card = registry.card(name)
    reading: dict[str, Any] = {**card.reading, "temperature": found.temperature}
    if found.min_confidence is not None:
        reading["min_confidence"] = found.min_confidence
    path = origin.card_path(card)
    registry.write_card(replace(card, reading=reading), path)
    return path
