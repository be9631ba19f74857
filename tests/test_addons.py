"""What the README says of tensorflow-addons: Keras 3, and our losses and optimizer, give what it gave.

The values are those of tensorflow-addons 0.23 under TensorFlow 2.15; `make_addons_golden.py` wrote them.
"""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from recipes import losses
from recipes.optimizer import AdamW

with np.load(Path(__file__).parent / "golden" / "tensorflow_addons.npz") as stored:
    GOLDEN = dict(stored)


def close(found, name: str, tolerance: float = 2e-6) -> None:
    np.testing.assert_allclose(np.asarray(found), GOLDEN[name], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ["usual", "even", "sharp", "plain"])
def test_focal_loss(name):
    """tensorflow-addons sums over the last axis, Keras takes the mean; ours is of each place."""
    alpha, gamma = map(float, GOLDEN[f"focal_{name}_options"])
    target, logits = GOLDEN["focal_target"], GOLDEN["focal_logits"]
    close(ops.sum(losses.focal(target, logits, alpha, gamma), -1), f"focal_{name}", 1e-5)
    kind = keras.losses.BinaryFocalCrossentropy(
        apply_class_balancing=True, alpha=alpha, gamma=gamma, from_logits=True, reduction=None
    )
    close(ops.convert_to_tensor(kind(target, logits)) * target.shape[1], f"focal_{name}", 1e-5)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("mish", keras.activations.mish),
        ("hardshrink", keras.activations.hard_shrink),
        ("softshrink", keras.activations.soft_shrink),
        ("tanhshrink", keras.activations.tanh_shrink),
        ("gelu", lambda x: keras.activations.gelu(x, approximate=True)),
    ],
)
def test_activations(theirs, ours):
    close(ours(ops.convert_to_tensor(GOLDEN["activation_x"])), f"activation_{theirs}")


def test_group_normalization():
    layer = keras.layers.GroupNormalization(groups=4)  # as many as addons had; Keras' own is 32
    layer.build(GOLDEN["layer_x"].shape)
    layer.set_weights([GOLDEN["group_gamma"], GOLDEN["group_beta"]])
    close(layer(GOLDEN["layer_x"]), "group_y")


def test_adaptive_pooling():
    close(keras.layers.AdaptiveAveragePooling2D((3, 4))(GOLDEN["layer_x"]), "pool_y")
    close(keras.layers.AdaptiveMaxPooling2D((3, 4))(GOLDEN["layer_x"]), "pool_max_y")


def test_spectral_normalization():
    layer = keras.layers.SpectralNormalization(keras.layers.Dense(5), power_iterations=3)
    layer.build(GOLDEN["spectral_x"].shape)
    layer.layer.set_weights([GOLDEN["spectral_kernel"], GOLDEN["spectral_bias"]])
    layer.vector_u.assign(GOLDEN["spectral_u"])
    close(layer(GOLDEN["spectral_x"], training=True), "spectral_y")


def weights_of(optimizer: keras.Optimizer) -> np.ndarray:
    """The weights after each step."""
    variable, path = keras.Variable(GOLDEN["optimizer_start"]), []
    optimizer.build([variable])
    for gradient in GOLDEN["optimizer_gradients"]:
        optimizer.apply([ops.convert_to_tensor(gradient)], [variable])
        path.append(ops.convert_to_numpy(variable))
    return np.stack(path)


def test_optimizers():
    """addons' decay is a part of the weight in each step; Keras multiplies it by the rate."""
    rate, decay = 1e-2, 1e-3
    close(weights_of(keras.optimizers.AdamW(rate, weight_decay=decay / rate, epsilon=1e-7)), "optimizer_adamw")
    close(weights_of(AdamW(rate, weight_decay=decay / rate, epsilon=1e-7)), "optimizer_adamw")
    close(weights_of(keras.optimizers.Lamb(rate, epsilon=1e-6)), "optimizer_lamb")


def test_the_average_of_weights_begins_with_the_first_step():
    """addons' begins with the weights before it; 0.8⁷ of the difference of both is left after seven steps."""
    optimizer = keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.8)
    path = weights_of(optimizer)
    close(path, "optimizer_average")
    left = 0.8 ** len(path) * (path[0] - GOLDEN["optimizer_start"])
    close(np.asarray(optimizer._model_variables_moving_average[0]) - left, "optimizer_average_mean")


@pytest.mark.parametrize("average", ["micro", "macro", "weighted"])
def test_f1(average):
    score = keras.metrics.F1Score(average=average)
    score.update_state(GOLDEN["score_truth"], GOLDEN["score_found"])
    close(score.result(), f"score_f1_{average}")
