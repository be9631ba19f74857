"""Weights for another network than the one that learnt them: of another alphabet, or a larger one."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np
from keras import layers

from zoo.charset import Charset, built_on


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
    own = _arrays(network)
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
        source = places.get(character, places.get(built_on(character)))
        if source is not None:
            result[index] = rows[source]
    result[len(new) :] = rows[len(old) :]
    return np.moveaxis(result, 0, axes[0])


def grow(network: keras.Model, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray] | None:
    """The tensors of a smaller network in this one, which then does the same and has room to learn more.

    Chen et al. 2016 (Net2Net), https://arxiv.org/abs/1511.05641, but with channels that begin at random in place of
    copies: what is new is fed by all, and feeds nothing old as yet; a new block adds nothing to its shortcut as yet. So
    outputs are equal where channels are not joined side by side on the way, and all learns from the first step on.

    Args:
        network: with layers of the same names and at least as many channels, and more blocks whose last layer is a
            batch normalization that is added to a shortcut.
        tensors: by variable path.

    Returns:
        A tensor for each variable of the network; None if it is not a larger one of these tensors.
    """
    own = _arrays(network)
    larger = {key for key in tensors.keys() & own.keys() if own[key].shape != tensors[key].shape}
    if tensors.keys() - own.keys() or not all(_holds(own[key], tensors[key], key) for key in larger):
        return None
    added = {f"{layer.name}/gamma" for layer in network.layers if _feeds_sum(layer)} - tensors.keys()
    result = own | dict(tensors)
    result |= {key: np.zeros_like(own[key]) for key in added & own.keys()}
    for key in larger:
        result[key] = own[key].copy()
        old = tensors[key].shape
        if len(old) > 1 and "depthwise" not in key:
            result[key][..., old[-2] :, : old[-1]] = 0  # from new channels to old ones
        result[key][tuple(map(slice, old))] = tensors[key]
    return result


def _holds(own: np.ndarray, tensor: np.ndarray, key: str) -> bool:
    """Whether a variable may hold the tensor in a corner. The gates of a cell stand side by side in its last axis."""
    fits = own.ndim == tensor.ndim and all(a >= b for a, b in zip(own.shape, tensor.shape, strict=True))
    return fits and ("_cell/" not in key or own.shape[-1] == tensor.shape[-1])


def _feeds_sum(layer: keras.Layer) -> bool:
    """Whether it is a batch normalization of which a sum is taken at once."""
    if not isinstance(layer, layers.BatchNormalization):
        return False
    return any(isinstance(node.operation, layers.Add) for node in layer._outbound_nodes)


def _arrays(network: keras.Model) -> dict[str, np.ndarray]:
    return {variable.path: np.asarray(keras.ops.convert_to_numpy(variable)) for variable in network.weights}
