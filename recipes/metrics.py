"""Scores in [0, 1]: of boxes and of text."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from zoo import geometry


def overlaps(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """(N, M) intersection over union of polygons (N, 4, 2) and (M, 4, 2)."""
    result = np.zeros((len(found), len(true)))
    if not result.size:
        return result
    low, high = found.min(1), found.max(1)
    for column, polygon in enumerate(true):
        near = (low < polygon.max(0)).all(1) & (high > polygon.min(0)).all(1)
        for row in np.flatnonzero(near):
            result[row, column] = geometry.iou(found[row], polygon)
    return result


def pair(
    found: np.ndarray, true: np.ndarray, ignore: np.ndarray, least: float = 0.5
) -> tuple[list[tuple[int, int]], np.ndarray]:
    """Indices (found, true) of the boxes that match, and which of those found count (N,) bool.

    Each is matched once, with the greatest total overlap.

    Args:
        found: (N, 4, 2).
        true: (M, 4, 2).
        ignore: (M,) bool: these are not asked for; an unmatched box of which more than half lies on one does not count.
        least: intersection over union of a match.
    """
    wanted = np.flatnonzero(~ignore)
    iou = overlaps(found, true[wanted])
    rows, columns = linear_sum_assignment(np.where(iou >= least, iou, 0), maximize=True)
    pairs = [(int(i), int(wanted[j])) for i, j in zip(rows, columns, strict=True) if iou[i, j] >= least]
    counted = np.array([not _covered(polygon, true[ignore]) for polygon in found], bool)
    counted[[i for i, _ in pairs]] = True
    return pairs, counted


def matches(found: np.ndarray, true: np.ndarray, ignore: np.ndarray, least: float = 0.5) -> tuple[int, int, int]:
    """How many boxes match, were found, and are true, of those that count: see `pair`."""
    pairs, counted = pair(found, true, ignore, least)
    return len(pairs), int(counted.sum()), int((~ignore).sum())


def _covered(polygon: np.ndarray, others: np.ndarray) -> bool:
    """Whether more than half of the polygon's area lies in one of the others."""
    area = geometry.area(polygon)
    for other in others:
        iou = geometry.iou(polygon, other)
        both = iou * (area + geometry.area(other)) / (1 + iou)
        if both > area / 2:
            return True
    return False


THRESHOLDS = tuple(i / 20 for i in range(10, 20))  # intersection over union from which a box is right: .50 to .95
MOST = 100  # boxes of a page and a class that are looked at, the surest ones


class Boxes(NamedTuple):
    """Upright boxes (N, 4) of a page: left, top, right, bottom; their classes (N,), scores (N,)."""

    corners: np.ndarray
    classes: np.ndarray
    scores: np.ndarray


def upright(polygons: Sequence[np.ndarray]) -> np.ndarray:
    """(N, 4) left, top, right, bottom of polygons (P, 2)."""
    return np.array([[*points.min(0), *points.max(0)] for points in polygons], "float64").reshape(-1, 4)


def average_precisions(found: Sequence[Boxes], true: Sequence[Boxes], classes: int) -> np.ndarray:
    """(K, 10) average precision of each class at each of `THRESHOLDS`, nan of a class that stands nowhere.

    As COCO has it (Lin et al. 2014, https://arxiv.org/abs/1405.0312): the surest box first takes the true one of its
    class that it overlaps most, unless that is taken; precision is the best at that recall or beyond, and its mean is
    taken at the recalls 0, 0.01 … 1.

    Args:
        found, true: of each page.
        classes: K.
    """
    result = np.full((classes, len(THRESHOLDS)), np.nan)
    for kind in range(classes):
        pages = [_of_class(page, kind, MOST) for page in found], [_of_class(page, kind) for page in true]
        wanted = sum(len(page.corners) for page in pages[1])
        if not wanted:
            continue
        scores = np.concatenate([page.scores for page in pages[0]])
        right = np.concatenate([_right(*page) for page in zip(*pages, strict=True)])  # (N, thresholds)
        right = right[np.argsort(-scores, kind="stable")]
        result[kind] = [_average(right[:, i], wanted) for i in range(len(THRESHOLDS))]
    return result


def _of_class(page: Boxes, kind: int, most: int | None = None) -> Boxes:
    """The boxes of a class, at most so many, the surest first."""
    own = np.flatnonzero(page.classes == kind)
    own = own[np.argsort(-page.scores[own], kind="stable")][:most]
    return Boxes(page.corners[own], page.classes[own], page.scores[own])


def _right(found: Boxes, true: Boxes) -> np.ndarray:
    """(N, thresholds) bool: which boxes found take a true one."""
    result = np.zeros((len(found.corners), len(THRESHOLDS)), bool)
    if not result.size or not len(true.corners):
        return result
    low = np.maximum(found.corners[:, None, :2], true.corners[:, :2])
    high = np.minimum(found.corners[:, None, 2:], true.corners[:, 2:])
    common = np.prod((high - low).clip(0), -1)
    areas = [np.prod(page.corners[:, 2:] - page.corners[:, :2], 1) for page in (found, true)]
    iou = common / np.maximum(areas[0][:, None] + areas[1] - common, 1e-12)
    for place, least in enumerate(THRESHOLDS):
        free = np.ones(len(true.corners), bool)
        for row, shares in enumerate(iou):
            best = int(np.where(free, shares, -1).argmax())
            if free[best] and shares[best] >= least:
                result[row, place], free[best] = True, False
    return result


def _average(right: np.ndarray, wanted: int) -> float:
    """The average precision of boxes from the surest down, of which `right` (N,) take a true one of `wanted`."""
    hits = np.cumsum(right)
    precision = np.maximum.accumulate((hits / np.arange(1, len(hits) + 1))[::-1])[::-1]
    place = np.searchsorted(hits / wanted, np.linspace(0, 1, 101))
    return float(np.append(precision, 0)[place].mean())


def mean_average_precision(found: Sequence[Boxes], true: Sequence[Boxes], classes: int) -> dict[str, float]:
    """The mean of `average_precisions` over classes and thresholds, "map", and at .50 and .75; 1 without boxes."""
    each = average_precisions(found, true, classes)
    each = each[~np.isnan(each[:, 0])]
    if not len(each):
        return {"map": 1.0, "ap50": 1.0, "ap75": 1.0}
    return {"map": float(each.mean()), "ap50": float(each[:, 0].mean()), "ap75": float(each[:, 5].mean())}


def hmean(right: int, found: int, true: int) -> dict[str, float]:
    """Precision, recall and their harmonic mean; 1 where there is nothing to find and nothing was found."""
    precision = right / found if found else float(not true)
    recall = right / true if true else 1.0
    return {"precision": precision, "recall": recall, "hmean": 2 * precision * recall / max(precision + recall, 1e-12)}


def exact(text: str) -> str:
    """The text in Unicode's composed form (NFC): a letter and its accent may be one character or two."""
    return unicodedata.normalize("NFC", text)


def caseless(text: str) -> str:
    """The text without regard to case."""
    return exact(text).casefold()


def alnum(text: str) -> str:
    """Only the letters and digits of the text, compatible characters made one (NFKC), without regard to case."""
    return "".join(c for c in unicodedata.normalize("NFKC", text).casefold() if c.isalnum())


# The forms in which texts are compared. A text of which nothing is left in a form is not asked for.
FORMS: Mapping[str, Callable[[str], str]] = {"exact": exact, "caseless": caseless, "alnum": alnum}


def bag(read: Sequence[str], true: Sequence[str], form: Callable[[str], str] = alnum) -> tuple[int, int, int]:
    """How many words of two texts are the same, were read, and are true; each counts as often as it stands there."""
    ours, theirs = (
        Counter(filter(None, (form(word) for text in texts for word in text.split()))) for texts in (read, true)
    )
    return (ours & theirs).total(), ours.total(), theirs.total()


def edits(read: str, true: str) -> int:
    """The least number of characters to insert, delete or replace (Levenshtein)."""
    row = list(range(len(true) + 1))
    for i, a in enumerate(read, 1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(true, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return row[-1]


def cer(read: Sequence[str], true: Sequence[str]) -> float:
    """Character error rate: edits over characters of the truth, summed over the texts."""
    return sum(map(edits, read, true)) / max(1, sum(map(len, true)))


def calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error: how far confidence is from the share that is right. Guo et al. 2017, eq. 3.

    Args:
        confidence: (N,) in [0, 1].
        right: (N,) bool.
        bins: of equal width, within which both are compared.
    """
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(place, right - confidence, bins)
    return float(np.abs(gaps).sum() / max(1, len(confidence)))


def confusion(found: np.ndarray, true: np.ndarray, classes: int) -> np.ndarray:
    """(K, K) pixels of each true class (rows) that were found to be of each class (columns)."""
    pairs = true.astype(np.int64).ravel() * classes + found.astype(np.int64).ravel()
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def miou(counts: np.ndarray) -> dict[str, float]:
    """Mean over the classes of intersection over union, and share of the pixels that are right.

    A class that neither stands in the truth nor was found does not count.

    Args:
        counts: (K, K) of `confusion`, summed over the pages.
    """
    shares = ious(counts)
    there = ~np.isnan(shares)
    mean = float(shares[there].mean()) if there.any() else 1.0
    return {"miou": mean, "pixels": float(np.diag(counts).sum() / max(1, counts.sum()))}


def ious(counts: np.ndarray) -> np.ndarray:
    """(K,) intersection over union of each class; nan of one that neither stands in the truth nor was found."""
    right = np.diag(counts)
    union = counts.sum(0) + counts.sum(1) - right
    return np.where(union > 0, right / np.maximum(union, 1), np.nan)
