"""docTR's names in MASTER."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zoo.tables.resnet31 import resnet31
from zoo.tables.rows import Rows, Source, dense, layer_norm
from zoo.tables.vit import attention, feed_forward

NORMS = {"input": "attention", "masked_attention": "cross", "attention": "feed", "output": "output"}


def rows(options: Mapping[str, Any]) -> Rows:
    yield from resnet31(options["features"], context=True)
    yield "decoder/embedding/embeddings", Source(("decoder.embed.weight",), (0, 1))
    for index in range(options.get("depth", 3)):
        yield from attention(f"decoder.attention.{index}", f"decoder/attention{index + 1}")
        yield from attention(f"decoder.source_attention.{index}", f"decoder/cross_attention{index + 1}")
        yield from feed_forward(f"decoder.position_feed_forward.{index}", f"decoder/feed{index + 1}")
    for theirs, ours in NORMS.items():
        yield from layer_norm(f"decoder.layer_norm_{theirs}", f"decoder/{ours}_norm")
    yield from dense("linear", "decoder/logits")
