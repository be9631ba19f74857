"""One training step on the devices at hand: the only code that knows how a backend differentiates and distributes.

    step = make(network, loss, optimizer, …)
    for loss in step.losses(task, start, stop):
        …
    step.sync()  # the network's variables hold what was learnt

A step's batch is the global one. Each of the R devices, on all machines, gets rows r, r + R, … of it, and does its
share in `accumulate` parts, whose gradients are averaged before the optimizer sees them: the outcome is that of one
device with room for the whole batch. Only batch normalization sees less: a part, of all devices.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from recipes import fused
from recipes.data import pipeline

Targets = dict[str, np.ndarray]


def make(
    network: keras.Model,
    loss: Callable,
    optimizer: keras.Optimizer,
    strategy: Any,
    accumulate: int = 1,
    rounded: bool = False,
):
    """The step for the backend that Keras uses.

    Args:
        network: to train; what it was built under decides its precision.
        loss: (targets, outputs) → (B,), or the (B,) parts of which it is the sum, by name.
        optimizer: built for the trainable variables of the network.
        strategy: what `devices` gave.
        accumulate: parts into which a device divides its share of the batch.
        rounded: TensorFlow's processors multiply in bfloat16: see `fused.rounded`.
    """
    if keras.backend.backend() == "jax":
        return Jax(network, loss, optimizer, strategy, accumulate)
    return TensorFlow(network, loss, optimizer, strategy, accumulate, rounded)


def devices(names: Sequence[str] = ()):
    """What to train on: a `tf.distribute.Strategy`, or a list of JAX devices.

    Without names, all accelerators of this machine, or the processor. On TensorFlow, an environment whose TF_CONFIG
    names several workers makes this process one of them: all start with the same command.

    Args:
        names: of devices, as "GPU:0"; all of one machine.

    Raises:
        ValueError: this machine has no such device, or TF_CONFIG names several workers on JAX.
    """
    workers = len(json.loads(os.environ.get("TF_CONFIG") or "{}").get("cluster", {}).get("worker", ()))
    if keras.backend.backend() == "jax":
        if workers > 1:
            raise ValueError(
                f"TF_CONFIG names {workers} workers, and JAX trains on one machine: take KERAS_BACKEND=tensorflow, or "
                "TF_CONFIG out"
            )
        import jax

        known = {f"{device.platform.upper()}:{device.id}": device for device in jax.local_devices()}
        return [known[name] for name in _named(names, known) or known]
    import tensorflow as tf

    if workers > 1:
        return tf.distribute.MultiWorkerMirroredStrategy()
    if names:
        chosen = _named(names, [device.name.removeprefix("/device:") for device in tf.config.list_logical_devices()])
    else:
        chosen = [device.name.removeprefix("/physical_device:") for device in _accelerators()]
    if len(chosen) > 1:
        return tf.distribute.MirroredStrategy(chosen)
    return tf.distribute.OneDeviceStrategy(chosen[0]) if names else tf.distribute.get_strategy()


def _named(names: Sequence[str], known: Collection[str]) -> list[str]:
    """The names of devices as they are known, each once: "/device:gpu:0" is "GPU:0"."""
    found = list(dict.fromkeys(name.upper().removeprefix("/").removeprefix("DEVICE:") for name in names))
    if missing := [name for name in found if name not in known]:
        raise ValueError(f"--devices {' '.join(missing)}: this machine has {', '.join(known)}")
    return found


def scope(strategy):
    """The context in which a network and its optimizer are built for `devices`."""
    return contextlib.nullcontext() if isinstance(strategy, list) else strategy.scope()


def replicas(strategy) -> int:
    """Among how many devices a batch is shared."""
    return len(strategy) if isinstance(strategy, list) else strategy.num_replicas_in_sync


def _accelerators() -> list:
    import tensorflow as tf

    return tf.config.list_physical_devices("GPU")


def _resident() -> int:
    """The most bytes of memory that this process had so far."""
    import resource  # of Unix alone

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def _told(task) -> Callable:
    """(pixels, targets) → inputs and targets: a task may have its network told some targets beside the pixels."""
    names = getattr(task, "told", ())

    def told(pixels, targets):
        return ({"image": pixels, **{name: targets[name] for name in names}} if names else pixels), targets

    return told


def _summed(loss) -> tuple[Any, dict]:
    """The mean over the batch of a loss, or of the sum of its parts, and the mean of each part."""
    parts = {name: keras.ops.mean(value) for name, value in loss.items()} if isinstance(loss, dict) else {}
    return (sum(parts.values()) if parts else keras.ops.mean(loss)), parts


def _part(array, part: int, parts: int):
    """The rows of one of several parts: the same of the whole batch, however many devices share it."""
    size = keras.ops.shape(array)[0] // parts
    return array[part * size : (part + 1) * size]


def on_host(function: Callable, shape: Sequence[int | None], dtype: str, *tensors):
    """What a NumPy function makes of tensors, in the middle of a step. No gradient flows through it.

    Args:
        function: from arrays to one array.
        shape: of the result; JAX needs all of it.
        dtype: of the result.
        *tensors: what it is given.
    """
    tensors = tuple(keras.ops.stop_gradient(tensor) for tensor in tensors)

    def run(*arrays):
        return np.asarray(function(*(np.asarray(array) for array in arrays)), dtype)

    if keras.backend.backend() == "jax":
        import jax

        return jax.pure_callback(run, jax.ShapeDtypeStruct(tuple(shape), dtype), *tensors)
    import tensorflow as tf

    result = tf.numpy_function(run, tensors, dtype, stateful=False)
    result.set_shape(shape)
    return result


class TensorFlow:
    """A step under a `tf.distribute.Strategy`."""

    def __init__(
        self, network: keras.Model, loss: Callable, optimizer: keras.Optimizer, strategy, accumulate: int, rounded: bool
    ):
        import tensorflow as tf

        self.network, self.loss, self.optimizer = network, loss, optimizer
        self.strategy, self.accumulate, self.rounded = strategy, accumulate, rounded
        self.replicas = replicas(strategy)
        self.parts: dict[str, float] = {}  # of the last loss, where it has some
        self._step = tf.function(self._replicas)
        self._gradients = tf.function(self._differentiate)

    @property
    def gone(self) -> tuple[type[Exception], ...]:
        """What is raised where another worker is gone."""
        import tensorflow as tf

        return tf.errors.UnavailableError, tf.errors.AbortedError

    @property
    def chief(self) -> bool:
        """Whether this process writes what a run leaves: the first of the workers."""
        resolver = self.strategy.cluster_resolver
        return resolver is None or not resolver.task_id

    def losses(self, task, start: int, stop: int) -> Iterator[float]:
        """Takes the steps `start` to `stop`, and gives the mean loss over the batch after each.

        Raises:
            Exception: what `task.batch` raised.
        """
        import tensorflow as tf

        local = self.replicas // getattr(self.strategy.extended, "_num_workers", 1)
        failed: list[Exception] = []

        def batch(step: int) -> pipeline.Batch:
            try:
                return task.batch(step)
            except Exception as error:  # TensorFlow gives its text alone, within its own
                failed.append(error)
                raise

        def rows(context):
            first = context.input_pipeline_id * local if context else 0
            own = range(first, first + local)
            return pipeline.dataset(batch, start, stop, replicas=own, count=self.replicas).map(_told(task))

        iterator = iter(self.strategy.distribute_datasets_from_function(rows))
        for _ in range(start, stop):
            try:
                with fused.rounded(self.rounded):
                    loss, parts = self._step(iterator)
            except tf.errors.OpError:
                if failed:
                    raise failed[0] from None
                raise
            self.parts = {name: float(value) for name, value in parts.items()}
            yield float(loss)

    def sync(self) -> None:
        """Nothing: the variables are those that the step changes."""

    def peak(self) -> int:
        """The most bytes that any accelerator held so far; without one, this process."""
        import tensorflow as tf

        names = [device.name.removeprefix("/physical_device:") for device in _accelerators()]
        return max((tf.config.experimental.get_memory_info(name)["peak"] for name in names), default=_resident())

    def _replicas(self, iterator):
        import tensorflow as tf

        # Batches are taken in here: their widths differ, but not the iterator's type, so that this is traced once.
        losses = self.strategy.run(self._replica, next(iterator))
        return tf.nest.map_structure(lambda value: self.strategy.reduce("MEAN", value, axis=None), losses)

    def _replica(self, inputs, targets):
        import tensorflow as tf

        # A function of its own is traced once for all parts; devices cannot meet inside of one.
        differentiate = self._gradients if self.replicas == 1 else self._differentiate
        parts = []
        for part in range(self.accumulate):
            own = tf.nest.map_structure(lambda array, part=part: _part(array, part, self.accumulate), (inputs, targets))
            parts.append(differentiate(*own))
        losses, gradients = zip(*parts, strict=True)
        gradients = [sum(parts[1:], parts[0]) / self.accumulate for parts in zip(*gradients, strict=True)]
        context = tf.distribute.get_replica_context()
        if self.replicas > 1:
            gradients = context.all_reduce(tf.distribute.ReduceOp.MEAN, gradients)
        self.optimizer.apply(gradients, self.network.trainable_variables)
        return tf.nest.map_structure(lambda *values: sum(values) / self.accumulate, *losses)

    def _differentiate(self, inputs, targets):
        import tensorflow as tf

        variables = [variable.value for variable in self.network.trainable_variables]
        with tf.GradientTape() as tape:
            loss, parts = _summed(self.loss(targets, self.network(inputs, training=True)))
            scaled = self.optimizer.scale_loss(loss)
        zero = tf.UnconnectedGradients.ZERO  # an output that the loss does not look at has weights without a gradient
        gradients = tape.gradient(scaled, variables, unconnected_gradients=zero)
        return (loss, parts), [tf.convert_to_tensor(gradient) for gradient in gradients]  # an embedding's are slices


class Jax:
    """A step on JAX: one compiled function, the batch's rows spread over the devices of this machine.

    The network's variables hold what was learnt only after `sync`.
    """

    chief = True
    gone: tuple[type[Exception], ...] = ()

    def __init__(self, network: keras.Model, loss: Callable, optimizer: keras.Optimizer, strategy, accumulate: int):
        import jax

        self.network, self.loss, self.optimizer, self.accumulate = network, loss, optimizer, accumulate
        self.replicas, self._devices = replicas(strategy), strategy
        mesh = jax.sharding.Mesh(np.array(strategy), ("batch",))
        self._everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
        self._spread = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch"))
        self._gradient = jax.value_and_grad(self._forward, has_aux=True)
        self.parts: dict[str, float] = {}
        self._step = jax.jit(self._update, donate_argnums=0)
        self._state: Any = None

    def losses(self, task, start: int, stop: int) -> Iterator[float]:
        """Takes the steps `start` to `stop`, and gives the mean loss over the batch after each."""
        import jax

        if self._state is None:  # `sync` gave it back, or these are the first steps
            values = [[variable.value for variable in group] for group in self._variables()]
            copies = jax.tree.map(jax.numpy.copy, values)  # each step writes over its state
            self._state = jax.device_put(copies, self._everywhere)
        for batch in pipeline.stream(task.batch, start, stop):
            inputs, targets = jax.device_put(_told(task)(*batch), self._spread)
            (loss, parts), self._state = self._step(self._state, inputs, targets)
            self.parts = {name: float(value) for name, value in parts.items()}
            yield float(loss)

    def sync(self) -> None:
        """Writes what was learnt into the variables of the network and the optimizer."""
        if self._state is None:
            return
        for group, values in zip(self._variables(), self._state, strict=True):
            for variable, value in zip(group, values, strict=True):
                variable.assign(value)
        self._state = None

    def peak(self) -> int:
        """The most bytes that any accelerator held so far; without one, this process."""
        held = [(device.memory_stats() or {}).get("peak_bytes_in_use", 0) for device in self._devices]
        return max(held) or _resident()

    def _variables(self) -> tuple[list, list, list]:
        network = self.network
        return network.trainable_variables, network.non_trainable_variables, self.optimizer.variables

    def _forward(self, trained, kept, scale, inputs, targets):
        outputs, kept = self.network.stateless_call(trained, kept, inputs, training=True)
        loss, parts = _summed(self.loss(targets, outputs))
        return loss * scale, ((loss, parts), kept)

    def _update(self, state, inputs, targets):
        import jax

        trained, kept, slots = state
        with keras.StatelessScope(list(zip(self.optimizer.variables, slots, strict=True))):
            scale = self.optimizer.scale_loss(keras.ops.convert_to_tensor(1.0))
        losses, gradients = [], None
        for part in range(self.accumulate):
            take = functools.partial(jax.tree.map, lambda array, part=part: _part(array, part, self.accumulate))
            (_, (loss, kept)), new = self._gradient(trained, kept, scale, take(inputs), take(targets))
            losses.append(loss)
            gradients = new if gradients is None else jax.tree.map(lambda a, b: a + b, gradients, new)
        gradients = jax.tree.map(lambda gradient: gradient / self.accumulate, gradients)
        trained, slots = self.optimizer.stateless_apply(slots, gradients, trained)
        return jax.tree.map(lambda *values: sum(values) / self.accumulate, *losses), (trained, kept, slots)
