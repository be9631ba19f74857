"""docTR's names in ViTSTR."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zoo.tables.rows import Rows, dense
from zoo.tables.vit import vit


def rows(options: Mapping[str, Any]) -> Rows:
    yield from vit(options["features"])
    yield from dense("head", "logits")
