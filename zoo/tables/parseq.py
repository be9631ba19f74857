"""docTR's names in PARSeq."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zoo.tables.rows import Rows, Source, dense, layer_norm
from zoo.tables.vit import attention, feed_forward, vit


def rows(options: Mapping[str, Any]) -> Rows:
    yield from vit(options["features"])
    yield "decoder/positions", Source(("pos_queries",), (0, 1, 2))
    yield "decoder/embedding/embeddings", Source(("embed.embedding.weight",), (0, 1))
    for part in ("attention", "cross_attention"):
        yield from attention(f"decoder.{part}", f"decoder/{part}")
    yield from feed_forward("decoder.position_feed_forward", "decoder/feed")
    for theirs, ours in (("query", "query"), ("content", "content"), ("feed_forward", "feed"), ("output", "output")):
        yield from layer_norm(f"decoder.{theirs}_norm", f"decoder/{ours}_norm")
    yield from dense("head", "decoder/logits")
