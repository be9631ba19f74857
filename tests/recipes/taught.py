"""taught.py LESSON BITS SPARSITY: a network on one device, then on two; prints how far apart they are, as JSON.

A process makes one strategy: the collectives of a second one could meet those of the first.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from test_adapt import HOW, Shifted, dot_network

from recipes import adapt, beside, optimizer, rounding, step
from zoo import registry

beside.trunk = lambda network, card: network.get_layer("hidden").output
beside.pictures = lambda *given: [Path("dots")]
adapt.augment.degrade = lambda dot, rng, strength: dot + rng.normal(0, 0.3, dot.shape)


def learnt(lesson: str, bits: int, sparsity: float, names: tuple[str, ...]) -> list[np.ndarray]:
    """All variables after ten steps on these devices, those of the lesson and the ranges of rounding among them."""
    how = replace(HOW, adapt=lesson, confident=0.5, rate=0.01, steps=20, sparsity=sparsity)
    keras.utils.set_random_seed(0)
    strategy = step.devices(names)
    with step.scope(strategy):
        network, _ = dot_network(8)
        learner, task = beside.prepare(how, registry.card("db_mobilenet_v3_large"), network, Shifted(), None)
        learner = rounding.prepare(bits, learner, network, spared=0)
        adam = optimizer.make(how, learner)
    doer = step.make(learner, task.loss, adam, strategy)
    list(doer.losses(task, 0, 10))
    return [np.asarray(keras.ops.convert_to_numpy(variable)) for variable in learner.variables]


if __name__ == "__main__":
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    lesson, bits, sparsity = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    one, two = (learnt(lesson, bits, sparsity, names) for names in ((), ("CPU:0", "CPU:1")))
    apart = [float(np.abs(a - b).max()) for a, b in zip(one, two, strict=True)]
    print(json.dumps({"difference": max(apart), "variables": len(apart)}))
