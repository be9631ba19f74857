"""ResNet: residual blocks. He et al. 2015, https://arxiv.org/abs/1512.03385.

    image (B, H, W, 3) → stem /4 → 4 stages of residual blocks → [C2 /4, C3 /8, C4 /16, C5 /32]

Equal to torchvision's networks: the stride of a bottleneck is in its 3×3 convolution ("v1.5").
"""

from __future__ import annotations

from keras import layers

from zoo.layers import conv_bn, norm, pad
from zoo.sampling import deform_conv

Stride = int | tuple[int, int]


def basic(x, filters: int, stride: Stride, name: str, dilation: int = 1):
    """Two 3×3 convolutions: (B, H, W, C) → (B, H/stride, W/stride, filters)."""
    x = conv_bn(x, filters, 3, f"{name}_1", stride=stride, dilation=dilation)
    return conv_bn(x, filters, 3, f"{name}_2", activation=None, dilation=dilation)


def bottleneck(x, filters: int, stride: Stride, name: str, dilation: int = 1):
    """1×1, 3×3, 1×1 convolutions: (B, H, W, C) → (B, H/stride, W/stride, 4·filters)."""
    x = conv_bn(x, filters, 1, f"{name}_1")
    x = conv_bn(x, filters, 3, f"{name}_2", stride=stride, dilation=dilation)
    return conv_bn(x, 4 * filters, 1, f"{name}_3", activation=None)


def deformable(x, filters: int, stride: Stride, name: str):
    """A bottleneck whose 3×3 convolution is deformable: Zhu et al. 2018, https://arxiv.org/abs/1811.11168.

    Raises:
        ValueError: the strides differ.
    """
    if not isinstance(stride, int):
        raise ValueError(f"a deformable convolution has one stride, not {stride}; give a plain block")
    x = conv_bn(x, filters, 1, f"{name}_1")
    x = deform_conv(x, filters, 3, f"{name}_2_conv", stride=stride)
    x = layers.ReLU(name=f"{name}_2_relu")(norm(x, f"{name}_2_norm"))
    return conv_bn(x, 4 * filters, 1, f"{name}_3", activation=None)


BLOCKS = {"basic": basic, "bottleneck": bottleneck, "deformable": deformable}


def residual(x, block: str, filters: int, stride: Stride, name: str, **options):
    """The block's output added to its input, which is projected where the shapes differ (eq. 1 and 2)."""
    y = BLOCKS[block](x, filters, stride, name, **options)
    if stride != 1 or x.shape[-1] != y.shape[-1]:
        x = conv_bn(x, y.shape[-1], 1, f"{name}_shortcut", stride=stride, activation=None)
    return layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([x, y]))


def resnet(
    image,
    block: str,
    depths: tuple[int, ...],
    width: int = 64,
    rectangular: bool = False,
    later: str | None = None,
    dilated: int = 0,
):
    """[C2, C3, C4, C5] of a normalised image (B, H, W, 3).

    Args:
        image: pixels of about unit variance.
        block: a key of `BLOCKS`.
        depths: residual blocks in each stage.
        width: filters of the first stage; each stage doubles them.
        rectangular: the last three stages halve the height only: C5 is (B, H/32, W/4, C).
        later: the block of all stages but the first, if that is another.
        dilated: so many of the last stages keep the map's size and dilate their windows instead, each twice as far as
            the one before (Chen et al. 2017, https://arxiv.org/abs/1706.05587, section 3.1).
    """
    x = conv_bn(image, width, 7, "stem", stride=2)
    # Pixels after a ReLU are not negative, so zeros pad a maximum as well as minus infinity does.
    x = layers.MaxPooling2D(3, 2, name="stem_pool")(pad(x, 3, "stem_pool"))
    features, dilation = [], 1
    for stage, depth in enumerate(depths):
        dense = stage >= len(depths) - dilated
        for index in range(depth):
            stride: Stride = 1 if index or not stage or dense else (2, 1) if rectangular else 2
            kind = later if later and stage else block
            options = {"dilation": dilation} if dense else {}
            x = residual(x, kind, width * 2**stage, stride, f"stage{stage + 1}_block{index + 1}", **options)
            if dense and not index:
                dilation *= 2  # the first block still has the rate of the stage before
        features.append(x)
    return features
