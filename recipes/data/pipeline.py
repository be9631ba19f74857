"""From batches by number to what a trainer takes: prefetched, sharded, and taken up again at any step.

A task's `batch(step)` is plain Python and NumPy and depends on the recipe and the step alone. So the order never
changes, a resumed run sees what the first would have seen, and a machine without TensorFlow trains from the same
stream.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np

Batch = tuple[np.ndarray, dict[str, np.ndarray]]  # pixels (B, H, W, 3) uint8 and targets by name


def stream(batch: Callable[[int], Batch], start: int, stop: int, ahead: int = 4) -> Iterator[Batch]:
    """Yields batches `start` to `stop` in order; a thread makes up to `ahead` of them beforehand.

    Raises:
        Exception: what `batch` raised, at the place of the batch.
    """
    ready: queue.Queue[Batch | BaseException] = queue.Queue(ahead)
    closed = threading.Event()

    def put(item: Batch | BaseException) -> None:
        while not closed.is_set():
            try:
                return ready.put(item, timeout=0.2)
            except queue.Full:
                continue

    def work() -> None:
        for step in range(start, stop):
            try:
                item: Batch | BaseException = batch(step)
            except BaseException as error:  # handed to the consumer
                item = error
            put(item)
            if closed.is_set() or isinstance(item, BaseException):
                return

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        for _ in range(start, stop):
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        closed.set()
        thread.join()


def dataset(
    batch: Callable[[int], Batch],
    start: int,
    stop: int,
    *,
    replicas: Sequence[int] = (0,),
    count: int = 1,
    threads: int = 2,
):
    """A `tf.data.Dataset` of batches `start` to `stop` in order, of each the rows of one replica after the other.

    Args:
        batch: makes the global batch of a step; its arrays may differ in any side but the number of axes.
        start: first step.
        stop: after the last.
        replicas: those of this process; replica r gets rows r, r + count, … of every batch.
        count: of all replicas.
        threads: batches made at the same time.
    """
    import tensorflow as tf

    pixels, targets = batch(start)
    names = sorted(targets)

    def make(step) -> list[np.ndarray]:
        images, values = batch(int(step))
        return [np.stack([array[r::count] for r in replicas]) for array in (images, *(values[name] for name in names))]

    examples = [pixels, *(targets[name] for name in names)]

    def load(step):
        arrays = tf.numpy_function(make, [step], [tf.as_dtype(example.dtype) for example in examples], stateful=False)
        for array, example in zip(arrays, examples, strict=True):
            sides = [None] * example.ndim if example.ndim < 4 else [None, None, None, example.shape[3]]
            array.set_shape([len(replicas), *sides])
        return arrays[0], dict(zip(names, arrays[1:], strict=True))

    steps = tf.data.Dataset.range(start, stop)
    return steps.map(load, num_parallel_calls=threads, deterministic=True).unbatch().prefetch(2)


def cached(make: Callable[[Any], Any], size: int) -> Callable[[Any], Any]:
    """`make` with its last `size` results kept; of several threads that ask for one, the first makes it for all."""
    kept: dict[Any, Future] = {}
    lock = threading.Lock()

    def get(key):
        with lock:
            first = key not in kept
            result = kept.setdefault(key, Future())
            while len(kept) > size:
                kept.pop(next(iter(kept)))
        if first:
            try:
                result.set_result(make(key))
            except BaseException as error:  # handed to all who wait, and forgotten: the next to ask tries again
                with lock:
                    kept.pop(key, None)
                result.set_exception(error)
        return result.result()

    return get
