"""The trainer: one flat function, in the order things happen.

A run's folder holds recipe.json, log.csv, curves.png, tensorboard/, checkpoint.safetensors (all that a resumed run
needs), and, after the first validation, weights.safetensors with card.toml: then `zoo.load("runs/db")` works as for a
released model.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import functools
import importlib
import json
import math
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
from keras import ops
from safetensors import safe_open
from safetensors.numpy import save_file

import zoo
from recipes import origin, plots
from recipes.data import pipeline
from recipes.recipe import Recipe
from zoo import registry, weights
from zoo.files import replacing

CHECKPOINT, WEIGHTS, CARD = "checkpoint.safetensors", "weights.safetensors", "card.toml"
LOG, CURVES, RECIPE, EVENTS = "log.csv", "curves.png", "recipe.json", "tensorboard"


TEACHER = "teacher"  # the option of builders that gives a training graph, which is told the text


class RunError(RuntimeError):
    """A run that cannot begin or go on; the message says why and what would do."""


class Learner(keras.Model):
    """A network with a task's loss: what `fit` trains. The network itself holds none."""

    def __init__(self, network: keras.Model, loss):
        super().__init__(name="learner")
        self.network, self.task_loss = network, loss

    def call(self, pixels, training=None):
        return self.network(pixels, training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return ops.mean(self.task_loss(y, y_pred))


class AdamW(keras.optimizers.AdamW):
    """AdamW whose average of the weights forgets the random beginning: its momentum rises as n / (10 + n)."""

    def _update_model_variables_moving_average(self, trainable_variables):
        if not self.use_ema:
            return
        steps = ops.cast(self.iterations, "float32")
        momentum = ops.minimum(self.ema_momentum, steps / (10 + steps))
        for variable, average in zip(trainable_variables, self._model_variables_moving_average, strict=True):
            average.assign(momentum * average + (1 - momentum) * variable)


class Averaged:
    """The exponential average of a network's weights, taken for the time of a `with` block.

    Batch-norm statistics are averages already and stay.
    """

    def __init__(self, network: keras.Model, optimizer: keras.Optimizer):
        self.network, self.optimizer = network, optimizer

    def __enter__(self) -> None:
        self.raw = [ops.convert_to_numpy(variable) for variable in self.network.trainable_variables]
        if self.optimizer.use_ema and int(ops.convert_to_numpy(self.optimizer.iterations)) > 0:
            self.optimizer._overwrite_model_variables_with_average_value(self.network.trainable_variables)

    def __exit__(self, *_: Any) -> None:
        for variable, value in zip(self.network.trainable_variables, self.raw, strict=True):
            variable.assign(value)


class Checkpoint:
    """All variables of a learner in one file, keyed by path, with the number of steps done."""

    def __init__(self, path: Path, learner: Learner):
        self.path, self.learner = path, learner

    def _variables(self) -> dict[str, Any]:
        named = {f"network/{variable.path}": variable for variable in self.learner.network.variables}
        # Optimizers number their slots: their order is that of the network's variables, equal in every build.
        named |= {f"optimizer/{i}": variable for i, variable in enumerate(self.learner.optimizer.variables)}
        return _stable(named)

    def save(self, step: int, best: float) -> None:
        """Replaces the file in one move: a kill leaves the old one or the new one."""
        arrays = {name: ops.convert_to_numpy(variable) for name, variable in self._variables().items()}
        with replacing(self.path) as temporary:
            save_file(arrays, temporary, {"step": str(step), "best": repr(best)})

    def restore(self) -> tuple[int, float]:
        """(steps done, best score) after loading all variables; (0, -inf) where there is no checkpoint.

        Raises:
            RunError: the file is of another network.
        """
        if not self.path.is_file():
            return 0, -math.inf
        variables = self._variables()
        with safe_open(self.path, "numpy") as file:
            stored = _stable({name: name for name in file.keys()})  # noqa: SIM118 - it is no mapping
            if stored.keys() != variables.keys():
                raise RunError(f"{self.path} is of another network or optimizer; take an empty folder for --run")
            for name, variable in variables.items():
                variable.assign(file.get_tensor(stored[name]))
            found = file.metadata()
        return int(found["step"]), float(found["best"])


def _stable(named: dict[str, Any]) -> dict[str, Any]:
    """`named` with the states of random generators as "random/0" …: Keras counts their names up within a process."""
    states = sorted((name for name in named if "/seed_generator" in name), key=lambda name: (len(name), name))
    new = {name: f"random/{i}" for i, name in enumerate(states)}
    return {new.get(name, name): value for name, value in named.items()}


class Guard(keras.callbacks.Callback):
    """Stops at a signal after the step in flight, and at once at a loss that is no number."""

    def __init__(self) -> None:
        super().__init__()
        self.stopped = False

    def on_train_batch_end(self, batch, logs=None):
        if not math.isfinite(logs["loss"]):
            raise RunError("the loss is no finite number any more: lower the rate (--set rate=…) or clip harder")
        if self.stopped:
            self.model.stop_training = True

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """A block in which SIGINT and SIGTERM are a wish to stop; a second SIGINT interrupts.

        Only the main thread of a process is told of signals: elsewhere nothing changes.
        """

        def stop(number, frame):
            self.stopped = True
            print("stopping after this step; the last checkpoint is kept", file=sys.stderr)
            signal.signal(signal.SIGINT, signal.default_int_handler)

        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def fuse_batch_norm(network: keras.Model) -> None:
    """Lets TensorFlow run each batch normalization over (B, H, W, C) as one operation instead of a dozen.

    The values are the same; a training step on a CPU takes a fifth less time. Other backends fuse by themselves.
    """
    if keras.backend.backend() != "tensorflow":
        return
    import tensorflow as tf

    def call(layer, x, training=None, mask=None):
        if not training or not layer.trainable or x.dtype != tf.float32:
            return keras.layers.BatchNormalization.call(layer, x, training=training, mask=mask)
        fused = tf.compat.v1.nn.fused_batch_norm
        y, mean, variance = fused(x, layer.gamma, layer.beta, epsilon=layer.epsilon, is_training=True)
        for moving, value in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
            moving.assign(moving * layer.momentum + value * (1 - layer.momentum))
        return y

    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.call = functools.partial(call, layer)


def schedule(recipe: Recipe) -> keras.optimizers.schedules.LearningRateSchedule:
    """Linear warm-up to `rate`, then a cosine down to `floor` of it at the last step."""
    return keras.optimizers.schedules.CosineDecay(
        0.0,
        max(1, recipe.steps - recipe.warmup),
        alpha=recipe.floor,
        warmup_target=recipe.rate,
        warmup_steps=recipe.warmup,
    )


def make_task(recipe: Recipe, card: registry.Card, data: Path | None):
    """The task of a recipe: its `batch(step)`, `loss`, and `validate`."""
    return importlib.import_module(recipe.task).make(recipe, card, data)


def train(recipe: Recipe, run: Path, data: Path | None = None, *, verbose: bool = True) -> Path:
    """The folder of the finished run, which `zoo.load` takes.

    The same call goes on after a kill, from the last checkpoint, as if nothing had happened.

    Args:
        recipe: what to train.
        run: the folder; made if it is not there.
        data: folder that holds the real data sets of the recipe; None trains on synthetic samples alone.
        verbose: progress on the terminal.

    Raises:
        RunError: the folder holds another recipe's run, or the loss is no number any more.
        KeyboardInterrupt: SIGINT or SIGTERM asked to stop; the last checkpoint is kept.
    """
    run.mkdir(parents=True, exist_ok=True)
    _claim(run, recipe)
    keras.utils.set_random_seed(recipe.seed)
    options = {key: value for key, value in recipe.options.items() if key != TEACHER}
    card = dataclasses.replace(registry.card(recipe.model), options=registry.card(recipe.model).options | options)
    network = registry.build(recipe.model, **recipe.options)
    reader = registry.build(recipe.model, **options) if recipe.options.get(TEACHER) else network
    if recipe.start:
        weights.assign(network, weights.read(_start(recipe.start)))
    task = make_task(recipe, card, data)

    fuse_batch_norm(network)
    learner = Learner(network, task.loss)
    learner.compile(_optimizer(recipe), jit_compile=False)
    learner.build(network.input_shape)
    learner.optimizer.build(network.trainable_variables)
    checkpoint = Checkpoint(run / CHECKPOINT, learner)
    done, best = checkpoint.restore()
    guard = Guard()
    progress = (1 if sys.stderr.isatty() else 2) if verbose else 0
    started, before = time.monotonic(), _seconds(run)

    with guard.listening():
        while done < recipe.steps:
            stop = min(done + recipe.checkpoint_every, recipe.steps)
            if verbose:
                print(f"{recipe.model}: step {done} to {stop} of {recipe.steps}", flush=True)
            batches = _batches(task, done, stop)
            history = learner.fit(
                batches, steps_per_epoch=stop - done, verbose=progress, shuffle=False, callbacks=[guard]
            )
            if guard.stopped:  # part of the interval is done: exact resume starts at its beginning
                raise KeyboardInterrupt
            done = stop
            row: dict[str, Any] = {"step": done, "loss": history.history["loss"][-1]}
            row["rate"] = float(schedule(recipe)(done))
            row["seconds"] = round(before + time.monotonic() - started, 1)
            if done % recipe.validate_every == 0 or done == recipe.steps:
                with Averaged(network, learner.optimizer):
                    if reader is not network:
                        weights.assign(reader, {v.path: ops.convert_to_numpy(v) for v in network.weights})
                    row |= task.validate(reader, run / "samples.png")
                    if row["score"] >= best:
                        best = row["score"]
                        weights.save(reader, run / WEIGHTS, dtype="float32")
                        _write_card(run, card, recipe, row, task.sources)
            _log(run, row)  # first: after a kill in between, the interval is done again and its row replaced
            checkpoint.save(done, best)
            if verbose:
                print("  ".join(f"{key} {value:.4g}" for key, value in row.items()), flush=True)
    return run


def _optimizer(recipe: Recipe) -> keras.Optimizer:
    averaged = {"use_ema": True, "ema_momentum": recipe.ema} if recipe.ema else {}
    optimizer = AdamW(schedule(recipe), weight_decay=recipe.decay, global_clipnorm=recipe.clip, **averaged)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def _batches(task, start: int, stop: int):
    """What `fit` takes on this backend: a tf.data.Dataset, or a generator of the same batches.

    A task may have its network `told` some of the targets beside the pixels.
    """

    def told(pixels, targets):
        return {"image": pixels, **{name: targets[name] for name in task.told}}, targets

    names = getattr(task, "told", ())
    if keras.backend.backend() == "tensorflow":
        batches = pipeline.dataset(task.batch, start, stop)
        return batches.map(told) if names else batches
    stream = pipeline.stream(task.batch, start, stop)
    return (told(*pair) for pair in stream) if names else stream


def _claim(run: Path, recipe: Recipe) -> None:
    """Writes recipe.json, or checks that it says the same."""
    text = json.dumps(dataclasses.asdict(recipe), indent=2) + "\n"
    path = run / RECIPE
    if path.is_file():
        new, usual = json.loads(text), json.loads(json.dumps(dataclasses.asdict(Recipe(model="", task=""))))
        old = usual | json.loads(path.read_text())  # a field that is younger than the run does nothing by default
        changed = ", ".join(f"{key}={old[key]!r} there" for key in old if old[key] != new.get(key))
        if changed:
            raise RunError(f"{run} holds a run of another recipe ({changed}); go on with it or take another folder")
    with replacing(path) as temporary:
        Path(temporary).write_text(text)


def _start(name: str) -> Path:
    """The weights file of a card, a run, or a path."""
    path = Path(name)
    if path.is_file():
        return path
    found = weights.find(registry.card(name))
    if found is None:
        raise RunError(f"start={name!r}: this card has no weights; give a run's folder or a file")
    return found


def _seconds(run: Path) -> float:
    """Seconds that the run took up to its last logged step."""
    path = run / LOG
    if not path.is_file():
        return 0.0
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return float(rows[-1]["seconds"]) if rows else 0.0


def _log(run: Path, row: dict[str, Any]) -> None:
    """Adds a row to log.csv, whose columns grow with the rows, and draws the curves anew."""
    path = run / LOG
    rows = []
    if path.is_file():
        with path.open(newline="") as file:
            rows = [old for old in csv.DictReader(file) if int(old["step"]) < row["step"]]
    rows.append(row)
    columns = list(dict.fromkeys(key for old in rows for key in old))
    with replacing(path) as temporary, Path(temporary).open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    plots.curves(path, run / CURVES)
    if keras.backend.backend() == "tensorflow":
        _log_events(run / EVENTS, row)


def _log_events(folder: Path, row: dict[str, Any]) -> None:
    """Adds a row to the event files that `tensorboard --logdir` shows; TensorFlow writes them without TensorBoard."""
    import tensorflow as tf

    kind = tf.compat.v1.SummaryMetadata(data_class=1)  # scalars
    kind.plugin_data.plugin_name = "scalars"
    with _events(folder).as_default(int(row["step"])):
        for key, value in row.items():
            if key != "step":
                tf.summary.write(key, tf.constant(float(value)), metadata=kind)
        tf.summary.flush()


@functools.cache
def _events(folder: Path):
    """The writer of a folder's event files, one for each process."""
    import tensorflow as tf

    return tf.summary.create_file_writer(str(folder))


def _write_card(run: Path, card: registry.Card, recipe: Recipe, row: dict, sources: list[str]) -> None:
    """card.toml beside the weights of the best validation so far."""
    path = run / WEIGHTS
    description = {
        "file": WEIGHTS,
        "sha256": weights.sha256(path),
        "size": path.stat().st_size,
        "dtype": "float32",
        "data": sources,
        "seconds": row["seconds"],
        "device": origin.device(),
        "version": zoo.__version__,
    } | origin.commit()
    row = {"score": row["score"], **row}  # first: it stands in lists of models
    scores = {key: float(value) for key, value in row.items() if isinstance(value, (int, float)) and key != "rate"}
    registry.write_card(dataclasses.replace(card, weights=description, results={"validation": scores}), run / CARD)


def threads(count: int) -> None:
    """Limits TensorFlow to this many threads; to be called before anything runs."""
    if count and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(count)
        tf.config.threading.set_inter_op_parallelism_threads(count)
