"""docTR's names in DB."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zoo.tables.rows import Rows, conv, conv_norm
from zoo.tables.trunks import trunk


def rows(options: Mapping[str, Any]) -> Rows:
    yield from trunk(options["features"])
    for index in range(4):
        for theirs, ours in ((f"fpn.in_branches.{index}", "lateral"), (f"fpn.out_branches.{index}", "smooth")):
            yield from conv_norm(f"{theirs}.0", f"{theirs}.1", f"{ours}{index + 2}")
    for theirs, ours, output in (("prob_head", "region", "logits"), ("thresh_head", "border", "threshold")):
        yield from conv_norm(f"{theirs}.0", f"{theirs}.1", f"{ours}_1")
        yield from conv_norm(f"{theirs}.3", f"{theirs}.4", f"{ours}_2")
        yield from conv(f"{theirs}.6", output, bias=True)
