"""The tensors of a PyTorch checkpoint, read without torch.

A checkpoint is a zip with a pickle in it, and a pickle may call any function. This reader lets the pickle call four
things that make dictionaries and tensors; all else is refused.
"""

from __future__ import annotations

import io
import math
import os
import pickle
import zipfile
from collections import OrderedDict
from typing import Any

import numpy as np


class ConversionError(ValueError):
    """A file that is no checkpoint, or one that does not hold what the network needs."""


STORAGES = {"FloatStorage": "<f4", "HalfStorage": "<f2", "BFloat16Storage": "bfloat16", "LongStorage": "<i8"}


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
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
