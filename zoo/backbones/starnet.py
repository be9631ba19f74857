"""StarNet: blocks that multiply two projections. Ma et al. 2024, https://arxiv.org/abs/2403.19967.

    image (B, H, W, 3) → stem /2 → 4 × (convolution /2, blocks) → [C2 /4, C3 /8, C4 /16, C5 /32]

Equal to docTR's `starnet_s3`. A product of two linear maps of C channels is a sum over pairs of channels (eq. 4): as
wide a view as a kernel's, at the price of two 1×1 convolutions.
"""

from __future__ import annotations

from keras import layers

from zoo.layers import conv, norm

DEPTHS = {"starnet_s3": (2, 2, 8, 4), "starnet_test": (1, 1, 2, 1)}
RATIO = 4  # the product has so many times the channels of the block


def depthwise(x, name: str):
    """A convolution 7×7 of each channel by itself, with a bias."""
    return layers.DepthwiseConv2D(7, padding="same", depthwise_initializer="he_normal", name=name)(x)


def block(x, name: str):
    """Filter each channel, multiply two projections, project, filter, add: (B, H, W, C) → (B, H, W, C) (figure 3)."""
    channels = x.shape[-1]
    y = norm(depthwise(x, f"{name}_1_conv"), f"{name}_1_norm")
    clipped = layers.ReLU(6, name=f"{name}_left_relu6")(conv(y, RATIO * channels, 1, f"{name}_left", bias=True))
    y = layers.Multiply(name=f"{name}_star")([clipped, conv(y, RATIO * channels, 1, f"{name}_right", bias=True)])
    y = norm(conv(y, channels, 1, f"{name}_project_conv", bias=True), f"{name}_project_norm")
    return layers.Add(name=f"{name}_add")([x, depthwise(y, f"{name}_2")])


def starnet(image, size: str, width: int = 32) -> list:
    """[C2, C3, C4, C5] of a normalised image (B, H, W, 3).

    Args:
        image: pixels of about unit variance.
        size: a key of `DEPTHS`.
        width: channels of the stem and of the first stage; each further stage doubles them.
    """
    x = norm(conv(image, width, 3, "stem_conv", stride=2, bias=True), "stem_norm")
    x = layers.ReLU(6, name="stem_relu6")(x)
    features = []
    for stage, depth in enumerate(DEPTHS[size]):
        name = f"stage{stage + 1}"
        x = norm(conv(x, width * 2**stage, 3, f"{name}_conv", stride=2, bias=True), f"{name}_norm")
        for index in range(1, depth + 1):
            x = block(x, f"{name}_block{index}")
        features.append(x)
    return features
