"""MobileNetV3: inverted residuals with squeeze-and-excitation. Howard et al. 2019, https://arxiv.org/abs/1905.02244.

    image (B, H, W, 3) → stem /2 → blocks → C2 /4, C3 /8, C4 /16 → last block → head_conv → C5 /32

Equal to torchvision's `mobilenet_v3_{small,large}().features`, and with `rectangular=True` to docTR's `_r` variants:
three of the strides halve the height only, so that a strip keeps one column for every four pixels of its width.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from keras import layers

from zoo.layers import conv_bn, depthwise_conv, norm, squeeze_excite

NORM: dict[str, Any] = {"momentum": 0.9, "epsilon": 1e-3}


class Block(NamedTuple):
    kernel: int
    expanded: int  # channels of the depthwise convolution
    filters: int
    squeeze: bool
    activation: str
    stride: int
    name: str = ""  # "block" and its place, unless told


RE, HS = "relu", "hard_silu"
# Tables 1 and 2 of the paper.
BLOCKS = {
    "large": (
        Block(3, 16, 16, False, RE, 1),
        Block(3, 64, 24, False, RE, 2),
        Block(3, 72, 24, False, RE, 1),
        Block(5, 72, 40, True, RE, 2),
        Block(5, 120, 40, True, RE, 1),
        Block(5, 120, 40, True, RE, 1),
        Block(3, 240, 80, False, HS, 2),
        Block(3, 200, 80, False, HS, 1),
        Block(3, 184, 80, False, HS, 1),
        Block(3, 184, 80, False, HS, 1),
        Block(3, 480, 112, True, HS, 1),
        Block(3, 672, 112, True, HS, 1),
        Block(5, 672, 160, True, HS, 2),
        Block(5, 960, 160, True, HS, 1),
        Block(5, 960, 160, True, HS, 1),
    ),
    "small": (
        Block(3, 16, 16, True, RE, 2),
        Block(3, 72, 24, False, RE, 2),
        Block(3, 88, 24, False, RE, 1),
        Block(5, 96, 40, True, HS, 2),
        Block(5, 240, 40, True, HS, 1),
        Block(5, 240, 40, True, HS, 1),
        Block(5, 120, 48, True, HS, 1),
        Block(5, 144, 48, True, HS, 1),
        Block(5, 288, 96, True, HS, 2),
        Block(5, 576, 96, True, HS, 1),
        Block(5, 576, 96, True, HS, 1),
    ),
    # For text: "small" with wider and further blocks where letters are still whole. Blocks that both have are named
    # alike, so that the larger network can grow out of the smaller one's weights (`recipes.surgery.grow`).
    "medium": (
        Block(3, 16, 32, True, RE, 2),
        Block(3, 96, 32, False, RE, 1, "block1b"),
        Block(3, 96, 32, False, RE, 1, "block1c"),
        Block(3, 128, 48, False, RE, 2, "block2"),
        Block(3, 144, 48, False, RE, 1, "block3"),
        Block(5, 192, 48, True, HS, 1, "block3b"),
        Block(5, 192, 64, True, HS, 2, "block4"),
        Block(5, 256, 64, True, HS, 1, "block5"),
        Block(5, 256, 64, True, HS, 1, "block6"),
        Block(5, 256, 72, True, HS, 1, "block7"),
        Block(5, 256, 72, True, HS, 1, "block8"),
        Block(5, 320, 112, True, HS, 2, "block9"),
        Block(5, 576, 112, True, HS, 1, "block10"),
        Block(5, 576, 112, True, HS, 1, "block11"),
    ),
    # A few narrow blocks with all that the others have, for tests.
    "test": (
        Block(3, 8, 8, True, RE, 2),
        Block(3, 16, 8, False, RE, 2),
        Block(3, 16, 16, False, RE, 1),
        Block(5, 16, 16, True, HS, 2),
        Block(5, 24, 16, True, HS, 2),
    ),
}


def divisible(channels: float, by: int = 8) -> int:
    """The multiple of `by` nearest to `channels`, at least `by` and not more than a tenth below `channels`."""
    rounded = max(by, int(channels + by / 2) // by * by)
    return rounded + by if rounded < 0.9 * channels else rounded


def inverted_residual(x, block: Block, stride: tuple[int, int], name: str, dilation: int = 1):
    """Expand, filter each channel, weigh channels, project; added to the input where shapes agree (figure 4)."""
    shortcut = x
    if block.expanded != x.shape[-1]:
        x = conv_bn(x, block.expanded, 1, f"{name}_expand", activation=block.activation, **NORM)
    x = depthwise_conv(x, block.kernel, f"{name}_depthwise_conv", stride=stride, dilation=dilation)
    x = norm(x, f"{name}_depthwise_norm", **NORM)
    x = layers.Activation(block.activation, name=f"{name}_depthwise_{block.activation}")(x)
    if block.squeeze:
        x = squeeze_excite(x, divisible(block.expanded / 4), f"{name}_squeeze")
    x = conv_bn(x, block.filters, 1, f"{name}_project", activation=None, **NORM)
    if stride == (1, 1) and x.shape[-1] == shortcut.shape[-1]:
        x = layers.Add(name=f"{name}_add")([shortcut, x])
    return x


def mobilenet_v3(image, variant: str, rectangular: bool = False, dilated: int = 0, prefix: str = ""):
    """[C2, C3, C4, C5] of a normalised image (B, H, W, 3).

    Args:
        image: pixels of about unit variance.
        variant: a key of `BLOCKS`.
        rectangular: the last three strides are (2, 1): C5 is (B, H/32, W/4, C).
        dilated: so many of the last strides are left out; the blocks from there on dilate their windows instead, by two
            for each. With 1, as the backbone of torchvision's `deeplabv3_mobilenet_v3_large`.
        prefix: of its layers' names, where a network has two backbones.
    """
    blocks = BLOCKS[variant]
    strided = [index for index, block in enumerate(blocks) if block.stride == 2]
    narrow = strided[-3:] if rectangular else []
    dense = strided[len(strided) - dilated :]
    x = conv_bn(image, 16, 3, f"{prefix}stem", stride=2, activation="hard_silu", **NORM)
    features, dilation = [], 1
    for index, block in enumerate(blocks):
        if block.stride == 2:
            features.append(x)
        stride = (2, 1) if index in narrow else (block.stride, block.stride)
        if index in dense:
            stride, dilation = (1, 1), 2 * dilation
        x = inverted_residual(x, block, stride, prefix + (block.name or f"block{index + 1}"), dilation)
    x = conv_bn(x, 6 * blocks[-1].filters, 1, f"{prefix}head", activation="hard_silu", **NORM)
    return [*features[-3:], x]
