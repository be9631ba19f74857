"""docTR's names in TableCenterNet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zoo.layout.tablecenternet import USED
from zoo.tables.rows import DEPTHWISE, KERNEL, VECTOR, Rows, Source, conv, norm
from zoo.tables.starnet import starnet

HEADS = {"logits": "hm", "offset": "reg", "corners": "ct2cn", "centres": "cn2ct", "logical": "lc", "span": "sp"}
STEPS = 3


def rows(options: Mapping[str, Any]) -> Rows:
    """docTR counts the steps of the aggregation from 0, and what each of them takes from 1, as we do."""
    yield from starnet(options["features"])
    for step in range(1, STEPS + 1):
        yield from _aggregate(f"dla_up.ida_{step - 1}", f"step{step}", step)
    yield from _aggregate("ida_up", "last", USED - 1)
    for ours, theirs in HEADS.items():
        yield from conv(f"{theirs}.0", f"{ours}_hidden", bias=True)
        yield from conv(f"{theirs}.2", ours, bias=True)


def _aggregate(theirs: str, ours: str, count: int) -> Rows:
    for index in range(1, count + 1):
        yield from _deformable(f"{theirs}.proj_{index}", f"{ours}_project{index}")
        yield from _deformable(f"{theirs}.node_{index}", f"{ours}_node{index}")
        yield f"{ours}_up{index}/kernel", Source((f"{theirs}.up_{index}.weight",), DEPTHWISE)


def _deformable(theirs: str, ours: str) -> Rows:
    yield from conv(f"{theirs}.conv.conv_offset_mask", f"{ours}_look", bias=True)
    yield f"{ours}_conv/kernel", Source((f"{theirs}.conv.weight",), KERNEL)
    yield f"{ours}_bias/bias", Source((f"{theirs}.conv.bias",), VECTOR)
    yield from norm(f"{theirs}.actf.0", f"{ours}_norm")
