"""The case of words whose labels are all in capitals, as those of SROIE are, told by a recognizer that reads the print.

A label says which letters a word has. Of the ways in which print writes it, all capitals, all small, a first capital,
or one in each part, the network finds one much likelier than the others, or the word is left out. So it learns from
words that it cannot read yet: it needs to know less than their letters.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from zoo.charset import Charset

MARGIN = 3.0  # nats by which the likeliest way must be ahead of the next
UNLIKELY = 1.5  # nats a character above which the picture does not show the label at all


def ways(text: str) -> list[str]:
    """The ways in which print writes a word, each once: "ST.ANN" is also st.ann, St.ann and St.Ann."""
    lower = text.lower()
    parts = re.sub(r"[^\W\d_]+", lambda part: part[0].capitalize(), lower)
    return list(dict.fromkeys((text.upper(), lower, lower.capitalize(), parts)))


def cost(logits: np.ndarray, labels: Sequence[Sequence[int]], blank: int) -> np.ndarray:
    """(N,) CTC's loss in nats of each label, given one picture's logits (T, K).

    Graves et al. 2006, https://www.cs.toronto.edu/~graves/icml_2006.pdf, eq. 6 and 7. Infinite where T is too small.
    """
    scores = logits - np.logaddexp.reduce(logits.astype("float64"), 1, keepdims=True)
    states = np.full((len(labels), 2 * max(map(len, labels)) + 1), blank)
    for row, label in zip(states, labels, strict=True):
        row[1 : 2 * len(label) : 2] = label
    skips = np.zeros(states.shape, bool)  # past the blank between two characters that differ
    skips[:, 3::2] = states[:, 3::2] != states[:, 1:-2:2]
    seen = scores[:, states]  # (T, N, S)
    paths = np.full(states.shape, -np.inf)
    paths[:, :2] = seen[0, :, :2]
    for now in seen[1:]:
        before = np.pad(paths, ((0, 0), (2, 0)), constant_values=-np.inf)
        paths = np.logaddexp(paths, before[:, 1:-1])
        paths = np.logaddexp(paths, np.where(skips, before[:, :-2], -np.inf)) + now
    ends = 2 * np.array([len(label) for label in labels])
    rows = np.arange(len(labels))
    return -np.logaddexp(paths[rows, ends], paths[rows, ends - 1])


def told(text: str, logits: np.ndarray, charset: Charset) -> str:
    """The text in the case that the logits (T, K) show, or "" where they do not tell. Spaces stay where they are."""
    shown = {way: way if " " in charset.characters else way.replace(" ", "") for way in ways(text)}
    known = [way for way, letters in shown.items() if charset.plain(letters) == letters]
    if not known:
        return ""
    costs = cost(logits, [charset.encode(shown[way]) for way in known], charset.blank)
    order = np.argsort(costs)
    sure = len(known) == 1 or costs[order[1]] >= costs[order[0]] + MARGIN
    return known[order[0]] if sure and costs[order[0]] <= UNLIKELY * len(text) else ""
