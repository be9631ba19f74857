"""docTR's names in LW-DETR."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zoo.layout.lw_detr import BLOCKS
from zoo.tables.rows import KERNEL, Rows, Source, conv_norm, dense, layer_norm
from zoo.tables.vit_det import vit_det

ATTENTION = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "output": "o_proj"}
LOOK = {"offset": "sampling_offsets", "weight": "attention_weights", "value": "value_proj", "output": "output_proj"}
GROUPS, LAYERS = 13, 3


def rows(options: Mapping[str, Any]) -> Rows:
    """docTR counts groups, layers and parts from 0, and saves the layers of boxes twice."""
    yield from vit_det(options["features"], "feat_extractor.encoder")
    yield from _projector("feat_extractor.projector.stages.0")
    for index in range(GROUPS):
        ours = f"propose/group{index + 1}"
        yield from dense(f"enc_output.{index}", f"{ours}_dense")
        yield from layer_norm(f"enc_output_norm.{index}", f"{ours}_norm")
        yield from dense(f"enc_out_class_embed.{index}", f"{ours}_class")
        yield from _chain(f"enc_out_bbox_embed.{index}.layers", f"{ours}_box", 3)
    yield "references/codes", Source(("reference_point_embed.weight",), (0, 1))
    yield "queries/codes", Source(("query_feat.weight",), (0, 1))
    yield from dense("class_embed", "class")
    for path, source in _chain("bbox_embed.layers", "box", 3):
        yield path, source._replace(copies=tuple(f"decoder.{key}" for key in source.keys))
    yield from _decoder("decoder")


def _chain(theirs: str, ours: str, count: int) -> Rows:
    for index in range(count):
        yield from dense(f"{theirs}.{index}", f"{ours}{index + 1}")


def _projector(theirs: str) -> Rows:
    """The activations of a block are its parts 2 and 5."""
    for part, ours in (("conv_seq_1", "join"), ("conv_seq_2", "merge")):
        yield from conv_norm(f"{theirs}.0.{part}.0", f"{theirs}.0.{part}.1", ours, KERNEL)
    for index in range(BLOCKS):
        block, ours = f"{theirs}.0.blocks.{index}", f"step{index + 1}"
        yield from conv_norm(f"{block}.0", f"{block}.1", f"{ours}a", KERNEL)
        yield from conv_norm(f"{block}.3", f"{block}.4", f"{ours}b", KERNEL)
    yield from layer_norm(f"{theirs}.1", "memory_norm")


def _decoder(theirs: str) -> Rows:
    for index in range(LAYERS):
        layer, ours = f"{theirs}.layers.{index}", f"layer{index + 1}"
        for name, key in ATTENTION.items():
            yield from dense(f"{layer}.self_attn.{key}", f"{ours}_self/{name}")
        for name, key in LOOK.items():
            yield from dense(f"{layer}.cross_attn.{key}", f"{ours}_look/{name}")
        yield from dense(f"{layer}.mlp.fc1", f"{ours}_feed/expand")
        yield from dense(f"{layer}.mlp.fc2", f"{ours}_feed/reduce")
        yield from layer_norm(f"{layer}.self_attn_layer_norm", f"{ours}_self_norm")
        yield from layer_norm(f"{layer}.cross_attn_layer_norm", f"{ours}_look_norm")
        yield from layer_norm(f"{layer}.layer_norm", f"{ours}_norm")
    yield from layer_norm(f"{theirs}.layernorm", "decoder_norm")
    yield from _chain(f"{theirs}.ref_point_head.layers", "place", 2)
    for index in (0, 2):  # 1 is the activation
        yield from dense(f"{theirs}.angle_proj.{index}", f"turn{index // 2 + 1}")
