"""docTR's names in ResNet-31, with and without global context."""

from __future__ import annotations

from zoo.backbones.resnet31 import SIZES
from zoo.tables.rows import Rows, Source, conv, conv_norm


def resnet31(size: str = "resnet31", context: bool = False, trunk: str = "feat_extractor") -> Rows:
    """The trunk counts its layers: 0 to 6 are the stem, 7 to 10 the stages, and these count theirs."""
    for index, position in ((1, 0), (2, 3)):
        yield from conv_norm(f"{trunk}.{position}", f"{trunk}.{position + 1}", f"stem{index}")
    channels = SIZES[size][0].filters // 2
    for index, (depth, filters, _) in enumerate(SIZES[size], 1):
        stage = f"{trunk}.{6 + index}"
        for number in range(depth):
            theirs, ours = f"{stage}.{number}", f"stage{index}_block{number + 1}"
            for part in (1, 2):
                yield from conv_norm(f"{theirs}.conv{part}", f"{theirs}.bn{part}", f"{ours}_{part}")
            if channels != filters:
                yield from conv_norm(f"{theirs}.downsample.0", f"{theirs}.downsample.1", f"{ours}_shortcut")
            channels = filters
        if context:
            yield from _context(f"{stage}.{depth}", f"stage{index}_context")
        position = depth + context
        yield from conv_norm(f"{stage}.{position}", f"{stage}.{position + 1}", f"stage{index}")


def _context(theirs: str, ours: str) -> Rows:
    yield from conv(f"{theirs}.conv_mask", f"{ours}_pool/scores", bias=True)
    yield from conv(f"{theirs}.transform.0", f"{ours}_reduce", bias=True)
    for variable, tensor in (("gamma", "weight"), ("beta", "bias")):
        yield f"{ours}_norm/{variable}", Source((f"{theirs}.transform.1.{tensor}",), (1, 2, 0))  # (C, 1, 1) → (1, 1, C)
    yield from conv(f"{theirs}.transform.3", f"{ours}_expand", bias=True)
