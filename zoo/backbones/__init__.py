"""Backbones by name: each maps a normalised image (B, H, W, 3) to [C2, C3, C4, C5] at strides 4, 8, 16, 32.

A name that ends in `_r` halves the height only in its last three strides; one with `test` is tiny. In place of a name,
detectors take backbones of other projects: see `foreign`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import keras

from zoo.backbones.densenet import densenet
from zoo.backbones.foreign import foreign
from zoo.backbones.hrnet import hrnet
from zoo.backbones.mobilenet_v3 import mobilenet_v3
from zoo.backbones.resnet import resnet
from zoo.backbones.starnet import starnet
from zoo.backbones.textnet import textnet
from zoo.backbones.vgg import vgg

TINY_VGG = ((1, 4), (1, 4), (1, 8), (1, 8), (1, 8))

BACKBONES: dict[str, Callable] = {
    "densenet121": partial(densenet, depths=(6, 12, 24, 16)),
    "densenet121_r": partial(densenet, depths=(6, 12, 24, 16), rectangular=True),
    "densenet_test": partial(densenet, depths=(1, 1, 1, 2), growth=4, width=8),
    "densenet_test_r": partial(densenet, depths=(1, 1, 1, 2), growth=4, width=8, rectangular=True),
    "hrnet_w18": partial(hrnet, width=18),
    "hrnet_test": partial(hrnet, width=4, modules=(1, 1, 1), stem=4, depth=1),
    "mobilenet_v3_small": partial(mobilenet_v3, variant="small"),
    "mobilenet_v3_large": partial(mobilenet_v3, variant="large"),
    "mobilenet_v3_medium_r": partial(mobilenet_v3, variant="medium", rectangular=True),
    "mobilenet_v3_small_r": partial(mobilenet_v3, variant="small", rectangular=True),
    "mobilenet_v3_large_r": partial(mobilenet_v3, variant="large", rectangular=True),
    "mobilenet_v3_test": partial(mobilenet_v3, variant="test"),
    "mobilenet_v3_test_r": partial(mobilenet_v3, variant="test", rectangular=True),
    "resnet18": partial(resnet, block="basic", depths=(2, 2, 2, 2)),
    "resnet34": partial(resnet, block="basic", depths=(3, 4, 6, 3)),
    "resnet50": partial(resnet, block="bottleneck", depths=(3, 4, 6, 3)),
    "resnet34_wide": partial(resnet, block="basic", depths=(3, 4, 6, 3), width=128),
    "resnet34_r": partial(resnet, block="basic", depths=(3, 4, 6, 3), rectangular=True),
    "resnet50_dcn": partial(resnet, block="bottleneck", depths=(3, 4, 6, 3), later="deformable"),
    "resnet_dcn_test": partial(resnet, block="bottleneck", depths=(1, 1, 1, 1), width=4, later="deformable"),
    "resnet_test": partial(resnet, block="bottleneck", depths=(1, 1, 1, 1), width=4),
    "resnet_test_r": partial(resnet, block="basic", depths=(1, 1, 1, 1), width=4, rectangular=True),
    "starnet_s3": partial(starnet, size="starnet_s3"),
    "starnet_test": partial(starnet, size="starnet_test", width=8),
    "textnet_tiny": partial(textnet, variant="tiny"),
    "textnet_small": partial(textnet, variant="small"),
    "textnet_base": partial(textnet, variant="base"),
    "textnet_test": partial(textnet, variant="test", filters=(4, 8, 8, 8)),
    "vgg16_bn": vgg,
    "vgg16_bn_r": partial(vgg, rectangular=True),
    "vgg16_bn_test_r": partial(vgg, blocks=TINY_VGG, rectangular=True),
}


def backbone(name: str | Mapping[str, Any] | keras.Model, image, **options) -> list:
    """[C2, C3, C4, C5] of `image` by the backbone `name`, whose function may take options.

    Raises:
        ValueError: no backbone has this name, or another project's has no such maps.
    """
    if not isinstance(name, str):
        return foreign(name, image)
    if name not in BACKBONES:
        raise ValueError(f"no backbone is named {name!r}; there are: {', '.join(BACKBONES)}")
    return BACKBONES[name](image, **options)
