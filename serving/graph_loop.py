"""What a graph makes of one page, band or word after the other, put together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def joined(
    count: tf.Tensor,
    step: Callable[[tf.Tensor], tuple[tf.Tensor, ...]],
    kinds: tuple,
    shapes: tuple,
    parallel: int = 10,
) -> list[tf.Tensor]:
    """What `step` gives for each number below `count`, one after the other along the first axis."""

    def put(number: tf.Tensor, *arrays: tf.TensorArray) -> tuple:
        values = step(number)
        return number + 1, *(array.write(number, value) for array, value in zip(arrays, values, strict=True))

    def start(kind: Any, shape: list) -> tf.TensorArray:
        return tf.TensorArray(kind, count, infer_shape=False, element_shape=shape)

    arrays = tuple(start(kind, shape) for kind, shape in zip(kinds, shapes, strict=True))
    state = (tf.constant(0), *arrays)
    _, *done = tf.while_loop(lambda number, *_: number < count, put, state, parallel_iterations=parallel)
    return [tf.ensure_shape(array.concat(), shape) for array, shape in zip(done, shapes, strict=True)]
