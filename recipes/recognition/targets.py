"""What recognizers learn from besides the text: places of characters, and masks of PARSeq."""

from __future__ import annotations

import numpy as np

LABEL = 16  # characters in which labels grow: JAX compiles a step for each shape of a batch, for half a minute


def padded(longest: int) -> int:
    """How many characters a batch's labels are padded to, of which the longest has so many."""
    return -(-max(1, longest) // LABEL) * LABEL


def masks(length: int, steps: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """(count, steps, steps) bool for a text of so many characters: [p, i, j] whether position i sees token j.

    Bautista and Atienza 2022, https://arxiv.org/abs/2207.06966, section 3.2.

    Token 0 is the start, which all see; token j + 1 is character j. The orders come in pairs of one and its reverse;
    those of the first pair are from left to right and from right to left, the others are drawn. The end sees all
    characters, but none in the second order, where it comes first. Positions after it see the start alone.
    """
    result = np.zeros((count, steps, steps), bool)
    result[:, :, 0] = True
    for pair in range(0, count, 2):
        place = rng.permutation(length) if pair else np.arange(length)
        before = place[None] < place[:, None]  # (i, j): character j comes before i
        for offset, seen in enumerate((before, before.T)[: count - pair]):
            result[pair + offset, :length, 1 : length + 1] = seen
            result[pair + offset, length, 1 : length + 1] = (pair, offset) != (0, 1)
    return result


def align(steps: np.ndarray, label: list[int], frames: np.ndarray) -> float:
    """Writes a text's characters into their steps of `frames` (T,), in place; 0 where two of them are too near, else 1.

    Args:
        steps: (L,) the step at the middle of each character.
        label: the ids of the characters.
        frames: the blank's id everywhere.
    """
    steps = steps.astype(int).clip(0, len(frames) - 1)
    gaps = np.diff(steps)
    if (gaps < 1 + (np.diff(label) == 0)).any():
        return 0.0
    frames[steps] = label
    return 1.0
