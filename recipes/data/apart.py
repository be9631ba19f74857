"""Whether what a model learnt from is apart from what it is scored on: pictures by hashes, texts by phrases.

    zoo data apart DATA [DATA ...]

A picture counts as another's double if both have the same bytes, or if the same small view of them differs in no more
than `NEAR` of its 256 bits (a difference hash: each pixel of 17 × 16 against its right neighbour).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from recipes.data import corpus, datasets
from zoo import image as images

SIDE = 16  # rows and columns of bits
NEAR = 14  # bits; of 256, unlike pages differ in about a half
PLAIN = 24  # bits of a picture that are set, or are not, at least: blank ones are all alike
PHRASE = 3  # words in a row that no source of synthetic text may share with a test


class Double(NamedTuple):
    """A picture to be scored on and one to learn from that are one and the same, or nearly so.

    Attributes:
        scored, learnt: the pictures.
        bits: in which they differ; 0 is the same bytes, too.
    """

    scored: Path
    learnt: Path
    bits: int


def difference(picture: np.ndarray) -> np.ndarray:
    """(256,) bool of a picture (H, W, 3) uint8: whether a pixel of a small view is lighter than its right neighbour."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (SIDE + 1, SIDE), interpolation=cv2.INTER_AREA).astype(int)
    return (small[:, :-1] > small[:, 1:]).ravel()


def doubles(
    learnt: Sequence[Path],
    scored: Sequence[Path],
    progress: Callable[[int, int], None] = lambda done, count: None,
) -> Iterator[Double]:
    """Yields each picture to be scored on that is the double of one that is learnt from, with its nearest.

    Args:
        learnt, scored: files of pictures.
        progress: is told how many pictures of how many are done.
    """
    total = len(learnt) + len(scored)
    bits, digests = np.zeros((len(learnt), SIDE * SIDE), bool), {}
    for index, path in enumerate(learnt):
        bits[index] = difference(next(iter(images.pages(path))).pixels)
        digests[hashlib.sha256(path.read_bytes()).digest()] = path
        progress(index + 1, total)
    for index, path in enumerate(scored, len(learnt) + 1):
        same = digests.get(hashlib.sha256(path.read_bytes()).digest())
        own = difference(next(iter(images.pages(path))).pixels)
        if same is not None:
            yield Double(path, same, 0)
        elif len(learnt) and PLAIN <= own.sum() <= len(own) - PLAIN:
            away = (bits != own).sum(1)
            if away.min() <= NEAR:
                yield Double(path, learnt[int(away.argmin())], int(away.min()))
        progress(index, total)


def phrases(texts: Iterable[str], length: int = PHRASE) -> set[tuple[str, ...]]:
    """All runs of so many words in the texts, without case."""
    rows = [text.casefold().split() for text in texts]
    return {tuple(row[i : i + length]) for row in rows for i in range(len(row) - length + 1)}


def shared_phrases(entries: Iterable[datasets.Entry]) -> set[tuple[str, ...]]:
    """Phrases of labelled pages and lines that stand in a source of synthetic text, as one of its entries."""
    sources = [*corpus.BUSINESS, *corpus.COMMON, *(word for words in corpus.dictionaries() for word in words)]
    known = phrases(source for source in sources if " " in source)
    texts = [" ".join(entry.texts) or entry.page_text or entry.text or "" for entry in entries]
    return known & phrases(texts) if known else set()
