"""Networks on TensorFlow, traced once, for the shape of their input.

Keras would trace one for the sides that two batches have in common. TensorFlow counts the pixels around a dilated
convolution wrongly where it knows one side of a map alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from zoo.layers import check_sides, multiple


def step(network: keras.Model) -> Callable[[Any], Mapping[str, Any]]:
    """A network's outputs for a batch, or for named arrays."""
    specs = tf.nest.map_structure(lambda x: tf.TensorSpec(x.shape, x.dtype), network.input)
    traced = tf.function(lambda batch: network(batch, training=False), input_signature=[specs])
    sides = multiple(network)

    def run(batch: Any) -> Mapping[str, Any]:
        if not isinstance(specs, dict):
            check_sides(np.shape(batch), sides)
        return traced(tf.nest.map_structure(lambda x, spec: np.asarray(x, spec.dtype.as_numpy_dtype), batch, specs))

    return run
