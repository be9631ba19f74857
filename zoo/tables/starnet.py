"""docTR's names in StarNet."""

from __future__ import annotations

from zoo.backbones.starnet import DEPTHS
from zoo.tables.rows import DEPTHWISE, Rows, conv, norm


def starnet(size: str, trunk: str = "feat_extractor") -> Rows:
    """The stem is 0, the stages 1 to 4; of a stage, 0 is the convolution that halves the map, then come its blocks."""
    yield from biased(f"{trunk}.0.0", "stem")
    for stage, depth in enumerate(DEPTHS[size], 1):
        yield from biased(f"{trunk}.{stage}.0", f"stage{stage}")
        for index in range(1, depth + 1):
            yield from _block(f"{trunk}.{stage}.{index}", f"stage{stage}_block{index}")


def _block(theirs: str, ours: str) -> Rows:
    yield from biased(f"{theirs}.dwconv", f"{ours}_1", DEPTHWISE)
    yield from conv(f"{theirs}.f1.conv", f"{ours}_left", bias=True)
    yield from conv(f"{theirs}.f2.conv", f"{ours}_right", bias=True)
    yield from biased(f"{theirs}.g", f"{ours}_project")
    yield from conv(f"{theirs}.dwconv2.conv", f"{ours}_2", bias=True, axes=DEPTHWISE)


def biased(theirs: str, ours: str, axes: tuple[int, ...] = (2, 3, 1, 0)) -> Rows:
    """A convolution that has a bias although a normalization follows."""
    yield from conv(f"{theirs}.conv", f"{ours}_conv", bias=True, axes=axes)
    yield from norm(f"{theirs}.bn", f"{ours}_norm")
