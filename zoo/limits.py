"""What values for reading and of recipes may be: one out of its range is told by its name before it does harm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any


def within(low: float, high: float, **values: Any) -> None:
    """Checks that each of the values is a number from `low` to `high`; NaN and infinity are none.

    Raises:
        ValueError: one is not.
    """
    for name, value in values.items():
        number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
        if not number or not low <= value <= high:
            upper = f"from {low:.10g} to {high:.10g}" if math.isfinite(high) else f"of {low:.10g} or more"
            raise ValueError(f"{name}={value!r}: it is a number {upper}")


def pixels(**values: Any) -> None:
    """Checks that each of the values is a number of pixels, whole and more than 0.

    Raises:
        ValueError: one is not.
    """
    for name, value in values.items():
        if not _counts(value):
            raise ValueError(f"{name}={value!r}: it is a whole number of pixels, 1 or more")


def sides(count: int | None = None, **values: Any) -> None:
    """Checks that each of the values holds numbers of pixels: `count` of them, or any number but none.

    Raises:
        ValueError: one does not.
    """
    for name, value in values.items():
        entries = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []
        if not entries or count not in (None, len(entries)) or not all(map(_counts, entries)):
            many = "some" if count is None else str(count)
            raise ValueError(f"{name}={value!r}: it holds {many} whole numbers of pixels, each 1 or more")


def _counts(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) > 0
