"""docTR's names in SAR."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zoo.tables.resnet31 import resnet31
from zoo.tables.rows import Rows, Source, conv, dense, lstm


def rows(options: Mapping[str, Any]) -> Rows:
    yield from resnet31(options["features"])
    for index in (0, 1):
        yield from lstm("encoder.rnn", f"_l{index}", f"encoder{index + 1}/lstm_cell")
    yield from dense("encoder.linear", "encoder")
    yield "decoder/embedding/embeddings", Source(("decoder.embed_tgt.weight",), (0, 1))
    yield from dense("decoder.embed", "decoder/embed")
    yield from lstm("decoder.lstm_cell", "", "decoder/cell")
    yield from conv("decoder.attention_module.feat_conv", "decoder/feature_conv", bias=True)
    yield from conv("decoder.attention_module.state_conv", "decoder/state_conv")
    yield from conv("decoder.attention_module.attention_projector", "decoder/score_conv")
    yield from dense("decoder.output_dense", "decoder/logits")
