"""docTR's names in FAST."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zoo.backbones.textnet import SQUARE
from zoo.tables.rows import Rows, conv
from zoo.tables.textnet import block, textnet


def rows(options: Mapping[str, Any]) -> Rows:
    """The neck reduces C3 to as many channels as it has: that block alone has an identity."""
    yield from textnet(options["features"])
    for level in range(4):
        yield from block(f"neck.reduction.{level}", f"neck{level + 2}", SQUARE, identity=level == 1)
    yield from block("prob_head.0", "head", SQUARE, identity=False)
    yield from conv("prob_head.2", "score")
