"""docTR's names in ViTSTR."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recipes.convert import Rows
from recipes.tables.vit import dense, vit


def rows(options: Mapping[str, Any]) -> Rows:
    yield from vit(options["features"])
    yield from dense("head", "logits")
