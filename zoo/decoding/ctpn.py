"""Lines of text from CTPN's columns. Tian et al. 2016, https://arxiv.org/abs/1609.03605, sections 3.1 to 3.3.

outputs → proposals: columns 16 pixels wide, with their upper and lower ends → one of those that overlap in a column
        → chains of neighbours → boxes
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np

from zoo.decoding.regions import sigmoid

HEIGHTS = tuple(round(11 / 0.7**i) for i in range(10))  # of the anchors, pixels: 11 to 273


class Proposals(NamedTuple):
    """Pieces of lines, each as wide as a cell, from the left to the right: (N,) each."""

    column: np.ndarray  # of the cell
    top: np.ndarray  # pixels
    bottom: np.ndarray  # pixels
    side: np.ndarray  # where the line begins or ends, if it does so near here: cells from the middle of this one
    score: np.ndarray


def boxes(
    logits: np.ndarray,
    vertical: np.ndarray,
    side: np.ndarray,
    *,
    stride: float = 16,
    threshold: float = 0.7,
    line_threshold: float = 0.7,
    gap: float = 50,
    overlap: float = 0.7,
    suppression: float = 0.2,
    min_size: float = 4,
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (N, 4, 2) of lines in pixels of the network's input, and scores (N,): the mean of their pieces.

    Args:
        logits: (h, w, k), that there is text in the anchors of a cell, whose heights are `HEIGHTS`.
        vertical: (h, w, 2·k): for each anchor, how much lower the middle of the text is than that of the cell, in
            heights of the anchor, and the logarithm of its height in these.
        side: (h, w, k): where a line begins or ends, in cells from the middle of this one.
        stride: pixels of the input for a cell.
        threshold: probability from which an anchor counts.
        line_threshold: of a line's score.
        gap: pixels to the next piece of a line at most.
        overlap: share of their height that two pieces of a line have in common at least.
        suppression: intersection over union from which two pieces in a column are one.
        min_size: height of a line, pixels.
    """
    found = proposals(logits, vertical, side, stride, threshold)
    found = Proposals(*(values[unique(found, suppression)] for values in found))
    lines = chains(found, int(min(gap, logits.shape[1] * stride) // stride) + 1, overlap)
    made = [(box(found, line, stride), found.score[line].mean()) for line in lines]
    made = [(corners, score) for corners, score in made if score >= line_threshold and _height(corners) >= min_size]
    scores = np.array([score for _, score in made], "float32")
    return np.array([corners for corners, _ in made], "float32").reshape(-1, 4, 2), scores


def _height(corners: np.ndarray) -> float:
    return float(corners[3, 1] - corners[0, 1] + corners[2, 1] - corners[1, 1]) / 2


def proposals(logits: np.ndarray, vertical: np.ndarray, side: np.ndarray, stride: float, threshold: float) -> Proposals:
    """The anchors that see text, from the left to the right (eq. 2 and 4)."""
    score = sigmoid(logits)
    sensible = np.isfinite(vertical.reshape(*logits.shape, 2)).all(-1) & np.isfinite(side)
    column, row, kind = np.nonzero(((score >= threshold) & sensible).swapaxes(0, 1))
    anchor = np.array(HEIGHTS)[kind]
    shift, growth = vertical.reshape(*logits.shape, 2)[row, column, kind].T
    middle, height = (row + 0.5) * stride + shift * anchor, anchor * np.exp(np.minimum(growth, 4))
    return Proposals(
        column, middle - height / 2, middle + height / 2, side[row, column, kind], score[row, column, kind]
    )


def unique(found: Proposals, suppression: float) -> np.ndarray:
    """Indices of the proposals of which no better one in their column says nearly the same, in their order."""
    kept: list[int] = []
    for here in _columns(found).values():
        rest = here[np.argsort(-found.score[here], kind="stable")]
        while len(rest):
            best, rest = rest[0], rest[1:]
            kept.append(int(best))
            common, union = _common(found, best, rest)
            rest = rest[~(common > suppression * union)]
    return np.array(kept, int)


def _columns(found: Proposals) -> dict[int, np.ndarray]:
    """The indices of the proposals in each column that has some, from the left."""
    order = np.argsort(found.column, kind="stable")
    columns, starts = np.unique(found.column[order], return_index=True)
    return dict(zip(columns.tolist(), np.split(order, starts[1:]), strict=False))


def _common(found: Proposals, index: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of height that proposals have in common with others, and that they cover together."""
    low = np.maximum(found.top[index], found.top[others])
    common = np.maximum(np.minimum(found.bottom[index], found.bottom[others]) - low, 0)
    heights = [found.bottom[these] - found.top[these] for these in (index, others)]
    return common, heights[0] + heights[1] - common


def chains(found: Proposals, reach: int, overlap: float) -> list[list[int]]:
    """Lines of indices from the left: neighbours each of which is the other's best (section 3.2).

    Args:
        found: of which no two in a column mean the same.
        reach: columns to the next piece at most.
        overlap: share of the lower height that both have in common.
    """
    following, leading = (_neighbours(found, step, reach, overlap).tolist() for step in (1, -1))
    lines: list[list[int]] = []
    owner: dict[int, int] = {}  # a proposal's line
    for index in np.argsort(found.column, kind="stable").tolist():
        line = owner.setdefault(index, len(lines))
        if line == len(lines):
            lines.append([index])
        after = following[index]
        if after >= 0 and leading[after] == index:
            lines[line].append(after)
            owner[after] = line
    return lines


def _neighbours(found: Proposals, step: int, reach: int, overlap: float) -> np.ndarray:
    """(N,) the best proposal right (step 1) or left (-1) of each, in the nearest column that has one, or -1."""
    columns, result = _columns(found), np.full(len(found.column), -1)
    heights = found.bottom - found.top
    for column, distance in product(columns, range(1, reach + 1)):
        here, others = columns[column], columns.get(column + step * distance)
        here = here[result[here] < 0]
        if others is None or not len(here):
            continue
        common, _ = _common(found, here[:, None], others)
        low, high = (pick(heights[here][:, None], heights[others]) for pick in (np.minimum, np.maximum))
        fits = (common >= overlap * low) & (common >= 0.5 * high)
        best = others[np.where(fits, found.score[others], -1).argmax(1)]
        result[here] = np.where(fits.any(1), best, -1)
    return result


def box(found: Proposals, line: list[int], stride: float) -> np.ndarray:
    """(4, 2) corners of a line: straight through the ends of its pieces, and as long as its sides say (eq. 4)."""
    middles = (found.column[line] + 0.5) * stride
    first, last = (middles[i] + found.side[line[i]] * stride for i in (0, -1))
    left, right = middles[0] - stride / 2, middles[-1] + stride / 2
    # A piece alone cannot tell by which of its sides the text ends; a side far away is no side of this line.
    if len(line) > 1:
        left, right = np.clip(first, left - stride, left + stride), np.clip(last, right - stride, right + stride)
    top, bottom = (np.polyfit(middles, ends[line], min(1, len(line) - 1)) for ends in (found.top, found.bottom))
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    return np.array([(x, np.polyval(slope, x)) for x, slope in corners])
