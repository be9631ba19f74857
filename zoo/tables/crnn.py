"""docTR's names in CRNN."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zoo.tables.rows import Rows, dense, lstm
from zoo.tables.trunks import trunk


def rows(options: Mapping[str, Any]) -> Rows:
    yield from trunk(options["features"])
    for layer in (0, 1):
        for direction, suffix in (("forward", ""), ("backward", "_reverse")):
            yield from lstm("decoder", f"_l{layer}{suffix}", f"recurrent{layer + 1}/{direction}_lstm/lstm_cell")
    yield from dense("linear", "logits")
