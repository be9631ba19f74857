"""What tables are written with: our variable path, and where in another project's state dict it comes from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class Source(NamedTuple):
    """Where a tensor of ours comes from: the sum of their tensors `keys`, its axes in the order `axes`.

    Under the keys `copies` the first of them stands once more.
    """

    keys: tuple[str, ...]
    axes: tuple[int, ...]
    copies: tuple[str, ...] = ()


VECTOR, MATRIX = (0,), (1, 0)
KERNEL = (2, 3, 1, 0)  # (out, in, height, width) → (height, width, in, out); transposed: out and in change places
DEPTHWISE = (2, 3, 0, 1)  # (channels, 1, height, width) → (height, width, channels, 1)
NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}

Rows = Iterator[tuple[str, Source]]


def conv(theirs: str, ours: str, *, bias: bool = False, axes: tuple[int, ...] = KERNEL) -> Rows:
    yield f"{ours}/kernel", Source((f"{theirs}.weight",), axes)
    if bias:
        yield f"{ours}/bias", Source((f"{theirs}.bias",), VECTOR)


def norm(theirs: str, ours: str) -> Rows:
    for variable, tensor in NORM.items():
        yield f"{ours}/{variable}", Source((f"{theirs}.{tensor}",), VECTOR)


def conv_norm(convolution: str, normalization: str, ours: str, axes: tuple[int, ...] = KERNEL) -> Rows:
    yield from conv(convolution, f"{ours}_conv", axes=axes)
    yield from norm(normalization, f"{ours}_norm")


def dense(theirs: str, ours: str) -> Rows:
    """A linear layer: (out, in) → (in, out)."""
    yield from conv(theirs, ours, bias=True, axes=MATRIX)


def layer_norm(theirs: str, ours: str) -> Rows:
    yield f"{ours}/gamma", Source((f"{theirs}.weight",), VECTOR)
    yield f"{ours}/beta", Source((f"{theirs}.bias",), VECTOR)


def lstm(theirs: str, suffix: str, ours: str) -> Rows:
    """torch's LSTM adds two biases where Keras' has one; the order of the gates is the same."""
    yield f"{ours}/kernel", Source((f"{theirs}.weight_ih{suffix}",), MATRIX)
    yield f"{ours}/recurrent_kernel", Source((f"{theirs}.weight_hh{suffix}",), MATRIX)
    yield f"{ours}/bias", Source((f"{theirs}.bias_ih{suffix}", f"{theirs}.bias_hh{suffix}"), VECTOR)
