"""DB++: differentiable binarization that weighs its scales at every pixel. Liao et al. 2022,
https://arxiv.org/abs/2202.10304.

    image (B, H, W, 3) → C2..C5 (strides 4..32), their last three stages with deformable convolutions
      levels:   as in DB                                                       4 × X_i (B, H/4, W/4, channels / 4)
      fusion:   S = conv3×3([X_2 … X_5]);  A = attention(S) (B, H/4, W/4, 4);  [A_2·X_2 … A_5·X_5]
      two heads as in DB                                                       (B, H, W, 1) logits each

Outputs, targets and loss are those of DB: see `zoo.detection.db`.
"""

from __future__ import annotations

import keras
from keras import layers, ops

from zoo.backbones import backbone
from zoo.detection.db import head, levels
from zoo.layers import IMAGENET, conv, normalize


def fusion(maps: list, name: str = "fusion"):
    """Maps (B, H, W, C) weighted at every pixel and joined (section 3.3, eq. 1 to 3)."""
    x = conv(layers.Concatenate(name=f"{name}_all")(maps), maps[0].shape[-1], 3, f"{name}_reduce", bias=True)
    place = conv(ops.mean(x, -1, keepdims=True), 1, 3, f"{name}_place_1")
    place = conv(layers.ReLU(name=f"{name}_place_relu")(place), 1, 1, f"{name}_place_2")
    x = layers.Add(name=f"{name}_add")([x, layers.Activation("sigmoid", name=f"{name}_place")(place)])
    weights = layers.Activation("sigmoid", name=f"{name}_weights")(conv(x, len(maps), 1, f"{name}_scales"))
    weighted = [
        layers.Multiply(name=f"{name}_scaled{index}")([x, weights[..., index : index + 1]])
        for index, x in enumerate(maps)
    ]
    return layers.Concatenate(name=name)(weighted)


def dbpp(
    *,
    features: str,
    channels: int = 256,
    image_size: tuple[int | None, int | None] = (None, None),
    name: str = "dbpp",
) -> keras.Model:
    """The network from a page's pixels to {"logits": (B, H, W, 1), "threshold": (B, H, W, 1)}.

    Args:
        features: a backbone, such as "resnet50_dcn".
        channels: of the pyramid, a multiple of 16.
        image_size: (height, width) in pixels, multiples of 32; None leaves a side free.
        name: of the model.
    """
    image = keras.Input((*image_size, 3), name="image")
    fused = fusion(levels(backbone(features, normalize(image, *IMAGENET, 32)), channels))
    outputs = {"logits": head(fused, "region", "logits"), "threshold": head(fused, "border", "threshold")}
    return keras.Model(image, outputs, name=name)
