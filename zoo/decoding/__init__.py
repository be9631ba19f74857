"""From a network's outputs to boxes: what the card of a detector names in [reading] as `decode`.

A decoding is a function in a module of this package, "zoo.decoding.east:boxes". Its signature says what it needs:

- positional parameters are outputs of the network by name, each of one page: a map (h, w, C) without what lies beyond
  the page, or (N, …);
- keyword-only parameters are the card's other values for reading, but for `stride`, which the detector gives: pixels of
  the network's input for one of the first output's.

It returns boxes (N, 4, 2) in pixels of the network's input, and scores (N,). One of regions returns polygons (N, 4, 2)
in shares of the input's sides, scores (N,) and classes (N,). NumPy and OpenCV only: what reads a page need not know
what made the outputs.
"""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

from zoo import limits

DEFAULT = "zoo.decoding.regions:boxes"
GIVEN = "stride"  # what no card says


def find(name: str = DEFAULT) -> Callable:
    """The decoding of this dotted name.

    Raises:
        ValueError: there is none.
    """
    module, _, function = name.partition(":")
    # A card may come with a run from anywhere: it must not be able to call what is not a decoding.
    if not module.startswith(f"{__name__}.") or not function.isidentifier() or function.startswith("_"):
        raise ValueError(f"decode: {name!r} is not of the form '{__name__}.MODULE:FUNCTION'")
    try:
        return getattr(importlib.import_module(module), function)
    except (ModuleNotFoundError, AttributeError) as error:
        raise ValueError(f"decode: there is no {name!r} ({error})") from None


def checked(decode: str | Callable, given: Mapping[str, Any], what: str) -> Callable:
    """A decoding, or that of a dotted name, which is found to take the options that are given.

    Args:
        decode: the function or its name.
        given: options by name.
        what: is decoded, for the message.

    Raises:
        ValueError: there is no such decoding, or an option is no number from 0 on, thresholds and overlaps up to 1.
        TypeError: it takes no such option.
    """
    function = decode if callable(decode) else find(decode)
    if unknown := set(given) - options(function):
        known = ", ".join(sorted(options(function)))
        raise TypeError(f"{what} are decoded without {', '.join(sorted(unknown))}; options are: {known}")
    for name, value in given.items():
        if value is not None:
            limits.within(0, 1 if name.endswith(("threshold", "overlap", "suppression")) else math.inf, **{name: value})
    return function


def outputs(decode: Callable) -> tuple[str, ...]:
    """The names of the outputs that a decoding takes, in its order."""
    return tuple(entry.name for entry in _parameters(decode) if entry.kind is entry.POSITIONAL_OR_KEYWORD)


def options(decode: Callable) -> set[str]:
    """The names of the values for reading that a decoding takes."""
    return {entry.name for entry in _parameters(decode) if entry.kind is entry.KEYWORD_ONLY} - {GIVEN}


def strided(decode: Callable) -> bool:
    """Whether a decoding is to be given its stride."""
    return GIVEN in inspect.signature(decode).parameters


def needed(reading: Mapping[str, Any]) -> tuple[str, ...]:
    """The outputs that reading needs, by a card's values for it: "logits" where it names no decoding."""
    return outputs(find(reading.get("decode", DEFAULT)))


def _parameters(decode: Callable) -> list[inspect.Parameter]:
    return list(inspect.signature(decode).parameters.values())
