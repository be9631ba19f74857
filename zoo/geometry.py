"""Polygons: out of a detector's map, grown and shrunk, compared, grouped into lines and blocks in reading order.

A polygon is (P, 2) float32, x then y, clockwise from its top left; a box is one of four corners.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise
from math import inf, isfinite
from statistics import median
from typing import NamedTuple

import cv2
import numpy as np
import pyclipper

STRAIGHT = 2.0  # degrees: a box turned by less is taken as upright
COARSE, FINE = 1.0, 0.125  # degrees between the angles that are tried for the smallest rectangle
TELLING = 2.5  # aspect ratio from which a box's own angle is trusted
MOST, LEVEL = (
    8,
    0.2,
)  # boxes whose angle is trusted, from which on it is the page's, if fewer than such a part are level
SLANTED, LABELS = 15.0, 100  # degrees from which a long box is a slanted label; so many are looked along at most
AFTER, OFF = 3.0, 0.75  # of a label's thickness: how far a short piece of it goes on behind its end, and off its middle
TOGETHER = 1 << 14  # corners of which the smallest rectangles are sought at once, in some 50 MB
PRECISION = 256  # units of Clipper's integers in a pixel
RIM = 1 / 16  # part of its height that a closer look at a word leaves out above, and as much below

# ---------------------------------------------------------------- measures


def area(polygon: np.ndarray) -> float:
    """Pixels that a simple polygon (P, 2) covers."""
    x, y = np.asarray(polygon, "float64").T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def perimeter(polygon: np.ndarray) -> float:
    """Length of the closed outline of a polygon (P, 2)."""
    points = np.asarray(polygon, "float64")
    return float(np.linalg.norm(np.roll(points, -1, 0) - points, axis=1).sum())


def iou(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two simple polygons, in [0, 1]; they may be concave."""
    # Plain numbers: for a few corners NumPy's calls take ten times as long as Clipper.
    first, second = ([*map(tuple, np.asarray(polygon, "float64").tolist())] for polygon in (one, other))
    for these, those in zip(zip(*first, strict=True), zip(*second, strict=True), strict=True):
        if max(these) <= min(those) or max(those) <= min(these):
            return 0.0
    clipper = pyclipper.Pyclipper()
    try:
        for points, kind in ((first, pyclipper.PT_SUBJECT), (second, pyclipper.PT_CLIP)):
            clipper.AddPath([(round(x * PRECISION), round(y * PRECISION)) for x, y in points], kind, True)
    except (pyclipper.ClipperException, OverflowError, ValueError):  # one of them has no area, or is nowhere
        return 0.0
    common = sum(abs(pyclipper.Area(path)) for path in clipper.Execute(pyclipper.CT_INTERSECTION)) / PRECISION**2
    union = _enclosed(first) + _enclosed(second) - common
    return common / union if union > 0 else 0.0


def _enclosed(points: Sequence[tuple[float, float]]) -> float:
    return abs(sum(a * d - b * c for (a, b), (c, d) in zip(points, [*points[1:], points[0]], strict=True))) / 2


def angles(boxes: np.ndarray) -> np.ndarray:
    """(N,) degrees in (-180, 180] by which the text of boxes (N, 4, 2) is turned clockwise, from their top edges."""
    top = (boxes[:, 1] - boxes[:, 0]) + (boxes[:, 2] - boxes[:, 3])
    return np.degrees(np.arctan2(top[:, 1], top[:, 0]))


def sides(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N,) widths and (N,) heights of boxes (N, 4, 2): the means of opposite edges."""
    edges = np.linalg.norm(np.roll(boxes, -1, axis=1) - boxes, axis=2)  # top, right, bottom, left
    return (edges[:, 0] + edges[:, 2]) / 2, (edges[:, 1] + edges[:, 3]) / 2


def part(boxes: np.ndarray, start, stop) -> np.ndarray:
    """What lies from `start` to `stop`, parts of the width, of boxes (…, 4, 2) from the top left of their texts."""
    a, b, c, d = np.moveaxis(boxes, -2, 0)
    return np.stack([a + start * (b - a), a + stop * (b - a), d + stop * (c - d), d + start * (c - d)], -2)


def closer(boxes: np.ndarray) -> np.ndarray:
    """Boxes (N, 4, 2) from the top left of their texts, without a `RIM` of their height above and below."""
    return np.roll(part(np.roll(boxes, 1, -2), RIM, 1 - RIM), -1, -2)


# ---------------------------------------------------------------- growing and shrinking


def offset(polygon: np.ndarray, distance: float) -> list[np.ndarray]:
    """The polygons whose outline lies `distance` pixels outside (inside if negative) of that of `polygon`.

    None where nothing is left; several where shrinking parts it. Corners are rounded outwards.
    """
    clipper = pyclipper.PyclipperOffset(2.0, PRECISION / 64)
    clipper.AddPath(_integers(polygon), pyclipper.JT_ROUND, pyclipper.ET_CLOSEDPOLYGON)
    return [np.array(path, "float32") / PRECISION for path in clipper.Execute(distance * PRECISION)]


def shrink(polygon: np.ndarray, ratio: float) -> list[np.ndarray]:
    """The kernel of a text polygon: its outline moved inwards by area · (1 - ratio²) / perimeter."""
    return offset(polygon, -area(polygon) * (1 - ratio**2) / max(perimeter(polygon), 1e-6))


def _integers(polygon: np.ndarray) -> list[list[int]]:
    return np.rint(np.asarray(polygon, "float64") * PRECISION).astype("int64").tolist()


def growth(width: np.ndarray, height: np.ndarray, unclip: float) -> np.ndarray:
    """Distance by which the sides of a kernel of that size move outwards: unclip · area / perimeter."""
    return unclip * width * height / np.maximum(2 * (width + height), 1e-6)


def regrowth(width: np.ndarray, height: np.ndarray, ratio: float) -> np.ndarray:
    """Distance that undoes `shrink` on a rectangle, of which `width` and `height` are left.

    With w, h the sides left, k = 1 - ratio² and d the distance: d = k (w + 2d) (h + 2d) / (2 (w + h + 4d)).
    """
    k = 1 - ratio**2
    linear = (1 - k) * (width + height)
    return (np.sqrt(linear**2 + (8 - 4 * k) * k * width * height) - linear) / (8 - 4 * k)


# ---------------------------------------------------------------- from maps


def polygons(
    probability: np.ndarray,
    *,
    threshold: float = 0.3,
    box_threshold: float = 0.1,
    unclip: float = 1.5,
    shrunk: float | None = None,
    min_size: float = 2,
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (N, 4, 2) float32 in pixels of the map, and their scores (N,).

    A box is the smallest rectangle around a connected region, grown outwards. Its angle is the region's own where that
    is long enough to tell, otherwise the page's; where the page may have none, as a chart with a few slanted labels, a
    short region is upright if that makes its box smaller, unless a slanted label goes on in it. A box is upright within
    `STRAIGHT` degrees.

    Args:
        probability: (H, W) float, that a pixel is text.
        threshold: from which a pixel belongs to a region.
        box_threshold: a region's mean probability, its score, must reach this.
        unclip: a region grows by unclip · area / perimeter.
        shrunk: in place of `unclip`, the ratio by which training targets were shrunk, which is then undone exactly.
        min_size: both sides of a region must have this many pixels before it grows.
    """
    probability = np.ascontiguousarray(probability, "float32")
    mask = (probability >= threshold).astype("uint8")
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    inside = np.flatnonzero(mask)
    sums = np.bincount(labels.ravel()[inside], probability.ravel()[inside], count)
    scores = sums / np.maximum(stats[:, cv2.CC_STAT_AREA], 1)
    small = np.minimum(stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT]) < min_size
    keep = (scores >= box_threshold) & ~small
    keep[0] = False  # the background
    # Without their tree, which takes a time that grows with the square of the holes: a region's outline is the contour
    # that begins at its first pixel.
    contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return np.zeros((0, 4, 2), "float32"), np.zeros(0, "float32")
    starts = np.array([contour[0, 0] for contour in contours]) @ (1, mask.shape[1])
    owners, first = labels.ravel()[starts], np.full(count, mask.size)
    np.minimum.at(first, owners, starts)
    outer = np.flatnonzero((starts == first[owners]) & keep[owners]).tolist()
    kept = [(contours[i][:, 0], owners[i]) for i in outer]
    boxes = rectangles([contour for contour, _ in kept], unclip, shrunk)
    limit = np.array(probability.shape[::-1], "float32")
    return boxes.clip(0, limit), scores[[owner for _, owner in kept]].astype("float32")


def rectangles(contours: Sequence[np.ndarray], unclip: float = 0, shrunk: float | None = None) -> np.ndarray:
    """The grown rectangle of each region, given by its contour (M, 2) of pixel indices or by all: (N, 4, 2) float32.

    Args:
        contours: each (M, 2) int, x then y.
        unclip, shrunk: as `polygons` takes them.
    """
    if not contours:
        return np.zeros((0, 4, 2), "float32")
    points, counts = _hulls(contours)
    turns, lengths = np.empty(len(points)), np.empty((len(points), 2))
    for part in _alike(counts):
        turns[part], lengths[part] = _smallest(points[part, : counts[part].max()])
    turns = _settled(points, turns, lengths)
    along = points @ np.swapaxes(_rotation(-turns), 1, 2)
    low, high = along.min(1) - 0.5, along.max(1) + 0.5  # from pixels' centres to edges
    width, height = (high - low).T
    distance = regrowth(width, height, shrunk) if shrunk is not None else growth(width, height, unclip)
    low, high = low - distance[:, None], high + distance[:, None]
    corners = np.stack([low, np.c_[high[:, 0], low[:, 1]], high, np.c_[low[:, 0], high[:, 1]]], 1)  # (N, 4, 2)
    return (corners @ np.swapaxes(_rotation(turns), 1, 2) + 0.5).astype("float32")


def _hulls(contours: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(N, M, 2) the corners of each contour's convex hull, some of them more than once, and how many there are (N,)."""
    hulls = [cv2.convexHull(contour)[:, 0] for contour in contours]
    counts = np.array([len(hull) for hull in hulls])
    index = (np.cumsum(counts) - counts)[:, None] + np.arange(counts.max()) % counts[:, None]
    return np.concatenate(hulls).astype("float64")[index], counts


def _alike(counts: np.ndarray) -> list[np.ndarray]:
    """Indices of hulls in parts: of about as many corners each, and not more than `TOGETHER` together."""
    order = np.argsort(counts, kind="stable")
    kinds = np.stack([np.ceil(np.log2(counts[order])), counts[order].cumsum() // TOGETHER], 1)
    return np.split(order, np.flatnonzero((np.diff(kinds, axis=0) != 0).any(1)) + 1)


def _smallest(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Degrees in [-45, 45) of the smallest rectangle around each row of points (N, M, 2), and its lengths (N, 2) along
    and across.

    It is sought from degree to degree and then finer, as `serving.graph_regions` does, which cannot walk around a hull.
    """
    coarse = np.arange(-45, 45, COARSE)[None]
    best = np.take(coarse, _areas(*_spans(points, coarse), coarse).argmin(1))
    fine = best[:, None] + np.arange(-COARSE + FINE, COARSE, FINE)
    along, across = _spans(points, fine)
    chosen = np.arange(len(points)), _areas(along, across, fine).argmin(1)
    return fine[chosen], np.stack([along[chosen], across[chosen]], 1)


def _settled(points: np.ndarray, turns: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The angles (N,) of regions whose corners are points (N, M, 2), by those of their smallest rectangles and the
    lengths (N, 2) of these: see `polygons`."""
    lengths = lengths + 1
    telling = lengths.max(1) > TELLING * lengths.min(1)
    if not telling.any():
        return np.zeros(len(turns))
    usual, level = np.median(turns[telling]), np.abs(turns) < STRAIGHT
    if telling.sum() < MOST or level[telling].mean() >= LEVEL:
        along, across = _spans(points, np.array([[usual, 0.0]]))
        areas = (along + 1) * (across + 1)
        usual = np.where(areas[:, 1] < areas[:, 0], 0.0, usual)
    continued = _continued(points, turns, lengths, ~telling)
    turns = np.where(telling, turns, np.where(np.isnan(continued), usual, continued))
    return np.where(np.abs(turns) < STRAIGHT, 0.0, turns)


def _continued(points: np.ndarray, turns: np.ndarray, lengths: np.ndarray, short: np.ndarray) -> np.ndarray:
    """Degrees (N,) of short regions (N,) bool in whose line, and close, a slanted label begins or ends; NaN of others.

    It is the direction of the label's longer side, in (-90, 90), whatever its rectangle's angle.
    """
    labels = np.flatnonzero(~short & (np.abs(turns) > SLANTED))
    if not 0 < len(labels) <= LABELS:
        return np.full(len(turns), np.nan)
    middles, lengths, degrees = (points.min(1) + points.max(1)) / 2, lengths[labels], turns[labels]
    degrees = degrees + np.where(lengths[:, 0] >= lengths[:, 1], 0.0, -90 * np.sign(degrees))
    away = np.abs(np.einsum("nli,lji->nlj", middles[:, None] - middles[labels], _rotation(-degrees)))
    thick = lengths.min(1)
    gaps = (away[..., 0] - lengths.max(1) / 2) / thick
    gaps = np.where(short[:, None] & (gaps < AFTER) & (away[..., 1] < OFF * thick), gaps, np.inf)
    return np.where(np.isfinite(gaps).any(1), degrees[gaps.argmin(1)], np.nan)


def _spans(points: np.ndarray, degrees: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, K) lengths of points (N, M, 2) along the angles (N or 1, K), and across them."""
    radians = degrees * (np.pi / 180)
    cosine, sine = np.cos(radians)[:, None], np.sin(radians)[:, None]  # (N or 1, 1, K)
    x, y = points[..., :1], points[..., 1:]
    return np.ptp(x * cosine + y * sine, 1), np.ptp(y * cosine - x * sine, 1)


def _areas(along: np.ndarray, across: np.ndarray, degrees: np.ndarray) -> np.ndarray:
    """Areas, of equal ones that nearest to upright slightly the least."""
    return along * across + 1e-6 * np.abs(degrees)


def _rotation(degrees) -> np.ndarray:
    """(..., 2, 2) that turn (x, y) clockwise on the screen, where y points down."""
    radians = np.radians(degrees)
    cosine, sine = np.cos(radians), np.sin(radians)
    return np.stack([np.stack([cosine, -sine], -1), np.stack([sine, cosine], -1)], -2)


# ---------------------------------------------------------------- lines and reading order

GUTTER = 1.2  # heights of a line: the least width of the white between two columns
NARROW, FEW, MANY = 0.6, 6, 18  # the same of so many rows, from so few on: gaps seldom stand below each other for long
ROWS = 3  # that both columns must have at least
PROSE, CELL = 8.0, 4.0  # heights of a line: the least usual width of a column's rows; of any that stand on their own
INK = 0.7  # of a column's rows: the least share that words cover; less is a table
STEP, BESIDE = 0.18, 5  # heights by which lines side by side differ from their usual step, of so many at least
BREAK = 1.6  # usual distances between lines: a larger one begins a new block


def moved(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points (…, 2) where a matrix (2, 3) moves them, float32."""
    return (points @ matrix[:, :2].T + matrix[:, 2]).astype("float32")


def turned(points: np.ndarray, size: Sequence[int], turns: int) -> np.ndarray:
    """Points (…, 2) of a picture of (height, width) where they are after so many quarter turns against the clock."""
    height, width = size
    for _ in range(turns % 4):
        points = np.stack([points[..., 1], width - points[..., 0]], -1)
        height, width = width, height
    return points


def layout(boxes: np.ndarray) -> list[list[list[int]]]:
    """Blocks of lines of indices of words, in reading order; it does not depend on the order of `boxes` (N, 4, 2).

    Columns of running text are read one after the other; short cells side by side, as on receipts and forms, are read
    row by row.
    """
    boxes = np.asarray(boxes, "float32").reshape(-1, 4, 2)
    if not len(boxes):
        return []
    upright = _upright(boxes)
    order = sorted(range(len(boxes)), key=lambda i: (*upright[i].tolist(), *boxes[i].ravel().tolist()))
    return [
        [[order[word] for word in row] for row in block]
        for part in _parts(rows(upright[order]), upright[order])
        for block in _blocks(part, upright[order])
    ]


def lines(boxes: np.ndarray) -> list[list[int]]:
    """Lines of indices of words, in reading order."""
    return [line for block in layout(boxes) for line in block]


def _upright(boxes: np.ndarray) -> np.ndarray:
    """(N, 4) left, top, right, bottom of boxes after the page is turned so that most of its text is level."""
    turn = np.radians(angles(boxes).astype("float64"))
    width, height = sides(boxes)
    weight = np.maximum(width - height, 0.01 * width)  # long words tell more
    mean = np.arctan2(np.sort(weight * np.sin(turn)).sum(), np.sort(weight * np.cos(turn)).sum())
    rest = (turn - mean + np.pi) % (2 * np.pi) - np.pi
    level = np.degrees(mean + _weighted_median(rest, weight))
    centres = boxes.astype("float64").mean(1) @ _rotation(-level).T
    # A word's own frame gives its size: the bounding box of a slanted word would reach into its neighbours.
    across = np.abs(np.cos(turn - np.radians(level))) >= 0.5**0.5
    half = np.stack([np.where(across, width, height), np.where(across, height, width)], 1) / 2
    return np.c_[centres - half, centres + half].round(3)


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    order = np.lexsort((weights, values))
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])


def rows(words: np.ndarray) -> list[list[int]]:
    """Indices of (N, 4) upright words in rows from the top, each from the left.

    A word continues the row whose last word it overlaps most in height, so that a row may bend.
    """
    found: list[list[int]] = []
    last = np.zeros((0, 4))  # the last word of each row
    for index in np.lexsort((words[:, 1], words[:, 0])).tolist():
        left, top, _, bottom = words[index]
        common = np.minimum(bottom, last[:, 3]) - np.maximum(top, last[:, 1])
        heights = last[:, 3] - last[:, 1]
        low, high = np.minimum(heights, bottom - top), np.maximum(heights, bottom - top)
        # Not a word that stands above or below the last one, nor one of quite another size.
        fits = (common > 0.5 * low) & (high < 3 * low) & (left > (last[:, 0] + last[:, 2]) / 2)
        if fits.any():
            row = int(np.where(fits, common / np.maximum(high, 1e-6), -1).argmax())
            found[row].append(index)
            last[row] = words[index]
        else:
            found.append([index])
            last = np.r_[last, words[index : index + 1]]
    middle = (words[:, 1] + words[:, 3]) / 2
    return sorted(found, key=lambda row: (float(np.median(middle[row])), float(words[row[0], 0])))


class _Row(NamedTuple):
    """Words of one row from left to right: their left edges, how far right any of them so far reaches, their ink."""

    lefts: list[float]
    rights: list[float]
    ink: list[float]  # widths of the words so far, with 0 first
    tops: list[float]
    bottoms: list[float]

    def gaps(self, start: float, stop: float) -> list[tuple[float, float]]:
        """The white of the row, with what lies left and right of it, as far as it touches what lies between two x."""
        first, last = bisect_left(self.lefts, start), bisect_right(self.rights, stop)
        lefts, rights = [*self.lefts[first : last + 1], inf], self.rights[max(first - 1, 0) : last]
        return list(zip(rights if first else [-inf, *rights], lefts, strict=False))

    def halves(self, x: float) -> tuple[_Half, _Half]:
        """What begins left of x, and the rest."""
        count = bisect_left(self.lefts, x)
        left = self.rights[count - 1] - self.lefts[0] if count else 0.0
        right = self.rights[-1] - self.lefts[count] if count < len(self.lefts) else 0.0
        return _Half(count, left, self.ink[count]), _Half(
            len(self.lefts) - count, right, self.ink[-1] - self.ink[count]
        )

    def step(self, x: float) -> tuple[float, float] | None:
        """By how much the tops and bottoms of the words on both sides of x differ."""
        count = bisect_left(self.lefts, x)
        if not 0 < count < len(self.lefts):
            return None
        return self.tops[count - 1] - self.tops[count], self.bottoms[count - 1] - self.bottoms[count]


class _Half(NamedTuple):
    words: int
    width: float
    ink: float  # width that words cover


def _row(words: np.ndarray) -> _Row:
    lefts, rights = words[:, 0], np.maximum.accumulate(words[:, 2])
    ink = [0.0, *np.cumsum(words[:, 2] - lefts).tolist()]
    return _Row(lefts.tolist(), rights.tolist(), ink, words[:, 1].tolist(), words[:, 3].tolist())


def _parts(found: list[list[int]], words: np.ndarray) -> list[list[list[int]]]:
    """Rows cut into parts to be read one after the other: what stands above columns, each column, what is below."""
    height = float(np.median(words[:, 3] - words[:, 1]))
    measured = [_row(words[row]) for row in found]
    parts: list[list[list[int]]] = []
    plain: list[list[int]] = []
    start = 0
    while start < len(found):
        count, x = _columns(measured[start:], height)
        if not count:
            plain.append(found[start])
            start += 1
            continue
        parts += [plain] if plain else []
        plain = []
        inside = sorted(index for row in found[start : start + count] for index in row)
        for column in ([i for i in inside if words[i, 0] < x], [i for i in inside if words[i, 0] >= x]):
            own = [[column[i] for i in row] for row in rows(words[column])]
            parts += _parts(own, words)
        start += count
    return [*parts, plain] if plain else parts


def _columns(found: list[_Row], height: float) -> tuple[int, float]:
    """How many of the first rows stand in two columns of running text, and an x between them; 0 if they do not."""
    white = [(-inf, inf)]
    best = (0, 0.0)
    for count, row in enumerate(found):
        shared = [(max(a, c), min(b, d)) for a, b in white for c, d in row.gaps(a, b)]
        shared = [(a, b) for a, b in shared if b - a >= NARROW * height]
        after = ((a, b, bisect_left(shared, (a, -inf))) for a, b in white)  # both go from left to right
        ended = [(a, b) for a, b, place in after if place == len(shared) or shared[place][1] > b]
        best = max([best, *((count, x) for x in _gutters(found[:count], ended, height))])
        white = shared
        if not white:
            return best
    return max([best, *((len(found), x) for x in _gutters(found, white, height))])


def _gutters(found: list[_Row], white: list[tuple[float, float]], height: float) -> list[float]:
    """The middles of those strips of white that have running text on both sides, or lines that are out of step."""
    if len(found) < ROWS:
        return []
    least = height * float(np.interp(len(found), [FEW, MANY], [GUTTER, NARROW]))
    middles = [(a + b) / 2 for a, b in white if isfinite(a) and isfinite(b) and b - a >= least]
    return [x for x in middles if _is_gutter(found, x, height)]


def _is_gutter(found: list[_Row], x: float, height: float) -> bool:
    """Whether on both sides of x there is running text, or there are lines that are no cells and out of step."""
    prose = True
    for side in zip(*(row.halves(x) for row in found), strict=True):
        full = [half for half in side if half.words]
        if len(full) < ROWS or (width := median(half.width for half in full)) < CELL * height:
            return False
        prose &= width >= PROSE * height and median(half.words for half in full) >= 2
        prose &= median(half.ink / half.width for half in full) >= INK
    return prose or _out_of_step([row.step(x) for row in found], height)


def _out_of_step(steps: list[tuple[float, float] | None], height: float) -> bool:
    """Whether the lines on both sides go down the page on their own, where cells of a row would stand level, or all
    differ alike on a page that is bent."""
    known = np.array([step for step in steps if step], float).reshape(-1, 2)
    if len(known) < BESIDE:
        return False
    each = np.c_[known, known.mean(1)]  # letters reach up and down: by tops, bottoms or middles, as tells it best
    return float(np.median(np.abs(each - np.median(each, 0)), 0).min()) > STEP * height


def _blocks(part: list[list[int]], words: np.ndarray) -> list[list[list[int]]]:
    """Rows cut into blocks where the distance between two lines is larger than usual."""
    middle = np.array([np.median(words[row][:, [1, 3]].mean(1)) for row in part])
    heights = np.array([np.median(words[row, 3] - words[row, 1]) for row in part])
    steps = np.diff(middle)
    # Low among the distances: a part of few lines may have as many breaks.
    usual = max(float(np.quantile(steps, 0.25)) if len(steps) else 0.0, 1.2 * float(np.median(heights)))
    cuts = [0, *(np.flatnonzero(steps > BREAK * usual) + 1).tolist(), len(part)]
    return [part[a:b] for a, b in pairwise(cuts)]
