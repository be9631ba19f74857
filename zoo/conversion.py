"""Weights of other projects as ours, by tables of names: docTR's networks whole, torchvision's backbones.

    checkpoint.pt ─► checkpoint.read ─► {their name: array} ─► translate by `table` ─► {our variable path: array}

This module builds networks, to see that every tensor fits; `zoo.weights` reaches it by name when such weights are asked
for. Nothing may be left over on either side, but for the classifier of a backbone.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np

from zoo import checkpoint, registry, tables, weights
from zoo.backbones import BACKBONES, backbone
from zoo.backbones.mobilenet_v3 import NORM
from zoo.checkpoint import ConversionError
from zoo.files import replacing
from zoo.tables.rows import Rows, Source
from zoo.tables.trunks import TRUNK, timm_mobilenet_v3, trunk

# Counts of steps, which no layer reads, and codes of positions, which our networks make themselves.
CONSTANT = (".num_batches_tracked", "positional_encoding.pe")
HEADS = ("fc.", "classifier.", "head.", "pre_logits.", "conv_head.")  # of ImageNet's classes, in torchvision and timm
TIMM = {f"mobilenet_v3_{variant}": variant for variant in ("small", "large")}  # whose names differ from torchvision's
TIMM_EPSILON = 1e-5  # of its mobilenetv3_*_100


def convert(name: str | os.PathLike, path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The tensors of docTR's checkpoint for the model `name`, by our variable paths.

    Raises:
        ConversionError: the file is no checkpoint, or not of this model.
    """
    return translate(name, checkpoint.read(path))


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
    network = registry.build(name)
    weights.assign(network, convert(name, path))
    return weights.save(network, output, dtype=dtype)


def write_trunk(features: str, path: str | os.PathLike, output: str | os.PathLike, dtype: str = "float32") -> list[str]:
    """Writes the weights of a backbone of torchvision, as of ImageNet, as a start for any network that has it.

    timm's ResNets and VGGs have the same names; its mobilenetv3_small_100 and mobilenetv3_large_100 are known by
    theirs. The classifier of ImageNet's classes is left out.

    Args:
        features: of `zoo.backbones`, "resnet50" say.
        path: a safetensors file, or one that torch.save wrote.
        output, dtype: as for `write`.

    Raises:
        ConversionError: the file holds another network.
    """
    state = weights.read(path) if Path(path).suffix == ".safetensors" else checkpoint.read(path)
    by_timm = features in TIMM and "conv_stem.weight" in state
    sources = dict(timm_mobilenet_v3(TIMM[features]) if by_timm else _torchvision(features))
    body = {key: value for key, value in state.items() if not key.startswith(HEADS)}
    image = keras.Input((64, 64, 3))
    network = keras.Model(image, backbone(features, image), name=features)
    tensors = _translate(features, sources, body)
    if by_timm:  # the same denominator, √(variance + ε), by another ε
        shift = TIMM_EPSILON - NORM["epsilon"]
        tensors |= {path: value + shift for path, value in tensors.items() if path.endswith("/moving_variance")}
    weights.assign(network, tensors)
    with replacing(output) as temporary:
        return weights.save(network, temporary, dtype=dtype)


def _torchvision(features: str) -> Rows:
    """A backbone's rows under the names of torchvision's classifiers."""
    if features not in BACKBONES:
        raise ConversionError(f"no backbone is named {features!r}; there are: {', '.join(BACKBONES)}")
    prefix = "" if features.startswith("resnet") else "features."
    for path, source in trunk(features):
        yield path, source._replace(keys=tuple(prefix + key.removeprefix(f"{TRUNK}.") for key in source.keys))


def translate(name: str | os.PathLike, state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """docTR's tensors of the model `name` by our variable paths; nothing may be left over on either side.

    Raises:
        ConversionError: a tensor is missing, unknown or of a wrong rank, or there is no table for this model.
    """
    return _translate(str(name), table(name), state)


def _translate(name: str, sources: Mapping[str, Source], state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    needed = {key for source in sources.values() for key in source.keys + source.copies}
    given = {key for key in state if not key.endswith(CONSTANT)}
    if needed != given:
        parts = [_listed("missing", needed - given), _listed("unknown", given - needed)]
        raise ConversionError(f"the checkpoint is not one of {name}: " + "; ".join(filter(None, parts)))
    wrong = {key for source in sources.values() for key in source.keys if state[key].ndim != len(source.axes)}
    if wrong:
        raise ConversionError(f"the checkpoint is not one of {name}: {_listed('of a wrong rank', wrong)}")
    unlike = {
        copy
        for source in sources.values()
        for copy in source.copies
        if not np.array_equal(state[copy], state[source.keys[0]])
    }
    if unlike:
        raise ConversionError(f"the checkpoint is not one of {name}: {_listed('that should be copies', unlike)}")
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
    builder = card.builder.rpartition(":")[2]
    own = f"{tables.__name__}.{builder}"
    if not importlib.util.find_spec(own):
        known = [entry.name for entry in pkgutil.iter_modules(tables.__path__)]
        raise ConversionError(
            f"{name} is built by {card.builder}, and there is no table of docTR's names for it; there are tables for "
            f"{', '.join(sorted(known))}"
        )
    return dict(importlib.import_module(own).rows(card.options))
