"""Weights of other projects as ours, by tables of names. So far: docTR's PyTorch checkpoints.

    checkpoint.pt ─► read_checkpoint ─► {their name: array} ─► translate by `table` ─► {our variable path: array}

A checkpoint is a zip with a pickle in it, and a pickle may call any function. This reader needs no torch and lets the
pickle call four things that make dictionaries and tensors; all else is refused.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import math
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from zoo import registry, weights
from zoo.backbones import BACKBONES
from zoo.backbones.mobilenet_v3 import BLOCKS, mobilenet_v3
from zoo.backbones.resnet import resnet
from zoo.backbones.vgg import CONFIGURATION_D, vgg


class ConversionError(ValueError):
    """A file that is no checkpoint, or one that does not hold what the network needs."""


def convert(name: str | os.PathLike, path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The tensors of docTR's checkpoint for the model `name`, by our variable paths.

    Raises:
        ConversionError: the file is no checkpoint, or not of this model.
    """
    return translate(name, read_checkpoint(path))


def write(
    name: str | os.PathLike, path: str | os.PathLike, output: str | os.PathLike, dtype: str = "float32"
) -> list[str]:
    """Writes docTR's checkpoint as a weights file for `zoo.load`, after the network has taken every tensor.

    Args:
        name: of a card.
        path: of the checkpoint.
        output: the safetensors file; whole or not written.
        dtype: "float32" keeps every bit; "float16" halves the file (see `zoo.weights.save`).

    Returns:
        the paths of the tensors kept in float32.
    """
    tensors = convert(name, path)
    network = registry.build(name)
    weights.assign(network, tensors)
    return weights.save(network, output, dtype=dtype)


# ---------------------------------------------------------------- tables


class Source(NamedTuple):
    """Where a tensor of ours comes from: the sum of their tensors `keys`, its axes in the order `axes`."""

    keys: tuple[str, ...]
    axes: tuple[int, ...]


VECTOR, MATRIX = (0,), (1, 0)
KERNEL = (2, 3, 1, 0)  # (out, in, height, width) → (height, width, in, out); transposed: out and in change places
DEPTHWISE = (2, 3, 0, 1)  # (channels, 1, height, width) → (height, width, channels, 1)
NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
# Counts of steps, which no layer reads, and codes of positions, which our networks make themselves.
CONSTANT = (".num_batches_tracked", "positional_encoding.pe")

Rows = Iterator[tuple[str, Source]]


def translate(name: str | os.PathLike, state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """docTR's tensors of the model `name` by our variable paths; nothing may be left over on either side.

    Raises:
        ConversionError: a tensor is missing, unknown or of a wrong rank, or there is no table for this model.
    """
    sources = table(name)
    needed = {key for source in sources.values() for key in source.keys}
    given = {key for key in state if not key.endswith(CONSTANT)}
    if needed != given:
        parts = [_listed("missing", needed - given), _listed("unknown", given - needed)]
        raise ConversionError(f"the checkpoint is not one of {name}: " + "; ".join(filter(None, parts)))
    wrong = {key for source in sources.values() for key in source.keys if state[key].ndim != len(source.axes)}
    if wrong:
        raise ConversionError(f"the checkpoint is not one of {name}: {_listed('of a wrong rank', wrong)}")
    return {path: _gathered(state, source) for path, source in sources.items()}


def _gathered(state: Mapping[str, np.ndarray], source: Source) -> np.ndarray:
    first, *others = (np.asarray(state[key], "float32") for key in source.keys)
    return np.ascontiguousarray(sum(others, start=first).transpose(source.axes))


def _listed(what: str, keys: set[str]) -> str:
    more = f" and {len(keys) - 8} more" if len(keys) > 8 else ""
    return f"{len(keys)} {what}: {', '.join(sorted(keys)[:8])}{more}" if keys else ""


def table(name: str | os.PathLike) -> dict[str, Source]:
    """Our variable paths of the model `name`, and where in docTR's state dict each comes from.

    Raises:
        ConversionError: docTR's names are not known for the builder or the backbone of this model.
    """
    card = registry.card(name)
    own = f"recipes.tables.{card.builder.rpartition(':')[2]}"
    if importlib.util.find_spec(own):
        return dict(importlib.import_module(own).rows(card.options))
    features = card.options.get("features")
    if card.builder not in MODELS or features not in BACKBONES:
        known = f"{', '.join(MODELS)} on {', '.join(BACKBONES)}"
        raise ConversionError(
            f"{name} is built by {card.builder} on {features}; there are tables of docTR's names for {known}"
        )
    return dict(MODELS[card.builder](backbone(features)))


def _conv(theirs: str, ours: str, *, bias: bool = False, axes: tuple[int, ...] = KERNEL) -> Rows:
    yield f"{ours}/kernel", Source((f"{theirs}.weight",), axes)
    if bias:
        yield f"{ours}/bias", Source((f"{theirs}.bias",), VECTOR)


def _norm(theirs: str, ours: str) -> Rows:
    for variable, tensor in NORM.items():
        yield f"{ours}/{variable}", Source((f"{theirs}.{tensor}",), VECTOR)


def _conv_norm(conv: str, norm: str, ours: str, axes: tuple[int, ...] = KERNEL) -> Rows:
    yield from _conv(conv, f"{ours}_conv", axes=axes)
    yield from _norm(norm, f"{ours}_norm")


def backbone(features: str) -> Rows:
    """The rows of a backbone of `zoo.backbones`, which docTR's networks call feat_extractor."""
    builder = BACKBONES[features]
    options = dict(builder.keywords) if isinstance(builder, partial) else {}
    options.pop("rectangular", None)  # strides have no weights
    return TRUNKS[builder.func if isinstance(builder, partial) else builder](**options)


def _mobilenet_v3(variant: str) -> Rows:
    """torchvision counts the parts of a block that are there, and names none."""
    yield from _conv_norm("feat_extractor.0.0", "feat_extractor.0.1", "stem")
    channels = 16
    for index, block in enumerate(BLOCKS[variant], 1):
        there = {"expand": block.expanded != channels, "depthwise": True, "squeeze": block.squeeze, "project": True}
        for position, part in enumerate(part for part, present in there.items() if present):
            theirs, ours = f"feat_extractor.{index}.block.{position}", f"block{index}_{part}"
            if part == "squeeze":
                yield from _conv(f"{theirs}.fc1", f"{ours}_reduce", bias=True)
                yield from _conv(f"{theirs}.fc2", f"{ours}_expand", bias=True)
            else:
                axes = DEPTHWISE if part == "depthwise" else KERNEL
                yield from _conv_norm(f"{theirs}.0", f"{theirs}.1", ours, axes)
        channels = block.filters
    last = f"feat_extractor.{len(BLOCKS[variant]) + 1}"
    yield from _conv_norm(f"{last}.0", f"{last}.1", "head")


def _vgg(blocks: tuple[tuple[int, int], ...] = CONFIGURATION_D) -> Rows:
    """torchvision counts every layer: convolution, normalization and ReLU are three, a pool is one."""
    position = 0
    for index, (depth, _) in enumerate(blocks, 1):
        for step in range(1, depth + 1):
            yield from _conv(f"feat_extractor.{position}", f"block{index}_conv{step}", bias=True)
            yield from _norm(f"feat_extractor.{position + 1}", f"block{index}_conv{step}_norm")
            position += 3
        position += 1


def _resnet(block: str, depths: tuple[int, ...], width: int = 64) -> Rows:
    yield from _conv_norm("feat_extractor.conv1", "feat_extractor.bn1", "stem")
    convolutions = {"basic": 2, "bottleneck": 3}[block]
    for stage, depth in enumerate(depths, 1):
        for index in range(depth):
            theirs, ours = f"feat_extractor.layer{stage}.{index}", f"stage{stage}_block{index + 1}"
            for number in range(1, convolutions + 1):
                yield from _conv_norm(f"{theirs}.conv{number}", f"{theirs}.bn{number}", f"{ours}_{number}")
            if index == 0 and (stage > 1 or block == "bottleneck"):
                yield from _conv_norm(f"{theirs}.downsample.0", f"{theirs}.downsample.1", f"{ours}_shortcut")


def _crnn(trunk: Rows) -> Rows:
    """torch's LSTM adds two biases where Keras' has one; the order of the gates is the same."""
    yield from trunk
    for layer in (0, 1):
        for direction, suffix in (("forward", ""), ("backward", "_reverse")):
            theirs, ours = f"l{layer}{suffix}", f"recurrent{layer + 1}/{direction}_lstm/lstm_cell"
            yield f"{ours}/kernel", Source((f"decoder.weight_ih_{theirs}",), MATRIX)
            yield f"{ours}/recurrent_kernel", Source((f"decoder.weight_hh_{theirs}",), MATRIX)
            yield f"{ours}/bias", Source((f"decoder.bias_ih_{theirs}", f"decoder.bias_hh_{theirs}"), VECTOR)
    yield from _conv("linear", "logits", bias=True, axes=MATRIX)


def _db(trunk: Rows) -> Rows:
    yield from trunk
    for index in range(4):
        for theirs, ours in ((f"fpn.in_branches.{index}", "lateral"), (f"fpn.out_branches.{index}", "smooth")):
            yield from _conv_norm(f"{theirs}.0", f"{theirs}.1", f"{ours}{index + 2}")
    for theirs, ours, output in (("prob_head", "region", "logits"), ("thresh_head", "border", "threshold")):
        yield from _conv_norm(f"{theirs}.0", f"{theirs}.1", f"{ours}_1")
        yield from _conv_norm(f"{theirs}.3", f"{theirs}.4", f"{ours}_2")
        yield from _conv(f"{theirs}.6", output, bias=True)


TRUNKS: dict[Callable, Callable[..., Rows]] = {mobilenet_v3: _mobilenet_v3, resnet: _resnet, vgg: _vgg}
MODELS: dict[str, Callable[[Rows], Rows]] = {"zoo.recognition.crnn:crnn": _crnn, "zoo.detection.db:db": _db}


# ---------------------------------------------------------------- checkpoints


STORAGES = {"FloatStorage": "<f4", "HalfStorage": "<f2", "BFloat16Storage": "bfloat16", "LongStorage": "<i8"}


def read_checkpoint(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The tensors of a file that `torch.save(network.state_dict(), path)` wrote, by name; bfloat16 as float32.

    Raises:
        ConversionError: it is something else, or cut short, or its pickle asks for more than tensors.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            state = _Unpickler(_Archive(archive)).load()
    except zipfile.BadZipFile as error:
        raise ConversionError(f"{path}: {_kind(path)}: {error}") from None
    except ConversionError as error:
        raise ConversionError(f"{path}: {error}") from None
    except OSError:
        raise
    except Exception as error:  # broken bytes make the unpickler raise whatever they run into
        raise ConversionError(f"{path}: it cannot be read: {type(error).__name__}: {error}") from None
    if not isinstance(state, dict) or not state:
        raise ConversionError(f"{path}: it holds a {type(state).__name__}, not a state dict of names and tensors")
    for key, value in state.items():
        if not (isinstance(key, str) and isinstance(value, np.ndarray)):
            raise ConversionError(f"{path}: {key!r} is a {type(value).__name__}; a state dict holds tensors by name")
    return dict(state)


def _kind(path: str | os.PathLike) -> str:
    with open(path, "rb") as file:
        start = file.read(2)
    if start == b"PK":
        return "a zip file that is damaged or cut short"
    if start[:1] == b"\x80":
        return "a plain pickle, which is not read; torch.save of torch 1.6 or later writes a zip"
    return "not a torch checkpoint"


class _Archive:
    """The members of a checkpoint's zip, which all lie in one folder and are not compressed."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self.archive = archive
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ConversionError("a zip file without one data.pkl is not a torch checkpoint")
        self.folder = pickles[0].removesuffix("data.pkl")
        if self.folder + "byteorder" in archive.namelist() and self.read("byteorder") != b"little":
            raise ConversionError("it was written by a big-endian machine; write it again on another")

    def read(self, member: str) -> bytes:
        try:
            info = self.archive.getinfo(self.folder + member)
        except KeyError:
            raise ConversionError(f"the zip file has no {self.folder + member}") from None
        if info.compress_type != zipfile.ZIP_STORED:  # a few bytes could swell to gigabytes
            raise ConversionError(f"{info.filename} is compressed, as torch never does")
        return self.archive.read(info)


class _Unpickler(pickle.Unpickler):
    """Unpickles dictionaries of tensors, and refuses a pickle that names anything else."""

    def __init__(self, archive: _Archive) -> None:
        super().__init__(io.BytesIO(archive.read("data.pkl")), encoding="utf-8")
        self.archive = archive
        self.storages: dict[str, np.ndarray] = {}

    def find_class(self, module: str, name: str) -> Any:
        """What a pickle gets for a global name: nothing is ever imported."""
        allowed = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
        }
        if (module, name) in allowed:
            return allowed[module, name]
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        raise ConversionError(f"its pickle asks for {module}.{name}, which is no tensor; such a file is not opened")

    def persistent_load(self, pid: Any) -> np.ndarray:
        """The values of a storage, flat: ("storage", type, key, device, how many)."""
        _, kind, key, _, size = pid
        if key not in self.storages:
            data = self.archive.read(f"data/{key}")
            self.storages[key] = _bfloat16(data) if kind == "bfloat16" else np.frombuffer(data, kind)
        if len(self.storages[key]) < size:
            raise ConversionError(f"the storage {key} has {len(self.storages[key])} values instead of {size}")
        return self.storages[key]


def _bfloat16(data: bytes) -> np.ndarray:
    """float32 whose upper halves are the values."""
    return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")


def _tensor(storage: np.ndarray, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_) -> np.ndarray:
    """The array that a storage holds from `offset` on, with strides in values; read-only.

    The numbers come from the file: those that point outside of the storage, or take a value twice, are refused.
    """
    if len(shape) != len(strides) or min((offset, *shape, *strides)) < 0:
        raise ConversionError(f"a tensor of shape {shape} has the strides {strides} and the offset {offset}")
    count = math.prod(shape)
    last = offset + sum((side - 1) * step for side, step in zip(shape, strides, strict=True))
    if count and (last >= len(storage) or count > len(storage)):
        raise ConversionError(f"a tensor of shape {shape} does not fit its storage of {len(storage)} values")
    if not count:
        return np.zeros(shape, storage.dtype)
    bytes_ = [step * storage.itemsize for step in strides]
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, bytes_, writeable=False)
