"""docTR's names in VIPTR."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zoo.backbones.vip import SIZES
from zoo.tables.rows import DEPTHWISE, MATRIX, Rows, Source, conv, dense, layer_norm, norm
from zoo.tables.vit import feed_forward


def rows(options: Mapping[str, Any]) -> Rows:
    yield from vip(options["features"])
    yield from dense("head", "logits")


def vip(size: str, trunk: str = "feat_extractor") -> Rows:
    """The trunk counts its parts: 0 is the stem, 1 to 3 are the stages, 4 and 5 make the columns."""
    one, two, three = SIZES[size].depths
    for index, position in ((1, 0), (2, 3)):
        yield from conv(f"{trunk}.0.proj.{position}", f"stem{index}_conv")
        yield from norm(f"{trunk}.0.proj.{position + 1}", f"stem{index}_norm")
    for index in range(one):
        yield from _cross_shaped(f"{trunk}.1.local_unit.{index}", f"stage1_block{index + 1}")
    for index in range(two):
        yield from _cross_shaped(f"{trunk}.2.local_unit.{index}", f"stage2_block{index + 1}_local")
        yield from _reduced(f"{trunk}.2.global_unit.{index}", f"stage2_block{index + 1}_global")
    yield from _exchange(f"{trunk}.2.proj", "stage2_exchange")
    for stage in (1, 2):
        yield from conv(f"{trunk}.{stage}.downsample.reduction", f"stage{stage}_shorten_conv", bias=True)
        yield from layer_norm(f"{trunk}.{stage}.downsample.norm", f"stage{stage}_shorten_norm")
    for index in range(three):
        theirs, ours = f"{trunk}.3.local_unit.{index}", f"stage3_block{index + 1}"
        yield from dense(f"{theirs}.mixer.qkv", f"{ours}_qkv")
        yield from dense(f"{theirs}.mixer.proj", f"{ours}_project")
        yield from _block(theirs, ours)
    yield from layer_norm(f"{trunk}.4.0", "columns_norm")
    yield "columns/kernel", Source((f"{trunk}.5.0.weight",), MATRIX)


def _block(theirs: str, ours: str) -> Rows:
    yield from layer_norm(f"{theirs}.norm1", f"{ours}_mixer_norm")
    yield from layer_norm(f"{theirs}.norm2", f"{ours}_feed_norm")
    yield from feed_forward(f"{theirs}.mlp", f"{ours}_feed")


def _cross_shaped(theirs: str, ours: str) -> Rows:
    yield from dense(f"{theirs}.qkv", f"{ours}_qkv")
    yield from dense(f"{theirs}.proj", f"{ours}_project")
    for half, kind in enumerate(("columns", "rows")):
        yield from conv(f"{theirs}.attns.{half}.get_v", f"{ours}_{kind}/local", bias=True, axes=DEPTHWISE)
    yield from _block(theirs, ours)


def _reduced(theirs: str, ours: str) -> Rows:
    mixer = f"{theirs}.token_mixer"
    for part, name in (("q", "query"), ("kv", "memory")):
        yield from conv(f"{mixer}.{part}", f"{ours}_{name}", bias=True)
    for position, name in ((0, "reduce"), (3, "scale")):
        yield from conv(f"{mixer}.sr.{position}", f"{ours}_{name}_conv", axes=DEPTHWISE)
        yield from norm(f"{mixer}.sr.{position + 1}", f"{ours}_{name}_norm")
    yield from conv(f"{mixer}.local_conv", f"{ours}_local", bias=True, axes=DEPTHWISE)
    yield from _block(theirs, ours)


def _exchange(theirs: str, ours: str) -> Rows:
    yield from conv(f"{theirs}.0", f"{ours}_local", bias=True, axes=DEPTHWISE)
    for position, name in ((3, "reduce"), (6, "expand")):
        yield from conv(f"{theirs}.{position}", f"{ours}_{name}", bias=True)
    for position, name in ((2, "local"), (5, "reduce"), (7, "expand")):
        yield from norm(f"{theirs}.{position}", f"{ours}_{name}_norm")
