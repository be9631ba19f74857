"""An OCR model zoo in Keras 3 on TensorFlow: networks by name, and pages read with them.

import zoo

network = zoo.load("db_resnet50")
page = zoo.reader().read("receipt.jpg")[0]

Importing this package imports nothing else: each public name is fetched when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zoo.page import Block, Document, Line, Page, Word
    from zoo.reading import Detector, Reader, Recognizer, reader
    from zoo.registry import Card, build, card, load, names

__version__ = "0.1.0"
__all__ = [
    "Block",
    "Card",
    "Detector",
    "Document",
    "Line",
    "Page",
    "Reader",
    "Recognizer",
    "Word",
    "build",
    "card",
    "load",
    "names",
    "reader",
]

_HOMES = {
    "zoo.registry": ("Card", "build", "card", "load", "names"),
    "zoo.reading": ("Detector", "Reader", "Recognizer", "reader"),
    "zoo.page": ("Block", "Document", "Line", "Page", "Word"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'zoo' has no attribute {name!r}; public names: {', '.join(__all__)}")
    value = globals()[name] = getattr(importlib.import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
