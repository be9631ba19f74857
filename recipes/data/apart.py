"""Whether what a model learnt from is apart from what it is scored on: pictures by hashes, texts by phrases.

    zoo data apart DATA [DATA ...]

A picture counts as another's double if both have the same bytes, or if the same small view of them differs in no more
than `NEAR` of its 256 bits (a difference hash: each pixel of 17 × 16 against its right neighbour). Pictures without
files of their own, as MNIST's digits, all look alike: of them the same pixels alone count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from recipes.data import corpus, datasets

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
    learnt: Sequence[datasets.Entry],
    scored: Sequence[datasets.Entry],
    progress: Callable[[int, int], None] = lambda done, count: None,
) -> Iterator[Double]:
    """Yields each picture to be scored on that is the double of one that is learnt from, with its nearest.

    Args:
        learnt, scored: labelled pictures. One that is in both is no double of itself.
        progress: is told how many pictures of how many are done.

    Raises:
        zoo.image.ImageError: one is missing or damaged.
    """
    total = len(learnt) + len(scored)
    digests: dict[bytes, list[datasets.Entry]] = {}
    files: list[datasets.Entry] = []
    looks: list[np.ndarray] = []  # their bits
    for index, entry in enumerate(learnt):
        picture, digest = _seen(entry)
        digests.setdefault(digest, []).append(entry)
        if entry.pixels is None:
            files.append(entry)
            looks.append(difference(picture))
        progress(index + 1, total)
    bits, places = np.array(looks, bool).reshape(-1, SIDE * SIDE), {id(entry): i for i, entry in enumerate(files)}
    for index, entry in enumerate(scored, len(learnt) + 1):
        picture, digest = _seen(entry)
        if same := [other for other in digests.get(digest, []) if other is not entry]:
            yield Double(entry.path, same[-1].path, 0)
        elif files and entry.pixels is None and PLAIN <= (own := difference(picture)).sum() <= len(own) - PLAIN:
            away = (bits != own).sum(1)
            if (itself := places.get(id(entry))) is not None:
                away[itself] = len(own)
            if away.min() <= NEAR:
                yield Double(entry.path, files[int(away.argmin())].path, int(away.min()))
        progress(index, total)


def _seen(entry: datasets.Entry) -> tuple[np.ndarray, bytes]:
    """The picture of an entry, and a digest of its file, or of its pixels where it has none."""
    picture = entry.read()
    data = entry.path.read_bytes() if entry.pixels is None else repr(picture.shape).encode() + picture.tobytes()
    return picture, hashlib.sha256(data).digest()


def phrases(texts: Iterable[str], length: int = PHRASE) -> set[tuple[str, ...]]:
    """All runs of so many words in the texts, without case."""
    rows = [text.casefold().split() for text in texts]
    return {tuple(row[i : i + length]) for row in rows for i in range(len(row) - length + 1)}


def shared_phrases(entries: Iterable[datasets.Entry]) -> set[tuple[str, ...]]:
    """Phrases of labelled pages and lines that stand in a source of synthetic text, as one of its entries."""
    lists = [*corpus.dictionaries(), *(speller.stems for speller in corpus.spellers())]
    sources = [*corpus.BUSINESS, *corpus.COMMON, *corpus.FURTHER, *(word for words in lists for word in words)]
    known = phrases(source for source in sources if " " in source)
    texts = [" ".join(entry.texts) or entry.page_text or entry.text or "" for entry in entries]
    return known & phrases(texts) if known else set()
