"""docTR's names in a TextNet and in its blocks, of which FAST has some more."""

from __future__ import annotations

from zoo.backbones.textnet import STAGES, branches
from zoo.tables.rows import Rows, conv_norm, norm

BRANCHES = {"square": ("conv", "bn"), "tall": ("ver_conv", "ver_bn"), "wide": ("hor_conv", "hor_bn")}


def block(theirs: str, ours: str, kernel: tuple[int, int], identity: bool) -> Rows:
    for branch in branches(kernel):
        convolution, normalization = (f"{theirs}.{part}" for part in BRANCHES[branch])
        yield from conv_norm(convolution, normalization, f"{ours}_{branch}")
    if identity:
        yield from norm(f"{theirs}.rbr_identity", f"{ours}_identity_norm")


def textnet(features: str) -> Rows:
    """The stem's convolution, normalization and ReLU are 0 to 2, the stages 3 to 6."""
    yield from conv_norm("feat_extractor.0", "feat_extractor.1", "stem")
    for stage, kernels in enumerate(STAGES[features.removeprefix("textnet_")]):
        strided = 0 if stage else 1
        for index, kernel in enumerate(kernels):
            ours = f"stage{stage + 1}_block{index + 1}"
            yield from block(f"feat_extractor.{stage + 3}.{index}", ours, kernel, index != strided)
