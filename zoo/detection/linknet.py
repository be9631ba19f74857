"""LinkNet: text regions by an encoder whose stages are added back to the decoder's. Chaurasia and Culurciello 2017,
https://arxiv.org/abs/1707.03718.

    image (B, H, W, 3) → C2..C5 (strides 4..32)
      decoder:  D4 = block(C5) + C4;  D3 = block(D4) + C3;  D2 = block(D3) + C2         (B, H/2^i, W/2^i, C_i)
                D1 = block(D2)                                                          (B, H/4, W/4, C_2)
      head:     transposed convolution, 3×3 convolution, transposed convolution         (B, H, W, 1) logits

"logits" is the probability that a pixel lies in a shrunken text region, before the sigmoid. Equal to docTR's
`linknet_*`.
"""

from __future__ import annotations

import keras
from keras import layers

from zoo.backbones import backbone
from zoo.layers import conv_bn, deconv, norm, normalize

MEAN, STD = (0.798, 0.785, 0.772), (0.264, 0.2749, 0.287)


def deconv_bn(x, filters: int, name: str, stride: int):
    """Transposed 3×3 convolution, batch normalization, ReLU: (B, H, W, C) → (B, stride·H, stride·W, filters)."""
    x = norm(deconv(x, filters, 3, f"{name}_conv", stride=stride), f"{name}_norm")
    return layers.ReLU(name=f"{name}_relu")(x)


def block(x, filters: int, stride: int, name: str):
    """(B, H, W, C) → (B, stride·H, stride·W, filters) by way of C / 4 channels (figure 3)."""
    narrow = x.shape[-1] // 4
    x = conv_bn(x, narrow, 1, f"{name}_1")
    x = deconv_bn(x, narrow, f"{name}_2", stride)
    return conv_bn(x, filters, 1, f"{name}_3")


def decoder(features: list):
    """[C2, C3, C4, C5] → (B, H/4, W/4, C_2): each stage enlarged and added to the one before it."""
    x = features[-1]
    for level, feature in zip((4, 3, 2), reversed(features[:-1]), strict=True):
        x = block(x, feature.shape[-1], 2, f"decoder{level}")
        x = layers.Add(name=f"decoder{level}_add")([x, feature])
    return block(x, x.shape[-1], 1, "decoder1")


def linknet(
    *,
    features: str,
    head: int = 32,
    image_size: tuple[int | None, int | None] = (None, None),
    name: str = "linknet",
) -> keras.Model:
    """The network from a page's pixels to {"logits": (B, H, W, 1)}.

    Args:
        features: a backbone, such as "resnet18".
        head: channels at the full and half resolution.
        image_size: (height, width) in pixels, multiples of 32; None leaves a side free.
        name: of the model.
    """
    image = keras.Input((*image_size, 3), name="image")
    x = decoder(backbone(features, normalize(image, MEAN, STD, 32)))
    x = deconv_bn(x, head, "head1", 2)
    x = conv_bn(x, head, 3, "head2")
    logits = deconv(x, 1, 2, "logits", stride=2, bias=True, dtype="float32")
    return keras.Model(image, {"logits": logits}, name=name)
