"""Whether what an export answers is what its network does, where rounding decides which rows come first."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np

STRAYS = 0.05  # of the rows, the most that may be others: of two that overlap and score nearly alike either may be left


def paired(
    network: keras.Model, found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """What was found, to be compared place by place with what a network answers.

    A network with a layer that `picks` gives rows (B, N, …) in the order of their scores, of which some differ by less
    than rounding: each row expected is given the nearest that was found. The worst `STRAYS` count as right.
    """
    if not any(getattr(layer, "picks", False) for layer in network.layers):
        return dict(found)
    if any(name not in found or found[name].shape != value.shape for name, value in expected.items()):
        return dict(found)
    result = {name: np.array(value) for name, value in expected.items()}
    scales = {name: max(1e-6, float(np.abs(value).max(initial=0))) for name, value in expected.items()}
    for picture in range(len(next(iter(result.values())))):
        ours, theirs = (
            np.concatenate([given[name][picture].reshape(len(value[picture]), -1) / scales[name]
                            for name, value in expected.items()], 1)
            for given in (expected, found)
        )  # fmt: skip
        far = np.abs(ours[:, None] - theirs).max(-1)  # (N, N)
        kept = far.min(1).argsort()[: len(far) - int(STRAYS * len(far))]
        for name, value in result.items():
            value[picture, kept] = found[name][picture, far.argmin(1)[kept]]
    return result
