"""Where a model is right and where it errs: scores by groups of samples, pairs of characters that are mistaken."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from recipes import metrics


class Group(NamedTuple):
    """Samples that have something in common: how many they are, and the share of them that is right."""

    name: str
    size: int
    score: float


def names(edges: Sequence[float]) -> list[str]:
    """How the groups between edges are called: (3, 8) are "under 3", "3 to under 8", "8 and more"."""
    inner = [f"{low:g} to under {high:g}" for low, high in itertools.pairwise(edges)]
    return [f"under {edges[0]:g}", *inner, f"{edges[-1]:g} and more"]


def grouped(values: Sequence[float], right: Sequence[bool], edges: Sequence[float]) -> list[Group]:
    """The samples by a value of each, in the groups between edges; those without a sample are left out."""
    places, good = np.digitize(np.asarray(values, float), edges), np.asarray(right, float)
    return [
        Group(name, int((places == place).sum()), float(good[places == place].mean()))
        for place, name in enumerate(names(edges))
        if (places == place).any()
    ]


# ---------------------------------------------------------------- text


def aligned(read: str, true: str) -> list[tuple[str, str]]:
    """(true, read) characters by the fewest edits (Levenshtein); "" stands for one that is missing or too many.

    Of several ways one with replacements as far left as possible is taken.
    """
    cost = np.zeros((len(true) + 1, len(read) + 1), int)
    cost[:, 0], cost[0] = np.arange(len(true) + 1), np.arange(len(read) + 1)
    for i, a in enumerate(true, 1):
        for j, b in enumerate(read, 1):
            cost[i, j] = min(cost[i - 1, j] + 1, cost[i, j - 1] + 1, cost[i - 1, j - 1] + (a != b))
    pairs, i, j = [], len(true), len(read)
    while i or j:
        if i and cost[i, j] == cost[i - 1, j] + 1:
            i -= 1
            pairs.append((true[i], ""))
        elif j and cost[i, j] == cost[i, j - 1] + 1:
            j -= 1
            pairs.append(("", read[j]))
        else:
            i, j = i - 1, j - 1
            pairs.append((true[i], read[j]))
    return pairs[::-1]


def characters(pairs: Iterable[tuple[str, str]]) -> list[Group]:
    """Each true character of `aligned` pairs and the share of it that is read right, those most often wrong first."""
    seen, right = Counter[str](), Counter[str]()
    for true, read in pairs:
        if true:
            seen[true] += 1
            right[true] += true == read
    groups = [Group(character, count, right[character] / count) for character, count in seen.items()]
    return sorted(groups, key=lambda group: (right[group.name] - group.size, group.name))


def confusions(pairs: Iterable[tuple[str, str]]) -> list[tuple[tuple[str, str], int]]:
    """(true, read) of `aligned` pairs that differ and how often, the most often first."""
    counts = Counter((true, read) for true, read in pairs if true != read)
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


# ---------------------------------------------------------------- boxes


class Boxes(NamedTuple):
    """Boxes of one page: those found that count and those true that are asked for, each (N, 4, 2), and which match.

    `partner` (N, 4, 2) is of each found box the true one that it matches; of a false one the box itself.
    """

    found: np.ndarray
    right: np.ndarray
    true: np.ndarray
    met: np.ndarray
    partner: np.ndarray

    @property
    def errors(self) -> int:
        """Misses and false boxes."""
        return int((~self.right).sum() + (~self.met).sum())


def boxes(found: np.ndarray, true: np.ndarray, ignore: np.ndarray) -> Boxes:
    """What was found on a page beside the truth, by `metrics.pair`."""
    pairs, counted = metrics.pair(found, true, ignore)
    right, met = np.zeros(len(found), bool), np.zeros(len(true), bool)
    right[[i for i, _ in pairs]] = True
    met[[j for _, j in pairs]] = True
    partner = found.copy()
    for i, j in pairs:
        partner[i] = true[j]
    return Boxes(found[counted], right[counted], true[~ignore], met[~ignore], partner[counted])


def heights(polygons: np.ndarray) -> np.ndarray:
    """(N,) mean lengths of the left and right sides of (N, 4, 2), pixels."""
    return np.linalg.norm(polygons[:, [3, 2]] - polygons[:, [0, 1]], axis=-1).mean(1)


def angles(polygons: np.ndarray) -> np.ndarray:
    """(N,) degrees between the top edges of (N, 4, 2) and the level, 0 to 90: which end is first does not matter."""
    x, y = (polygons[:, 1] - polygons[:, 0]).T
    return np.degrees(np.arctan2(np.abs(y), np.abs(x)))


def hmeans(pages: Sequence[Boxes], value, edges: Sequence[float]) -> list[tuple[str, int, dict[str, float]]]:
    """(group, true boxes in it, precision, recall and hmean) by a value of boxes, for groups that have true boxes.

    A right box belongs to the group of the true one that it matches, a false one to that of its own value: precision is
    of those found there, recall of those true there.

    Args:
        pages: of a data set.
        value: (N, 4, 2) → (N,).
        edges: between the groups.
    """
    found = np.digitize(np.concatenate([value(page.partner) for page in pages]), edges)
    true = np.digitize(np.concatenate([value(page.true) for page in pages]), edges)
    right, met = (np.concatenate([getattr(page, key) for page in pages]) for key in ("right", "met"))
    rows = []
    for place, name in enumerate(names(edges)):
        count, seen = int((true == place).sum()), int((found == place).sum())
        if count:
            precision = float(right[found == place].mean()) if seen else 0.0
            recall = float(met[true == place].mean())
            mean = 2 * precision * recall / max(precision + recall, 1e-12)
            rows.append((name, count, {"precision": precision, "recall": recall, "hmean": mean}))
    return rows
