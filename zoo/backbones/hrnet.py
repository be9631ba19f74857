"""HRNet: maps of several resolutions side by side, which exchange what they see. Sun et al. 2019, arXiv:1908.07919.

    image (B, H, W, 3) → stem /4 → bottlenecks → C2 /4 ┬─────────┬─────────┬─ [C2 /4,
                                                       └ C3 /8 ──┼─────────┼─  C3 /8,
                                                                 └ C4 /16 ─┼─  C4 /16,
                                                                           └─  C5 /32]

https://arxiv.org/abs/1908.07919, figure 2. The finest map is never left, so borders stay sharp.
"""

from __future__ import annotations

from keras import layers

from zoo.backbones.resnet import residual
from zoo.layers import Upsample, conv_bn

MODULES = (1, 4, 3)  # of the stages with 2, 3 and 4 branches
DEPTH = 4  # residual blocks of a branch between two exchanges, and bottlenecks of the first stage


def reduced(x, filters: int, times: int, name: str):
    """A map halved `times` over, to `filters` channels; only the last convolution changes their number."""
    for index in range(1, times + 1):
        last = index == times
        width = filters if last else x.shape[-1]
        x = conv_bn(x, width, 3, f"{name}_{index}", stride=2, activation=None if last else "relu")
    return x


def enlarged(x, filters: int, times: int, name: str):
    """A map doubled `times` over, to `filters` channels."""
    x = conv_bn(x, filters, 1, name, activation=None)
    return Upsample(2**times, False, name=f"{name}_up")(x)


def exchange(maps: list, name: str) -> list:
    """Each map and all others at its resolution, summed."""
    result = []
    for to, own in enumerate(maps):
        parts = [own]
        for source, x in enumerate(maps):
            part = f"{name}_{source + 1}to{to + 1}"
            if source < to:
                parts.append(reduced(x, own.shape[-1], to - source, part))
            elif source > to:
                parts.append(enlarged(x, own.shape[-1], source - to, part))
        result.append(layers.ReLU(name=f"{name}_relu{to + 1}")(layers.Add(name=f"{name}_sum{to + 1}")(parts)))
    return result


def hrnet(image, width: int, modules: tuple[int, int, int] = MODULES, stem: int = 64, depth: int = DEPTH) -> list:
    """[C2, C3, C4, C5] of a normalised image (B, H, W, 3), of `width`, 2, 4 and 8 times as many channels.

    Args:
        image: pixels of about unit variance; sides are multiples of 32.
        width: channels of the finest map.
        modules: exchanges in each of the stages with 2, 3 and 4 branches.
        stem: channels of the first two convolutions.
        depth: residual blocks of a branch between two exchanges.
    """
    x = conv_bn(conv_bn(image, stem, 3, "stem1", stride=2), stem, 3, "stem2", stride=2)
    for index in range(1, depth + 1):
        x = residual(x, "bottleneck", stem, 1, f"stage1_block{index}")
    maps = [x]
    for stage, count in enumerate(modules, 2):
        if stage == 2:
            maps = [conv_bn(x, width, 3, "stage2_enter1")]
        source = x if stage == 2 else maps[-1]
        maps.append(conv_bn(source, width * 2 ** (stage - 1), 3, f"stage{stage}_enter{stage}", stride=2))
        for module in range(1, count + 1):
            name = f"stage{stage}_module{module}"
            for branch in range(stage):
                for index in range(1, depth + 1):
                    block = f"{name}_branch{branch + 1}_block{index}"
                    maps[branch] = residual(maps[branch], "basic", maps[branch].shape[-1], 1, block)
            maps = exchange(maps, f"{name}_exchange")
    return maps
