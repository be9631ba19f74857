"""docTR's names in a ViT, which its recognizers call feat_extractor, and in its blocks of attention."""

from __future__ import annotations

from zoo.backbones.vit import SIZES
from zoo.tables.rows import Rows, Source, conv, dense, layer_norm


def attention(theirs: str, ours: str) -> Rows:
    """docTR counts the projections of queries, keys and values."""
    for index, part in enumerate(("query", "key", "value")):
        yield from dense(f"{theirs}.linear_layers.{index}", f"{ours}/{part}")
    yield from dense(f"{theirs}.output_linear", f"{ours}/output")


def feed_forward(theirs: str, ours: str) -> Rows:
    """An activation and a dropout, which have no weights, count as 1 and 2."""
    yield from dense(f"{theirs}.0", f"{ours}/expand")
    yield from dense(f"{theirs}.3", f"{ours}/reduce")


def vit(size: str, trunk: str = "feat_extractor") -> Rows:
    yield from conv(f"{trunk}.0.projection", "patches", bias=True)
    yield "embedding/token", Source((f"{trunk}.0.cls_token",), (0, 1, 2))
    yield "embedding/positions", Source((f"{trunk}.0.positions",), (0, 1, 2))
    for theirs, ours in (("input", "block_attention"), ("attention", "block_feed"), ("output", "block")):
        yield from layer_norm(f"{trunk}.1.layer_norm_{theirs}", f"{ours}_norm")
    for index in range(SIZES[size].depth):
        yield from attention(f"{trunk}.1.attention.{index}", f"block{index + 1}_attention")
        yield from feed_forward(f"{trunk}.1.position_feed_forward.{index}", f"block{index + 1}_feed")
