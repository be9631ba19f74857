"""Weights and pictures that are drawn again wherever they are needed, from a name and a shape alone.

Both sides of the parity test import this file: `make_golden.py` in an environment with docTR, and `test_parity.py`.
It needs NumPy only. `RandomState` is used because its stream is frozen for all versions of NumPy, and uniform
numbers because they need no logarithm, whose last bit differs between machines.

The rule. Each tensor has a generator of its own, seeded by the CRC-32 of its name in docTR's state dict, so that the
order of tensors plays no part. By the end of the name:

    num_batches_tracked         0
    pe                          the codes of positions (1, length, channels), which are not learnt
    running_var                 0.5 … 1.5
    running_mean                -0.2 … 0.2
    weight, of one axis         0.8 … 1.2   (the scale of a batch normalization)
        ... that ends a branch  0.4 … 0.8   (see BRANCHES: a sum of many branches would explode)
        ... that is one of four 0.35 … 0.7  (see PARALLEL: so would these)
        ... that ends a star    0.05 … 0.1  (what StarNet's blocks multiply would explode faster still)
    gamma_1, gamma_2            0.4 … 0.8   (the weights of ViTDet's branches)
    offset_mask.weight          -0.02 … 0.02 (where deformable convolutions look: some pixels away)
    layers.2 of a bbox_embed    -0.02 … 0.02, biases 0.2 … 0.4 (boxes' sides would grow beyond all bounds, and of a
    reference_point_embed       0.2 … 0.4    turn near 0 the angle is anything)
    bias                        -0.1 … 0.1
    all others                  ±√(6 / fan-in), He's variance 2 / fan-in; the fan-in is the product of all axes but the
                                first
"""

from __future__ import annotations

import math
import re
import zlib

import numpy as np

SEED = 20261121
# The last normalization of a residual branch, of ResNets and of MobileNetV3 (in classifiers, of those branches alone
# that have no gate: gates make the sums smaller).
BRANCHES = re.compile(r"\d\.\d+\.bn[23]\.weight|extractor\.\d+\.block\.3\.1\.weight|block\.2\.1\.weight")
# Those of the parallel branches of TextNet and FAST.
PARALLEL = re.compile(r"\d\.(bn|ver_bn|hor_bn|rbr_identity)\.weight")
DELTAS = re.compile(r"bbox_embed.*layers\.2\.weight")
MOVES = re.compile(r"bbox_embed.*layers\.2\.bias|reference_point_embed")
STAR = re.compile(r"\d\.\d+\.g\.bn\.weight")


def tensor(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """The tensor named `key` in docTR's state dict: float32, or int64 for a counter."""
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, "int64")
    if key.endswith(".pe"):
        return sinusoids(*shape[1:])[None]
    key = key.replace(TWICE, "bbox_embed")
    low, high = limits(key, shape)
    draw = np.random.RandomState(SEED ^ zlib.crc32(key.encode())).random_sample(shape)
    return (low + (high - low) * draw).astype("float32")


def sinusoids(length: int, width: int) -> np.ndarray:
    """(length, width) float32: by pairs of channels the sine and the cosine of position / 10000^(channel / width)."""
    angle = np.arange(length)[:, None] / 10_000 ** (np.arange(0, width, 2) / width)
    return np.stack([np.sin(angle), np.cos(angle)], 2).reshape(length, width).astype("float32")


def limits(key: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """Between which numbers the values of a tensor are drawn."""
    if key.endswith("running_var"):
        return 0.5, 1.5
    if key.endswith("running_mean"):
        return -0.2, 0.2
    if "offset_mask.weight" in key:
        return -0.02, 0.02
    if DELTAS.search(key):
        return -0.02, 0.02
    if MOVES.search(key):
        return 0.2, 0.4
    if key.endswith(("gamma_1", "gamma_2")):
        return 0.4, 0.8
    if key.endswith("weight") and len(shape) == 1:
        if STAR.search(key):
            return 0.05, 0.1
        if PARALLEL.search(key):
            return 0.35, 0.7
        return (0.4, 0.8) if BRANCHES.search(key) else (0.8, 1.2)
    if len(shape) == 1:
        return -0.1, 0.1
    bound = math.sqrt(6 / math.prod(shape[1:]))
    return -bound, bound


def image(shape: tuple[int, int, int, int]) -> np.ndarray:
    """(B, H, W, 3) uint8 pixels: squares of 16 pixels with noise on them, so that coarse and fine features get some."""
    batch, height, width, channels = shape
    random = np.random.RandomState(SEED % 1000 + height * width)
    coarse = random.randint(0, 192, (batch, -(-height // 16), -(-width // 16), channels))
    squares = coarse.repeat(16, axis=1).repeat(16, axis=2)[:, :height, :width]
    return (squares + random.randint(0, 64, shape)).astype("uint8")


INSIDE = (270, 200)  # height and width of the second picture of a network that is told what is padding


def picture(name: str, shape: tuple[int, int, int, int]) -> np.ndarray:
    """What a network is given: `image`, or two of them of which the second lies at the top left of black."""
    result = image(shape)
    if name in OPTIONS:
        result[1, INSIDE[0] :] = 0
        result[1, :, INSIDE[1] :] = 0
    return result


# The networks and the shapes of the pictures that they are given.
STRIPS = ((2, 32, 128, 3), (1, 32, 76, 3))
PAGES = ((1, 64, 96, 3), (1, 128, 128, 3))
CROPS = ((2, 32, 32, 3), (2, 64, 96, 3))
SQUARES = ((2, 32, 32, 3),)
FIXED = ((2, 32, 128, 3),)
CASES = {
    "crnn_mobilenet_v3_small": STRIPS,
    "crnn_mobilenet_v3_large": STRIPS,
    "crnn_vgg16_bn": STRIPS,
    "vitstr_small": FIXED,
    "vitstr_base": FIXED,
    "parseq": FIXED,
    "viptr_tiny": ((2, 32, 128, 3), (1, 32, 72, 3)),
    "master": FIXED,
    "sar_resnet31": ((2, 32, 128, 3), (1, 32, 76, 3)),
    "db_mobilenet_v3_large": PAGES,
    "db_resnet34": PAGES,
    "db_resnet50": PAGES,
    "fast_base": PAGES,
    "fast_small": PAGES,
    "fast_tiny": PAGES,
    "linknet_resnet18": PAGES,
    "linknet_resnet34": PAGES,
    "linknet_resnet50": PAGES,
    "mobilenet_v3_large": CROPS,
    "mobilenet_v3_large_r": CROPS,
    "mobilenet_v3_small": CROPS,
    "mobilenet_v3_small_crop_orientation": CROPS,
    "mobilenet_v3_small_page_orientation": CROPS,
    "mobilenet_v3_small_r": CROPS,
    "resnet18": CROPS,
    "resnet34": CROPS,
    "resnet34_wide": CROPS,
    "resnet50": CROPS,
    "textnet_base": CROPS,
    "textnet_small": CROPS,
    "textnet_tiny": CROPS,
    "vgg16_bn_r": CROPS,
    "resnet31": CROPS,
    "magc_resnet31": CROPS,
    "starnet_s3": CROPS,
    "vip_tiny": SQUARES,
    "vip_base": SQUARES,
    "vit_s": SQUARES,
    "vit_b": SQUARES,
    "vit_det_s": SQUARES,
    "vit_det_m": SQUARES,
    "tablecenternet": PAGES,
    "lw_detr_s": ((2, 320, 256, 3),),
    "lw_detr_m": ((2, 320, 256, 3),),
}
# Options of builders that take one size alone: pages of the card's would take seconds.
OPTIONS = {name: {"image_size": CASES[name][0][1:3]} for name in ("lw_detr_s", "lw_detr_m")}
TWICE = "decoder.bbox_embed"  # layers of LW-DETR that stand in the state dict once more, as "bbox_embed"
# Backbones of torchvision's classifiers, by name, and what they are given.
TRUNKS = ("densenet121", "mobilenet_v3_large", "mobilenet_v3_small", "resnet18", "resnet50", "vgg16_bn")
TIMM = {"mobilenet_v3_large": "mobilenetv3_large_100", "mobilenet_v3_small": "mobilenetv3_small_100"}
TRUNK_CASE = (1, 64, 96, 3)


def thinned(value: np.ndarray) -> np.ndarray:
    """The part of an output that is kept: logits of classes and strips whole, of maps every third pixel both ways.

    Three has no factor in common with the 2 and 4 by which maps are enlarged, so no phase is missed.
    """
    return value[:, ::3, ::3] if value.ndim == 4 else value
