"""docTR's names in ViTDet."""

from __future__ import annotations

from zoo.backbones.vit_det import SIZES
from zoo.tables.rows import MATRIX, VECTOR, Rows, Source, conv, dense, layer_norm


def vit_det(size: str, trunk: str = "feat_extractor") -> Rows:
    """The trunk counts its parts: 0 is the input, 1 has no weights, 2 are the blocks."""
    yield from conv(f"{trunk}.0.patch_embed.proj", "patches", bias=True)
    yield "positions/codes", Source((f"{trunk}.0.pos_embed",), (0, 1, 2))
    for index in range(SIZES[size].depth):
        theirs, ours = f"{trunk}.2.blocks.{index}", f"block{index + 1}"
        yield f"{ours}_attention/qkv/kernel", Source((f"{theirs}.attn.qkv.weight",), MATRIX)
        for letter, name in (("q", "query"), ("v", "value")):
            yield f"{ours}_attention/{name}_bias", Source((f"{theirs}.attn.{letter}_bias",), VECTOR)
        yield from dense(f"{theirs}.attn.proj", f"{ours}_attention/project")
        yield from dense(f"{theirs}.mlp.net.0", f"{ours}_feed/expand")
        yield from dense(f"{theirs}.mlp.net.2", f"{ours}_feed/reduce")
        for number, part in ((1, "attention"), (2, "feed")):
            yield from layer_norm(f"{theirs}.norm{number}", f"{ours}_{part}_norm")
            yield f"{ours}_{part}_scale/gamma", Source((f"{theirs}.gamma_{number}",), VECTOR)
