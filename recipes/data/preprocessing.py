"""What layers of Keras and keras-cv do to the pictures of a batch, beside what our own recipes do.

    RECIPE = replace(…, layers=({"class": "keras.layers:RandomContrast", "factor": 0.3},))
    zoo train … --set 'layers=[{"class": "keras.layers:RandomContrast", "factor": 0.3}]'

Only layers that leave every pixel where it is, since places and outlines do not move along. A layer is made anew for
each batch and seeded by the recipe's seed and the step, so that a resumed run sees what the first would have seen; some
of keras-cv's, RandomHue among them, draw from TensorFlow's global generator nevertheless.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from keras import ops

from recipes.data.pipeline import Batch
from zoo.backbones.foreign import instance

MODULES = ("keras.layers", "keras_cv.layers")


def through(batch: Callable[[int], Batch], layers: Sequence[Mapping[str, Any]], seed: int) -> Callable[[int], Batch]:
    """`batch` with its pixels after layers.

    Args:
        batch: of a step.
        layers: the class of each, and its arguments.
        seed: of the recipe.

    Raises:
        ValueError, ModuleNotFoundError: as `applied` does, of a small picture.
    """
    for given in layers:
        applied(given, np.zeros((1, 64, 64, 3), np.uint8), seed)

    def changed(step: int) -> Batch:
        pixels, targets = batch(step)
        for index, given in enumerate(layers):
            pixels = applied(given, pixels, int(np.random.default_rng((seed, step, index)).integers(2**31)))
        return pixels, targets

    return changed


def applied(given: Mapping[str, Any], pixels: np.ndarray, seed: int) -> np.ndarray:
    """Pixels (B, H, W, 3) uint8 after a layer.

    Raises:
        ValueError: there is no such layer, it does not take what is given, or it changes the pictures' size.
        ModuleNotFoundError: its project is not installed.
    """
    layer = _layer(given, seed)
    found = np.asarray(ops.convert_to_numpy(layer(pixels.astype("float32"), training=True)))
    if found.shape != pixels.shape:
        raise ValueError(f"{given['class']} makes {found.shape} of pictures {pixels.shape}; their size must stay")
    return found.round().clip(0, 255).astype("uint8")


def _layer(given: Mapping[str, Any], seed: int) -> Any:
    """A layer, seeded unless it draws nothing and takes no seed."""
    try:
        return instance({**given, "seed": seed}, MODULES)
    except (TypeError, ValueError) as error:
        if "'seed'" in str(error):
            return instance(given, MODULES)
        if isinstance(error, TypeError):
            raise ValueError(f"{given['class']} does not take {given} ({error})") from error
        raise
