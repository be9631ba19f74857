"""Backbones of other projects: any Keras model with a pyramid of features, as those of keras-hub and keras-cv have.

    features = { class = "keras_hub.models:DenseNetBackbone", growth_rate = 32, … }   in a card: its arguments follow
    features = keras_hub.models.ResNetBackbone.from_preset("resnet_50_imagenet")      in Python: with its weights

`pip install 'ocrzoo[hub]'`. They are given what our own are: pixels that the detector has normalized. A model in Python
keeps its weights; a network of it can be saved and exported, and built again from a card by the first form.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import keras

MODULES = ("keras_hub.models", "keras_cv.models")
LEVELS = ("P2", "P3", "P4", "P5")  # of strides 4, 8, 16, 32


def instance(given: Mapping[str, Any], modules: Sequence[str]) -> Any:
    """What a class gives with its arguments, both of one mapping: {"class": "MODULE:NAME", …}.

    Args:
        given: the class and its keyword arguments.
        modules: of which one must be the class's: what comes from a file may not call anything.

    Raises:
        ValueError: there is no such class, or it is of another module.
        ModuleNotFoundError: its project is not installed.
    """
    given = dict(given)
    module, _, name = str(given.pop("class", "")).partition(":")
    if module not in modules or not name[:1].isupper():
        allowed = " or ".join(f"{module}:NAME" for module in modules)
        raise ValueError(f'class = "{module}:{name}" is not of the form {allowed}')
    try:
        found = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error}; pip install 'ocrzoo[hub]'", name=error.name) from error
    except AttributeError:
        raise ValueError(f"{module} has no class {name}") from None
    return found(**given)


def foreign(features: Mapping[str, Any] | keras.Model, image) -> list:
    """[C2, C3, C4, C5] of `image` by the backbone of another project.

    Args:
        features: a model, or its class and arguments.
        image: (B, H, W, 3), normalized.

    Raises:
        ValueError: it has no such pyramid.
        ModuleNotFoundError: its project is not installed.
    """
    model = features if isinstance(features, keras.Model) else instance(features, MODULES)
    pyramid = _pyramid(model)
    if missing := [level for level in LEVELS if level not in pyramid]:
        has = ", ".join(sorted(pyramid)) or "no levels"
        raise ValueError(f"{model.name} has no maps {', '.join(missing)} of strides 4 to 32; it has {has}")
    maps = keras.Model(model.inputs, [pyramid[level] for level in LEVELS], name="features")
    return list(maps(image))


def _pyramid(model: keras.Model) -> dict[str, Any]:
    """A model's maps by level: keras-hub has the maps themselves, keras-cv the names of their layers."""
    if hasattr(model, "pyramid_outputs"):
        return dict(model.pyramid_outputs)
    return {level: model.get_layer(name).output for level, name in getattr(model, "pyramid_level_inputs", {}).items()}
