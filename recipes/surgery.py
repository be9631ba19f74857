"""Weights for a network with another alphabet: vocabulary surgery."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

import keras
import numpy as np

from zoo.charset import Charset


def graft(network: keras.Model, tensors: Mapping[str, np.ndarray], old: Charset, new: Charset) -> dict[str, np.ndarray]:
    """The tensors with the classes of another alphabet: what was learnt of each character stays with it.

    Of a tensor that differs from the network's along one axis, which holds the old characters and perhaps a few more
    (blank, end, start), the rows of the characters that both alphabets have are moved to their new places, and the few
    more to the end. A new character begins as the letter that it is built on, "ř" as "r", if that was known; else as
    the network made it.

    Args:
        network: built for the new alphabet.
        tensors: by variable path, for the old one.
        old: the alphabet of the tensors.
        new: that of the network.
    """
    own = {variable.path: np.asarray(keras.ops.convert_to_numpy(variable)) for variable in network.weights}
    return {
        key: _moved(tensor, own[key], old, new) if key in own and own[key].shape != tensor.shape else tensor
        for key, tensor in tensors.items()
    }


def _moved(tensor: np.ndarray, own: np.ndarray, old: Charset, new: Charset) -> np.ndarray:
    axes = [axis for axis, (a, b) in enumerate(zip(tensor.shape, own.shape, strict=False)) if a != b]
    if tensor.ndim != own.ndim or len(axes) != 1:
        return tensor  # not a matter of the alphabet: `weights.assign` will say so
    more = tensor.shape[axes[0]] - len(old)
    if not 0 <= more == own.shape[axes[0]] - len(new):
        return tensor
    rows, result = np.moveaxis(tensor, axes[0], 0), np.moveaxis(own.copy(), axes[0], 0)
    places = {character: index for index, character in enumerate(old.characters)}
    for index, character in enumerate(new.characters):
        base = unicodedata.normalize("NFD", character)[0]
        source = places.get(character, places.get(base))
        if source is not None:
            result[index] = rows[source]
    result[len(new) :] = rows[len(old) :]
    return np.moveaxis(result, 0, axes[0])
