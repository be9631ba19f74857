"""docTR's names in SAR."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recipes.convert import MATRIX, VECTOR, Rows, Source, _conv
from recipes.tables.resnet31 import resnet31
from recipes.tables.vit import dense


def rows(options: Mapping[str, Any]) -> Rows:
    yield from resnet31(options["features"])
    for index in (0, 1):
        yield from _lstm("encoder.rnn", f"_l{index}", f"encoder{index + 1}/lstm_cell")
    yield from dense("encoder.linear", "encoder")
    yield "decoder/embedding/embeddings", Source(("decoder.embed_tgt.weight",), (0, 1))
    yield from dense("decoder.embed", "decoder/embed")
    yield from _lstm("decoder.lstm_cell", "", "decoder/cell")
    yield from _conv("decoder.attention_module.feat_conv", "decoder/feature_conv", bias=True)
    yield from _conv("decoder.attention_module.state_conv", "decoder/state_conv")
    yield from _conv("decoder.attention_module.attention_projector", "decoder/score_conv")
    yield from dense("decoder.output_dense", "decoder/logits")


def _lstm(theirs: str, suffix: str, ours: str) -> Rows:
    """torch's LSTM adds two biases where Keras' has one; the order of the gates is the same."""
    yield f"{ours}/kernel", Source((f"{theirs}.weight_ih{suffix}",), MATRIX)
    yield f"{ours}/recurrent_kernel", Source((f"{theirs}.weight_hh{suffix}",), MATRIX)
    yield f"{ours}/bias", Source((f"{theirs}.bias_ih{suffix}", f"{theirs}.bias_hh{suffix}"), VECTOR)
