"""DenseNet: each convolution sees the maps of all before it. Huang et al. 2016, https://arxiv.org/abs/1608.06993.

    image (B, H, W, 3) → stem /4 → 4 × dense block, with transitions /2 between → [C2 /4, C3 /8, C4 /16, C5 /32]

Equal to torchvision's `densenet121().features`, normalised and rectified at the end.
"""

from __future__ import annotations

from keras import layers

from zoo.layers import conv, conv_bn, norm, pad

BOTTLENECK = 4  # the 1×1 convolution gives so many times the channels that the 3×3 one adds


def activated(x, name: str):
    return layers.ReLU(name=f"{name}_relu")(norm(x, f"{name}_norm"))


def dense_layer(x, growth: int, name: str):
    """x and `growth` new channels: (B, H, W, C) → (B, H, W, C + growth) (eq. 2, "DenseNet-B")."""
    y = conv(activated(x, f"{name}_1"), BOTTLENECK * growth, 1, f"{name}_1_conv")
    y = conv(activated(y, f"{name}_2"), growth, 3, f"{name}_2_conv")
    return layers.Concatenate(name=f"{name}_both")([x, y])


def transition(x, pool: tuple[int, int], name: str):
    """Half the channels, a smaller map ("DenseNet-C")."""
    x = conv(activated(x, name), x.shape[-1] // 2, 1, f"{name}_conv")
    return layers.AveragePooling2D(pool, name=f"{name}_pool")(x)


def densenet(image, depths: tuple[int, ...], growth: int = 32, width: int = 64, rectangular: bool = False) -> list:
    """[C2, C3, C4, C5] of a normalised image (B, H, W, 3).

    Args:
        image: pixels of about unit variance.
        depths: layers of each dense block.
        growth: channels that a layer adds.
        width: of the stem.
        rectangular: the transitions halve the height only: C5 is (B, H/32, W/4, C).
    """
    x = conv_bn(image, width, 7, "stem", stride=2)
    # Pixels after a ReLU are not negative, so zeros pad a maximum as well as minus infinity does.
    x = layers.MaxPooling2D(3, 2, name="stem_pool")(pad(x, 3, "stem_pool"))
    features = []
    for stage, depth in enumerate(depths, 1):
        for index in range(1, depth + 1):
            x = dense_layer(x, growth, f"stage{stage}_layer{index}")
        features.append(x)
        if stage < len(depths):
            x = transition(x, (2, 1) if rectangular else (2, 2), f"stage{stage}_transition")
    return [*features[:-1], activated(features[-1], "last")]
