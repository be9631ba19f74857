"""TextNet: plain stages of convolutions with parallel branches. Chen et al. 2021, https://arxiv.org/abs/2111.02394.

    image (B, H, W, 3) → stem /2 → 4 stages of blocks → [C2 /4, C3 /8, C4 /16, C5 /32]

A block adds up to four branches and clips the sum at 0. All are linear once trained, so that one convolution can take
their place: `reparameterize` gives that network. Equal to docTR's `textnet_*` and its `reparameterize`.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers, ops

from zoo.layers import Kernel, conv_bn, norm

# Kernels of the blocks of each stage, as the paper's search found them (table 1); the stages' filters.
SQUARE, TALL, WIDE = (3, 3), (3, 1), (1, 3)
FILTERS = (64, 128, 256, 512)
STAGES = {
    "tiny": (
        (SQUARE, SQUARE, SQUARE),
        (SQUARE, WIDE, SQUARE, TALL),
        (SQUARE, SQUARE, TALL, WIDE),
        (SQUARE, TALL, WIDE, SQUARE),
    ),
    "small": (
        (SQUARE, SQUARE),
        (SQUARE, WIDE, SQUARE, TALL, SQUARE, TALL, WIDE, SQUARE),
        (SQUARE, SQUARE, WIDE, TALL, SQUARE, WIDE, TALL, SQUARE),
        (SQUARE, TALL, WIDE, WIDE, TALL),
    ),
    "base": (
        (SQUARE, SQUARE, TALL, SQUARE, TALL, SQUARE, SQUARE, WIDE, SQUARE, SQUARE),
        (SQUARE, WIDE, SQUARE, TALL, SQUARE, SQUARE, TALL, TALL, SQUARE, SQUARE),
        (SQUARE, SQUARE, SQUARE, WIDE, SQUARE, TALL, SQUARE, TALL),
        (SQUARE, WIDE, TALL, TALL, WIDE),
    ),
    # One block of each kind, for tests.
    "test": ((SQUARE, SQUARE), (SQUARE, TALL), (SQUARE, WIDE), (SQUARE,)),
}


def branches(kernel: tuple[int, int]) -> dict[str, tuple[int, int]]:
    """The kernels of a block's convolutions by the names of their branches; the identity has none."""
    height, width = kernel
    found = {"square": kernel}
    if width > 1:
        found["tall"] = (height, 1)
    if height > 1:
        found["wide"] = (1, width)
    return found


def block(x, filters: int, kernel: Kernel, name: str, *, stride: int = 1):
    """Parallel convolutions and the identity, each normalised, summed, and a ReLU.

    (B, H, W, C) → (B, H/stride, W/stride, filters).
    """
    kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
    parts = [
        conv_bn(x, filters, window, f"{name}_{branch}", stride=stride, activation=None)
        for branch, window in branches(kernel).items()
    ]
    if stride == 1 and x.shape[-1] == filters:
        parts.append(norm(x, f"{name}_identity_norm"))
    return layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_sum")(parts))


def textnet(image, variant: str, filters: tuple[int, ...] = FILTERS):
    """[C2, C3, C4, C5] of a normalised image (B, H, W, 3).

    Args:
        image: pixels of about unit variance.
        variant: a key of `STAGES`.
        filters: of each stage; the stem has those of the first.
    """
    x = conv_bn(image, filters[0], 3, "stem", stride=2)
    features = []
    for stage, kernels in enumerate(STAGES[variant]):
        halved = 0 if stage else 1  # the block that halves both sides
        for index, kernel in enumerate(kernels):
            name = f"stage{stage + 1}_block{index + 1}"
            x = block(x, filters[stage], kernel, name, stride=2 if index == halved else 1)
        features.append(x)
    return features


# ---------------------------------------------------------------- one convolution in place of many


def reparameterize(network: keras.Model) -> keras.Model:
    """A network that answers as `network` does at inference, each block being one convolution with a bias.

    Batch normalizations that follow another convolution are folded into it, too. For reading and export: it is not
    meant to be trained, since it has no statistics left.
    """
    known = {layer.name: layer for layer in network.layers}
    convolutions = [layer.name.removesuffix("_conv") for layer in network.layers if isinstance(layer, layers.Conv2D)]
    folded = {name for name in convolutions if f"{name}_conv" in known and f"{name}_norm" in known}
    sums = {name.removesuffix("_square") for name in folded if name.endswith("_square")}
    gone = {f"{name}_norm" for name in folded} | {f"{name}_identity_norm" for name in sums}

    def clone(layer):
        config = layer.get_config()
        if layer.name.endswith("_conv") and layer.name.removesuffix("_conv") in folded:
            config["use_bias"] = True
        return type(layer).from_config(config)

    def call(layer, x, *args, **kwargs):
        if layer.name in gone:
            return x
        if layer.name.endswith("_sum") and layer.name.removesuffix("_sum") in sums:
            return x[0]  # the branch "square"; nothing leads from the others to an output
        return layer(x, *args, **kwargs)

    plain = keras.models.clone_model(network, clone_function=clone, call_function=call)
    for layer in plain.layers:
        name = layer.name.removesuffix("_conv")
        if name.removesuffix("_square") in sums:
            layer.set_weights(_sum(name.removesuffix("_square"), known))
        elif name in folded:
            layer.set_weights(_folded(name, known))
        else:
            layer.set_weights(known[layer.name].get_weights())
    return plain


def _scale(layer) -> tuple[np.ndarray, np.ndarray]:
    """The factor and the offset, each (C,), of a batch normalization at inference; float64."""
    gamma, beta, mean, variance = (
        np.asarray(ops.convert_to_numpy(variable), "float64")
        for variable in (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance)
    )
    factor = gamma / np.sqrt(variance + layer.epsilon)
    return factor, beta - mean * factor


def _folded(name: str, known: dict) -> list[np.ndarray]:
    """Kernel and bias of the convolution `name`_conv with its batch normalization in it."""
    kernel, *bias = known[f"{name}_conv"].get_weights()
    factor, offset = _scale(known[f"{name}_norm"])
    return [kernel * factor, offset + (bias[0] * factor if bias else 0)]


def _sum(name: str, known: dict) -> list[np.ndarray]:
    """Kernel and bias of the one convolution that does what the block `name` does."""
    kernel, bias = _folded(f"{name}_square", known)
    rows, columns = kernel.shape[0] // 2, kernel.shape[1] // 2  # the middle
    if f"{name}_tall_conv" in known:
        part, offset = _folded(f"{name}_tall", known)
        kernel[:, columns] += part[:, 0]
        bias = bias + offset
    if f"{name}_wide_conv" in known:
        part, offset = _folded(f"{name}_wide", known)
        kernel[rows] += part[0]
        bias = bias + offset
    if f"{name}_identity_norm" in known:
        factor, offset = _scale(known[f"{name}_identity_norm"])
        kernel[rows, columns] += np.diag(factor)
        bias = bias + offset
    return [kernel, bias]
