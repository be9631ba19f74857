"""Runs of a small network on two logical devices, or as one of two workers; a process sets its devices once.

devices.py mirrored FOLDER           one device, then two: prints how far their weights are apart, as JSON
devices.py bfloat16 FOLDER           two devices in mixed precision: prints the losses, as JSON
devices.py chosen FOLDER             any device, then the second: prints where variables lie and the losses, as JSON
devices.py worker FOLDER [SECONDS]   one of TF_CONFIG's workers; a pause in each step lets a test interfere
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from recipes import train
from recipes.recipe import Recipe
from zoo import registry, weights

HOW = Recipe(
    model="crnn_mobilenet_v3_small", task="devices", batch=8, steps=10, rate=1e-2, warmup=2, ema=0.9, clip=1.0,
    accumulate=2, checkpoint_every=2, validate_every=10,
)  # fmt: skip
PAUSE = float(sys.argv[3]) if len(sys.argv) > 3 else 0.0


class Task:
    """Random rows, whose sum is asked for."""

    sources = ["random numbers"]  # noqa: RUF012

    def __init__(self, *_):
        pass

    def batch(self, step: int):
        time.sleep(PAUSE)
        pixels = np.random.default_rng(step).normal(size=(8, 6)).astype("float32")
        return pixels, {"y": pixels.sum(1, keepdims=True)}

    def loss(self, targets, outputs):
        return keras.ops.mean((outputs["logits"] - targets["y"]) ** 2, -1)

    def validate(self, network, picture):
        return {"score": 0.5}


make = Task


def build(name, **options) -> keras.Model:
    x = keras.Input((6,), name="image")
    y = keras.layers.Dense(8, use_bias=False, name="hidden")(x)  # a bias would move with rounding errors alone
    y = keras.layers.BatchNormalization(momentum=0.8, name="norm")(y)
    return keras.Model(x, {"logits": keras.layers.Dense(1, dtype="float32", name="out")(keras.layers.ReLU()(y))})


registry.build = build


def two_devices() -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


def losses(run: Path) -> list[float]:
    return [float(line.split(",")[1]) for line in (run / "log.csv").read_text().splitlines()[1:]]


def bfloat16(folder: Path) -> None:
    two_devices()
    train.train(replace(HOW, precision="mixed_bfloat16"), folder, devices=("CPU:0", "CPU:1"), verbose=False)
    print(json.dumps({"losses": losses(folder)}))


def mirrored(folder: Path) -> None:
    two_devices()
    runs = {"one": (), "two": ("CPU:0", "CPU:1")}
    for name, devices in runs.items():
        train.train(HOW, folder / name, devices=devices, verbose=False)
    one, two = (weights.read(folder / name / "weights.safetensors") for name in runs)
    keras.utils.set_random_seed(HOW.seed)
    start = {variable.path: keras.ops.convert_to_numpy(variable) for variable in build("").weights}
    found = {
        "replicas": tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).num_replicas_in_sync,
        "difference": max(float(np.abs(one[key] - two[key]).max()) for key in one),
        "moved": max(float(np.abs(one[key] - start[key]).max()) for key in one),
        "losses": [losses(folder / name) for name in runs],
    }
    print(json.dumps(found))


def chosen(folder: Path) -> None:
    two_devices()
    parts = train.assemble(HOW, devices=("CPU:1",))
    for name, devices in {"any": (), "second": ("CPU:1",)}.items():
        train.train(HOW, folder / name, devices=devices, verbose=False)
    places = sorted({variable.value.device.rpartition("device:")[2] for variable in parts.network.variables})
    print(json.dumps({"places": places, "losses": [losses(folder / name) for name in ("any", "second")]}))


if __name__ == "__main__":
    folder = Path(sys.argv[2])
    if sys.argv[1] in ("mirrored", "bfloat16", "chosen"):
        {"mirrored": mirrored, "bfloat16": bfloat16, "chosen": chosen}[sys.argv[1]](folder)
    else:
        try:
            train.train(HOW, folder, verbose=False)
        except train.RunError as error:
            print(error)
            sys.exit(1)
