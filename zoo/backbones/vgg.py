"""VGG-16 with batch normalization. Simonyan and Zisserman 2014, https://arxiv.org/abs/1409.1556.

    image (B, H, W, 3) → 5 × (2 or 3 convolutions 3×3, pool /2) → [C2 /4, C3 /8, C4 /16, C5 /32]

Equal to torchvision's `vgg16_bn().features`, and with `rectangular=True` to docTR's `vgg16_bn_r`: the last three pools
halve the height only.
"""

from __future__ import annotations

from keras import layers

from zoo.layers import conv, norm

CONFIGURATION_D = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))  # table 1 of the paper: (convolutions, filters)


def vgg(
    image, blocks: tuple[tuple[int, int], ...] = CONFIGURATION_D, rectangular: bool = False, pools: int = 5
) -> list:
    """[C2, C3, C4, C5] of a normalised image (B, H, W, 3), each after its pool.

    Args:
        image: pixels of about unit variance.
        blocks: convolutions and filters of each of the five blocks.
        rectangular: the last three pools are (2, 1): C5 is (B, H/32, W/4, C).
        pools: 4 leaves the last one out: C5 has stride 16.
    """
    x, features = image, []
    for index, (depth, filters) in enumerate(blocks, 1):
        for step in range(1, depth + 1):
            name = f"block{index}_conv{step}"
            x = conv(x, filters, 3, name, bias=True)
            x = norm(x, f"{name}_norm")
            x = layers.ReLU(name=f"{name}_relu")(x)
        pool = (2, 1) if rectangular and index > 2 else (2, 2)
        if index <= pools:
            x = layers.MaxPooling2D(pool, name=f"block{index}_pool")(x)
        features.append(x)
    return features[-4:]
