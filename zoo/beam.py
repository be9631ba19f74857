"""The likeliest text of CTC's logits, summed over all ways to write it: prefix beam search.

Graves and Jaitly 2014, http://proceedings.mlr.press/v32/graves14.html, algorithm 1; Hannun et al. 2014,
https://arxiv.org/abs/1408.2873. A greedy decoding takes the likeliest way instead, which may write another text. NumPy
only, and for one strip at a time: the search stands outside of the graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

NEVER = -np.inf


class Rule(Protocol):
    """Which labels there may be: `zoo.constraint.Constraint` of labels in place of characters."""

    start: Any

    def step(self, state: Any, label: int) -> Any: ...

    def accepts(self, state: Any) -> bool: ...


def search(
    logs: np.ndarray, width: int, blank: int, rule: Rule | None = None, floor: float = NEVER
) -> tuple[tuple[int, ...], float]:
    """The likeliest labels and the logarithm of their probability, a lower bound unless the beam holds all prefixes.

    Args:
        logs: logarithms of probabilities (T, K).
        width: prefixes kept after each step; as many of the likeliest classes are tried to extend each.
        blank: class of CTC's blank.
        rule: which labels there may be; where none of the prefixes that are left may end, the logarithm is -inf.
        floor: by a rule, labels whose logarithms lie so far (a negative number) from that of a step's likeliest are not
            tried.

    Raises:
        ValueError: the width is below 1.
    """
    if width < 1:
        raise ValueError(f"a beam of width {width} holds nothing; give 1 or more")
    states: dict[tuple[int, ...], Any] = {(): rule.start if rule else None}
    # By prefix: the logarithms of the probability of the ways that end in a blank, and of those that do not.
    beam: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, NEVER)}
    for row in logs:
        order = np.argsort(-row, kind="stable")
        order = (order[row[order] >= row.max() + floor] if rule else order[: width + 1]).tolist()
        following: dict[tuple[int, ...], tuple[float, float]] = {}

        def arrive(prefix: tuple[int, ...], blanked: float, written: float, into: dict = following) -> None:
            before = into.get(prefix, (NEVER, NEVER))
            into[prefix] = _sum(before[0], blanked), _sum(before[1], written)

        for prefix, (blanked, written) in beam.items():
            both = _sum(blanked, written)
            arrive(prefix, both + row[blank], written + row[prefix[-1]] if prefix else NEVER)
            for label in _allowed(order, width + 1, prefix, states, blank, rule):
                longer = (*prefix, label)
                # A label after itself needs a blank in between, else it is the same one still.
                ways = blanked if prefix and prefix[-1] == label else both
                if ways > NEVER:
                    arrive(longer, NEVER, ways + row[label])
        best = sorted(following.items(), key=lambda entry: -_sum(*entry[1]))[:width]
        beam = dict(best)
    whole = [prefix for prefix in beam if rule is None or rule.accepts(states[prefix])]
    if not whole:
        return (), NEVER
    likeliest = max(whole, key=lambda prefix: _sum(*beam[prefix]))
    return likeliest, float(_sum(*beam[likeliest]))


def _allowed(
    order: list[int], count: int, prefix: tuple[int, ...], states: dict, blank: int, rule: Rule | None
) -> list[int]:
    """The first labels of `order`, as many as `count` with the blank, by which a rule lets a prefix go on.

    Their prefixes are put into `states`.
    """
    if rule is None:
        return [label for label in order[:count] if label != blank]
    found: list[int] = []
    for label in order:
        if len(found) == count:
            break
        if label == blank:
            continue
        longer = (*prefix, label)
        if longer not in states:
            states[longer] = rule.step(states[prefix], label)
        if states[longer] is not None:
            found.append(label)
    return found


def _sum(a: float, b: float) -> float:
    """ln(eᵃ + eᵇ)."""
    high, low = (a, b) if a > b else (b, a)
    return high if low == NEVER else high + float(np.log1p(np.exp(low - high)))


def peaks(logs: np.ndarray, labels: Sequence[int], blank: int) -> list[float]:
    """The highest probability of each label in its run of steps, in the likeliest way to write the labels.

    Args:
        logs: logarithms of probabilities (T, K).
        labels: that can be written in T steps.
        blank: class of CTC's blank.
    """
    states = [blank]
    for label in labels:
        states += [label, blank]
    # Viterbi: from each state to itself, the next, or over a blank between two different labels.
    barred = np.array([0 if i >= 2 and s != blank and s != states[i - 2] else NEVER for i, s in enumerate(states)])
    said = logs[:, states]  # (T, S)
    before = np.full(len(states) + 2, NEVER)  # two that are none, and the score of each state
    score = before[2:]
    score[:2] = said[0, :2]
    came, choices = np.zeros((len(logs), len(states)), int), np.empty((3, len(states)))
    for step in range(1, len(logs)):
        choices[0], choices[1], choices[2] = score, before[1:-1], before[:-2] + barred
        choices.argmax(0, out=came[step])
        np.add(choices.max(0), said[step], out=score)
    state = len(states) - 1 if len(states) == 1 or score[-1] >= score[-2] else len(states) - 2
    result = [NEVER] * len(labels)
    for step in range(len(logs) - 1, -1, -1):
        if state % 2:
            result[state // 2] = max(result[state // 2], logs[step, states[state]])
        state -= came[step, state]
    return np.exp(result).tolist()
