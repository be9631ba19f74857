"""Writes tests/golden/tensorflow_addons.npz: what tensorflow-addons 0.23 gives under TensorFlow 2.15.

Neither runs beside what this project needs; in a virtual environment of their own:

    python3.11 -m venv addons && addons/bin/pip install "tensorflow-cpu==2.15.0" "tensorflow-addons==0.23.0"
    addons/bin/python tests/make_addons_golden.py

`tests/test_addons.py` compares them with Keras 3, and with our losses.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_addons as tfa

PATH = Path(__file__).parent / "golden" / "tensorflow_addons.npz"
STEPS = 7


def main() -> None:
    """Inputs and outputs of everything that is compared."""
    rng = np.random.default_rng(0)
    values: dict[str, np.ndarray] = {}
    focal(values, rng)
    activations(values, rng)
    layers(values, rng)
    optimizers(values, rng)
    scores(values, rng)
    PATH.parent.mkdir(exist_ok=True)
    np.savez_compressed(PATH, **values)
    print(f"{PATH}: {len(values)} arrays, tensorflow-addons {tfa.__version__}, TensorFlow {tf.__version__}")


def focal(values: dict, rng: np.random.Generator) -> None:
    target = rng.integers(0, 2, (5, 12)).astype("float32")
    logits = rng.normal(0, 4, (5, 12)).astype("float32")
    values |= {"focal_target": target, "focal_logits": logits}
    for name, alpha, gamma in (("usual", 0.25, 2.0), ("even", 0.5, 2.0), ("sharp", 0.25, 5.0), ("plain", 0.5, 0.0)):
        loss = tfa.losses.SigmoidFocalCrossEntropy(
            from_logits=True, alpha=alpha, gamma=gamma, reduction=tf.keras.losses.Reduction.NONE
        )
        values[f"focal_{name}"] = loss(target, logits).numpy()  # (5,), summed over the last axis
        values[f"focal_{name}_options"] = np.array([alpha, gamma], "float32")


def activations(values: dict, rng: np.random.Generator) -> None:
    x = rng.normal(0, 2, (4, 50)).astype("float32")
    values["activation_x"] = x
    for name in ("mish", "hardshrink", "softshrink", "tanhshrink", "gelu"):
        values[f"activation_{name}"] = getattr(tfa.activations, name)(tf.constant(x)).numpy()


def layers(values: dict, rng: np.random.Generator) -> None:
    x = rng.normal(1, 2, (3, 6, 8, 8)).astype("float32")
    values["layer_x"] = x
    gamma, beta = rng.normal(1, 0.3, 8).astype("float32"), rng.normal(0, 0.3, 8).astype("float32")
    group = tfa.layers.GroupNormalization(groups=4)
    group.build(x.shape)
    group.set_weights([gamma, beta])
    values |= {"group_gamma": gamma, "group_beta": beta, "group_y": group(x).numpy()}
    values["pool_y"] = tfa.layers.AdaptiveAveragePooling2D((3, 4))(x).numpy()
    values["pool_max_y"] = tfa.layers.AdaptiveMaxPooling2D((3, 4))(x).numpy()

    flat = rng.normal(0, 1, (6, 10)).astype("float32")
    kernel, bias = rng.normal(0, 1, (10, 5)).astype("float32"), rng.normal(0, 1, 5).astype("float32")
    u = rng.normal(0, 1, (1, 5)).astype("float32")
    spectral = tfa.layers.SpectralNormalization(tf.keras.layers.Dense(5), power_iterations=3)
    spectral.build(flat.shape)
    spectral.layer.set_weights([kernel, bias])
    spectral.u.assign(u)
    values |= {"spectral_x": flat, "spectral_kernel": kernel, "spectral_bias": bias, "spectral_u": u}
    values["spectral_y"] = spectral(flat, training=True).numpy()


def optimizers(values: dict, rng: np.random.Generator) -> None:
    """The weights after each of some steps with given gradients."""
    start = rng.normal(0, 1, (4, 3)).astype("float32")
    gradients = rng.normal(0, 1, (STEPS, 4, 3)).astype("float32")
    values |= {"optimizer_start": start, "optimizer_gradients": gradients}
    made = {
        "adamw": tfa.optimizers.AdamW(weight_decay=1e-3, learning_rate=1e-2),
        "lamb": tfa.optimizers.LAMB(learning_rate=1e-2),
        "average": tfa.optimizers.MovingAverage(tf.keras.optimizers.legacy.SGD(0.1), average_decay=0.8),
    }
    for name, optimizer in made.items():
        variable, path = tf.Variable(start), []
        for gradient in gradients:
            optimizer.apply_gradients([(tf.constant(gradient), variable)])
            path.append(variable.numpy())
        values[f"optimizer_{name}"] = np.stack(path)
        if name == "average":
            values["optimizer_average_mean"] = optimizer.get_slot(variable, "average").numpy()


def scores(values: dict, rng: np.random.Generator) -> None:
    truth, found = rng.integers(0, 4, (2, 60))
    found = np.where(rng.random(60) < 0.5, truth, found)
    one, probable = np.eye(4, dtype="float32")[truth], np.eye(4, dtype="float32")[found]
    values |= {"score_truth": one, "score_found": probable}
    for average in ("micro", "macro", "weighted"):
        f1 = tfa.metrics.F1Score(num_classes=4, average=average)
        f1.update_state(one, probable)
        values[f"score_f1_{average}"] = f1.result().numpy()


if __name__ == "__main__":
    main()
