"""The trainer: one flat function, in the order things happen.

A run's folder holds recipe.json, log.csv, curves.png, tensorboard/, checkpoint.safetensors (all that a resumed run
needs), and, after the first validation, weights.safetensors with card.toml: then `zoo.load("runs/db")` works as for a
released model. At the end comes report.html.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import fnmatch
import functools
import importlib
import json
import math
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops
from safetensors import SafetensorError, safe_open

import zoo
from recipes import beside, distil, fused, origin, plots, pretrain, report, rounding
from recipes import optimizer as optimizers
from recipes import step as steps
from recipes.data import preprocessing
from recipes.data.workers import Workers
from recipes.recipe import Recipe
from recipes.surgery import graft, grow
from zoo import registry, weights
from zoo.charset import Charset
from zoo.files import check_writable, clear, replacing
from zoo.layers import Normalize, check_sides
from zoo.spotting.ocrnet import WORD

CHECKPOINT, WEIGHTS, CARD = "checkpoint.safetensors", "weights.safetensors", "card.toml"
LOG, CURVES, RECIPE, EVENTS = "log.csv", "curves.png", "recipe.json", "tensorboard"
DRAW_EVERY = 120  # seconds at least between two drawings of the curves, which take some; at a validation in any case


TEACHER = "teacher"  # the option of builders that gives a training graph, which is told the text


class RunError(RuntimeError):
    """A run that cannot begin or go on; the message says why and what would do."""


class Checkpoint:
    """All variables of a network and its optimizer in one file, keyed by path, with the number of steps done."""

    def __init__(self, path: Path, network: keras.Model, optimizer: keras.Optimizer):
        self.path, self.network, self.optimizer = path, network, optimizer

    def _variables(self) -> dict[str, Any]:
        named = {f"network/{variable.path}": variable for variable in self.network.variables}
        # Optimizers number their slots: their order is that of the network's variables, equal in every build.
        named |= {f"optimizer/{i}": variable for i, variable in enumerate(self.optimizer.variables)}
        return _stable(named)

    def save(self, step: int, best: float) -> None:
        """Replaces the file in one move: a kill leaves the old one or the new one."""
        arrays = {name: ops.convert_to_numpy(variable) for name, variable in self._variables().items()}
        weights.write(arrays, self.path, {"step": str(step), "best": repr(best)})

    def restore(self) -> tuple[int, float]:
        """(steps done, best score) after loading all variables; (0, -inf) where there is no checkpoint.

        Raises:
            RunError: the file is of another network, or damaged.
        """
        if not self.path.is_file():
            return 0, -math.inf
        try:
            return self._restored()
        except SafetensorError as error:
            raise _damaged(self.path, error) from error

    def _restored(self) -> tuple[int, float]:
        variables = self._variables()
        with safe_open(self.path, "numpy") as file:
            stored = _stable({name: name for name in file.keys()})  # noqa: SIM118 - it is no mapping
            if stored.keys() != variables.keys():
                raise RunError(f"{self.path} is of another network or optimizer; take an empty folder for --run")
            for name, variable in variables.items():
                variable.assign(file.get_tensor(stored[name]))
            found = file.metadata()
        return int(found["step"]), float(found["best"])


def _damaged(path: Path, error: Exception) -> RunError:
    return RunError(f"{path} is damaged ({error}); put it back, or take another folder for --run")


def _stable(named: dict[str, Any]) -> dict[str, Any]:
    """`named` with the states of random generators as "random/0" …: Keras counts their names up within a process."""
    states = sorted((name for name in named if "/seed_generator" in name), key=lambda name: (len(name), name))
    new = {name: f"random/{i}" for i, name in enumerate(states)}
    return {new.get(name, name): value for name, value in named.items()}


class Guard:
    """Stops at a signal after the step in flight, and at once at a loss that is no number."""

    def __init__(self) -> None:
        self.stopped = 0  # the number of the signal

    def check(self, loss: float) -> None:
        """To be called after each step.

        Raises:
            RunError: the loss is no finite number.
            KeyboardInterrupt: a signal, whose number it has, asked to stop.
        """
        if not math.isfinite(loss):
            raise RunError("the loss is no finite number any more: lower the rate (--set rate=…) or clip harder")
        if self.stopped:
            raise KeyboardInterrupt(self.stopped)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """A block in which SIGINT and SIGTERM are a wish to stop; a second SIGINT interrupts.

        Only the main thread of a process is told of signals: elsewhere nothing changes.
        """

        def stop(number, frame):
            self.stopped = number
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


def make_task(recipe: Recipe, card: registry.Card, data: Path | None):
    """The task of a recipe: its `batch(step)`, `loss`, and `validate`.

    Raises:
        RunError: the model is for another task or of another kind, the module makes none, or there are shards, and the
            task takes none.
    """
    learns = recipe.task.removeprefix("recipes.").partition(".")[0]
    if learns in registry.TASKS and card.task != learns:
        raise RunError(f"model={recipe.model} is for {card.task}; {recipe.task} trains models for {learns}")
    module = importlib.import_module(recipe.task)
    if not hasattr(module, "make"):
        raise RunError(f"task={recipe.task}: it makes no task; recipes.recognition.task would, say")
    own = registry.card(module.RECIPE.model) if hasattr(module, "RECIPE") else card  # of one kind of network alone
    ours, theirs = (each.options.get("of", each.builder) for each in (own, card))  # "of": with fewer channels
    if ours != theirs:
        raise RunError(f"model={recipe.model} gives other outputs than {own.name}, for which {recipe.task} is")
    task = module.make(recipe, card, data)
    if recipe.shards and not hasattr(task, "packed"):
        raise RunError(f"shards={','.join(recipe.shards)}: {recipe.task} takes no shards; name data sets by real=")
    return task


def _network(recipe: Recipe) -> keras.Model:
    """The network of a recipe, with random weights."""
    try:
        return registry.build(recipe.model, **recipe.options)
    except TypeError as error:
        if not recipe.options:
            raise
        raise RunError(f"options={recipe.options}: {recipe.model} takes no such options ({error})") from error


class Parts(NamedTuple):
    """What a run is made of: the network that learns and the one that is read with differ where a teacher tells."""

    card: registry.Card
    network: keras.Model
    reader: keras.Model
    optimizer: keras.Optimizer
    task: Any
    step: Any
    workers: Workers | None = None


def assemble(
    recipe: Recipe, data: Path | None = None, devices: Sequence[str] = (), rate: Any = None, workers: int = 0
) -> Parts:
    """The parts of a run, before its first step; nothing is written.

    Args:
        recipe: what to train.
        data: folder of the real data sets; None for synthetic samples alone.
        devices: see `train`.
        rate: a schedule in place of the recipe's.
        workers: see `train`.

    Raises:
        RunError: the batch cannot be shared by the devices, or leaves each a single picture where pictures are
            compared; the model is for another task, or takes no such options; the network's strides do not divide
            the samples' size, or the task cannot teach it; the weights to start with cannot be had; or batches depend
            on what was learnt, so that no other process can make them.
    """
    strategy = steps.devices(devices)
    keras.utils.set_random_seed(recipe.seed)
    options = {key: value for key, value in recipe.options.items() if key != TEACHER}
    usual = registry.card(recipe.model)
    card = dataclasses.replace(usual, options=usual.options | options)
    with steps.scope(strategy), precision(recipe.precision):
        network, task = _network(recipe), make_task(recipe, card, data)
        card = dataclasses.replace(card, params=optimizers.parameters(network.trainable_variables))
        if card.options != usual.options:
            card = dataclasses.replace(card, gflops=0.0)  # not counted for these
        _measured(network, recipe.size)
        _taught(network, task)
        makers = _workers(recipe, card, data, task, workers) if workers else None
        if recipe.layers:
            task.batch = preprocessing.through(task.batch, recipe.layers, recipe.seed)
        if isinstance(task, pretrain.Task):
            network = task.part(network)
        reader = registry.build(recipe.model, **options) if recipe.options.get(TEACHER) else network
        if recipe.start:
            _begin(network, recipe.start, card)
        freeze(network, recipe.freeze)
        tune(network, steps.replicas(strategy))
        if isinstance(task, pretrain.Task):
            learner = task.learner(network)
        else:
            learner, task = distil.prepare(recipe, network, task)
            learner, task = beside.prepare(recipe, card, learner, task, data)
            learner = rounding.prepare(recipe.bits, learner, network)
        optimizer = optimizers.make(recipe, learner, rate)
    rounded = recipe.precision == fused.BFLOAT16
    step = steps.make(learner, task.loss, optimizer, strategy, recipe.accumulate, rounded)
    if recipe.batch % (step.replicas * recipe.accumulate):
        raise RunError(f"batch={recipe.batch} cannot be shared by {step.replicas} devices × {recipe.accumulate=} parts")
    if recipe.batch == step.replicas * recipe.accumulate and (compared := _compared(recipe)):
        raise RunError(f"{compared} compares the pictures of a part of the batch, which has one: raise batch")
    return Parts(card, network, reader, optimizer, task, step, makers)


def _measured(network: keras.Model, size: tuple[int, int]) -> None:
    """Nothing, where a network takes samples of this size, or is given others: such networks take any.

    Raises:
        RunError: its strides do not divide the size.
    """
    for layer in network.layers:
        if isinstance(layer, Normalize):
            try:
                check_sides((None, *size), layer.multiple)
            except ValueError as error:
                raise RunError(f"size={','.join(map(str, size))}: {error}") from None


def _taught(network: keras.Model, task: Any) -> None:
    """Nothing, where a task has nothing to say against a network.

    Raises:
        RunError: what it says.
    """
    if hasattr(task, "check"):
        try:
            task.check(network)
        except ValueError as error:
            raise RunError(str(error)) from None


def _compared(recipe: Recipe) -> str:
    """What of a recipe compares pictures with each other, "adapt=mmd" or "alike=1.0"; "" where nothing does."""
    if recipe.adapt and beside.lesson(recipe.adapt).compares:
        return f"adapt={recipe.adapt}"
    return f"alike={recipe.alike}" if recipe.teacher and recipe.alike else ""


def _workers(recipe: Recipe, card: registry.Card, data: Path | None, task: Any, count: int) -> Workers:
    """The processes that make the batches of a task from now on."""
    if hasattr(task, "begin"):
        raise RunError(f"workers={count}: batches of {recipe.task} depend on what was learnt; this process makes them")
    workers = Workers(recipe, card, data, count, getattr(task, "grouped", 1))
    task.batch = workers.batch
    return workers


def train(
    recipe: Recipe,
    run: Path,
    data: Path | None = None,
    *,
    devices: Sequence[str] = (),
    workers: int = 0,
    verbose: bool = True,
) -> Path:
    """The folder of the finished run, which `zoo.load` takes.

    The same call goes on after a kill, from the last checkpoint, as if nothing had happened.

    Args:
        recipe: what to train.
        run: the folder; made if it is not there.
        data: folder that holds the real data sets of the recipe; None trains on synthetic samples alone.
        devices: to train on, as "GPU:0"; by default all accelerators of the machine. See `recipes.step.devices`.
        workers: processes that make batches; 0 makes them in this one, which draws one sample at a time.
        verbose: progress on the terminal.

    Raises:
        RunError: the folder is a file or holds another recipe's run, the batch cannot be shared by the devices, the
            loss is no number any more, or another worker is gone.
        KeyboardInterrupt: SIGINT or SIGTERM asked to stop; the last checkpoint is kept.
    """
    _claim(run, recipe, data)
    card, network, reader, optimizer, task, step, makers = assemble(recipe, data, devices, workers=workers)
    _write(run, recipe, data)
    checkpoint = Checkpoint(run / CHECKPOINT, step.network, optimizer)
    began, best = checkpoint.restore()
    done = began
    if step.chief:
        for name in (CHECKPOINT, WEIGHTS):
            clear(run / name)
    _tell_lost(run, done)
    guard, thinned = Guard(), optimizers.sparse_at(recipe)
    started, before, drawn = time.monotonic(), _seconds(run), -math.inf
    if verbose:
        print(plan(recipe, network, step.replicas), flush=True)

    with guard.listening(), contextlib.closing(makers) if makers else contextlib.nullcontext():
        while done < recipe.steps and not _enough(recipe, run):
            stop = min(done + recipe.checkpoint_every, recipe.steps)
            if verbose:
                print(f"{recipe.model}: step {done} to {stop} of {recipe.steps}", flush=True)
            if begin := getattr(task, "begin", None):  # a task that looks at what was learnt so far
                with optimizers.Averaged(step.network, optimizer):
                    begin(done, reader)
            row: dict[str, Any] = {"step": stop, **_steps(step, task, done, stop, guard, verbose)}
            done = stop
            row["rate"] = float(optimizers.schedule(recipe)(done))
            row["seconds"] = round(before + time.monotonic() - started, 1)
            step.sync()
            if not step.chief:
                continue
            if done % recipe.validate_every == 0 or done == recipe.steps:
                with optimizers.Averaged(step.network, optimizer):
                    if reader is not network:
                        weights.assign(reader, {v.path: ops.convert_to_numpy(v) for v in network.weights})
                    row |= task.validate(reader, run / "samples.png")
                    if (done - 1) // recipe.validate_every * recipe.validate_every <= thinned < done:
                        best = -math.inf  # what was better before had fewer zeros
                    if row["score"] >= best:
                        best = row["score"]
                        weights.save(reader, run / WEIGHTS, dtype="float32")
                        _write_card(run, card, recipe, row, task.sources)
            draw = "score" in row or time.monotonic() > drawn + DRAW_EVERY
            _log(run, row, draw)  # first: after a kill in between, the interval is done again and its row replaced
            drawn = time.monotonic() if draw else drawn
            checkpoint.save(done, best)
            if verbose:
                print("  ".join(f"{key} {value:.4g}" for key, value in row.items()), flush=True)
            guard.check(row["loss"])  # a signal may have come in the validation, after the last step
    if step.chief and (run / WEIGHTS).is_file() and (done > began or not (run / report.REPORT).is_file()):
        weights.assign(reader, weights.read(run / WEIGHTS))  # the best, not the last
        report.write(run, recipe, task, reader)
    return run


def _steps(step, task, start: int, stop: int, guard: Guard, verbose: bool) -> dict[str, float]:
    """The mean "loss" of the steps from `start` to `stop`, which are done, and of each of its parts "loss_…"."""
    how = (1 if sys.stderr.isatty() else 2) if verbose else 0
    shown = keras.utils.Progbar(stop - start, verbose=how, stateful_metrics=["loss"])  # it would end with the last one
    losses: list[float] = []
    parts: dict[str, list[float]] = {}
    try:
        for loss in step.losses(task, start, stop):
            losses.append(loss)
            for name, value in step.parts.items():
                parts.setdefault(f"loss_{name}", []).append(value)
            guard.check(loss)
            shown.update(len(losses), [("loss", math.fsum(losses) / len(losses))])
    except step.gone as error:
        raise RunError("another worker is gone: start the same command on all of them to go on") from error
    return {name: math.fsum(values) / len(values) for name, values in {"loss": losses, **parts}.items()}


def plan(recipe: Recipe, network: keras.Model, replicas: int) -> str:
    """What a run does, in a line."""
    learnt, frozen = map(optimizers.parameters, (network.trainable_variables, network.non_trainable_variables))
    share = recipe.batch // (replicas * recipe.accumulate)
    return (
        f"{recipe.model}: {learnt:,} parameters learn, {frozen:,} do not; {recipe.steps} steps of {recipe.batch} = "
        f"{replicas} devices x {recipe.accumulate} parts x {share}; rate {recipe.rate:g}, {recipe.precision}"
    )


@contextlib.contextmanager
def precision(name: str) -> Iterator[None]:
    """A block in which layers are made that compute in "float32", "mixed_float16" or "mixed_bfloat16".

    Those of "onednn_bfloat16" are of float32; `fused.rounded` makes the difference.

    Raises:
        RunError: there is no such precision, or "onednn_bfloat16" where it would be slower.
    """
    names = "float32", "mixed_float16", "mixed_bfloat16", fused.BFLOAT16
    if name not in names:
        raise RunError(f"precision={name}: give one of {', '.join(names)}")
    if name == fused.BFLOAT16 and keras.backend.backend() != "tensorflow":
        raise RunError(f"precision={name} is TensorFlow's; {keras.backend.backend()} takes mixed_bfloat16")
    if name == fused.BFLOAT16 and not fused.multiplies_bfloat16():
        raise RunError(f"precision={name}: this processor has neither AVX512_BF16 nor AMX; float32 is quicker on it")
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32" if name == fused.BFLOAT16 else name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def freeze(network: keras.Model, patterns: Sequence[str]) -> None:
    """Keeps the layers of these names, patterns as of a shell ("stem*"), as they are, batch statistics included.

    Raises:
        RunError: a pattern fits no layer, or all layers with weights.
    """
    names = [layer.name for layer in network.layers if layer.weights]
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            groups: dict[str, list[str]] = {}
            for name in names:
                groups.setdefault(name.partition("_")[0], []).append(name)
            there = ", ".join(members[0] if len(members) == 1 else f"{group}*" for group, members in groups.items())
            raise RunError(f"freeze={pattern}: no layer of {network.name} with weights has such a name; give {there}")
        for name in fnmatch.filter(names, pattern):
            network.get_layer(name).trainable = False
    if not network.trainable_variables:
        raise RunError(f"freeze={','.join(patterns)} leaves nothing to learn in {network.name}")


def tune(network: keras.Model, replicas: int) -> None:
    """Lets batch normalizations see the whole batch of several devices, or run as one operation on one.

    On JAX they see all of it as it is: one array, which the devices share.
    """
    if replicas == 1:
        fused.fuse(network)
    if replicas == 1 or keras.backend.backend() == "jax":
        return
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True


def _claim(run: Path, recipe: Recipe, data: Path | None) -> None:
    """Raises `RunError` where recipe.json is there and says something else, or a file stands in the folder's place, and
    `OSError` where nothing can be written there."""
    if run.is_file():
        raise RunError(f"{run} is a file; give a folder for --run")
    path = run / RECIPE
    check_writable(path)
    if not path.is_file():
        return
    usual = json.loads(json.dumps(dataclasses.asdict(Recipe(model="", task=""))))
    try:
        old = usual | json.loads(path.read_text())  # a field that is younger than the run does nothing by default
    except (ValueError, TypeError) as error:
        raise _damaged(path, error) from error
    new = json.loads(_json(recipe, data))
    there, here = old.pop("data", None), new.pop("data")
    if changed := ", ".join(f"{key}={old[key]!r} there" for key in old if not _same(old[key], new.get(key))):
        raise RunError(f"{run} holds a run of another recipe ({changed}); go on with it or take another folder")
    if there is not None and bool(there) != bool(here):
        began = f"--data {there}" if there else "no --data"
        raise RunError(f"{run} holds a run that began with {began}; go on with it likewise or take another folder")


def _same(old: Any, new: Any) -> bool:
    """Whether a recipe's value is the same, or names folders that are where they were no more by other places."""
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return all(map(_same, old, new))
    if not (isinstance(old, str) and isinstance(new, str)) or old == new:
        return old == new
    return Path(old).is_absolute() and not Path(old).exists() and Path(old).name == Path(new).name


def _write(run: Path, recipe: Recipe, data: Path | None) -> None:
    """Writes recipe.json, once the run can begin: one that was mistyped claims no folder."""
    with replacing(run / RECIPE) as temporary:
        Path(temporary).write_text(_json(recipe, data))


def _json(recipe: Recipe, data: Path | None) -> str:
    where = str(data.resolve()) if data else ""
    return json.dumps({**dataclasses.asdict(recipe), "data": where}, indent=2) + "\n"


def _begin(network: keras.Model, start: str, card: registry.Card) -> None:
    """Gives a network the weights of a card, a run, or a file; those of another alphabet are moved to its own.

    A network with more channels grows out of them. A file may hold the backbone alone, and of another architecture what
    fits by path and shape is taken, which is the backbone, too; of a recognizer a spotter takes what reads words. Of
    several, with commas between them, later ones add to earlier ones. The rest stays random, and is counted.

    Raises:
        RunError: the weights cannot be had.
        ValueError: a tensor has no variable of its path and shape.
    """
    names = [start] if Path(start).exists() else start.split(",")
    if not all(name.strip() for name in names):
        raise RunError(f"start={start!r}: a name is missing beside a comma; give one name, or several as A,B")
    tensors: dict[str, np.ndarray] = {}
    for name in names:
        tensors |= _known(network, name, card)
    own = {variable.path: tuple(variable.shape) for variable in network.weights}
    misfits = [name for name, tensor in tensors.items() if own.get(name) != tensor.shape]
    if misfits and (grown := grow(network, tensors)):
        more = len(own.keys() - tensors.keys())
        print(
            f"{start}: {card.name} grows out of it: {len(misfits)} of {len(tensors)} variables are larger, {more} new",
            file=sys.stderr,
        )
        tensors = grown
    weights.assign(network, tensors, strict=not tensors.keys() < own.keys())
    if random := len(own.keys() - tensors.keys()):
        print(f"{start}: {random} of {len(own)} variables are not in it and begin at random", file=sys.stderr)


def _known(network: keras.Model, start: str, card: registry.Card) -> dict[str, np.ndarray]:
    """What a network of `card` can take of the weights of a card, a run, or a file, by the paths of its variables."""
    path, old = Path(start), card
    if not path.is_file():
        old = registry.card(start)
        try:
            path = weights.obtain(old)
        except weights.WeightsError as error:
            raise RunError(f"start={start!r}: {error}") from error
    tensors = weights.read(path)
    if (old.task, card.task) == ("recognition", "spotting"):
        tensors = {WORD + name: tensor for name, tensor in tensors.items()}
    if "charset" in old.options and "charset" in card.options:
        before, after = (Charset(one.options["charset"]) for one in (old, card))
        tensors = tensors if before.characters == after.characters else graft(network, tensors, before, after)
    if old.builder != card.builder:
        own = {variable.path: tuple(variable.shape) for variable in network.weights}
        tensors = {name: tensor for name, tensor in tensors.items() if own.get(name) == tensor.shape}
        if not tensors:
            raise RunError(f"start={start!r}: no tensor of {old.name} fits into {card.name} by path and shape")
    return tensors


def _enough(recipe: Recipe, run: Path) -> bool:
    """Whether the last validations, as many as the recipe's `patience`, brought no better score than one before."""
    thinned = optimizers.sparse_at(recipe)
    scores = [float(row["score"]) for row in _rows(run) if row.get("score") and int(row["step"]) > thinned]
    return bool(recipe.patience) and len(scores) > recipe.patience and max(scores) > max(scores[-recipe.patience :])


def _rows(run: Path) -> list[dict[str, str]]:
    """The rows of log.csv; one that was cut is none."""
    path = run / LOG
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(line for line in file if line.endswith("\n")))


def _tell_lost(run: Path, done: int) -> None:
    """Says that log.csv, which is written before the checkpoint, does not reach it."""
    rows = _rows(run)
    last = int(rows[-1]["step"]) if rows else 0
    if last < done:
        text = f"{run / LOG} ends at step {last}, and {CHECKPOINT} is of step {done}: the rows between are lost, with "
        print(text + "their scores. Put the file back, or go on without them", file=sys.stderr)


def _seconds(run: Path) -> float:
    """Seconds that the run took up to its last logged step."""
    rows = _rows(run)
    return float(rows[-1]["seconds"]) if rows else 0.0


def _log(run: Path, row: dict[str, Any], draw: bool) -> None:
    """Adds a row to log.csv, whose columns grow with the rows, and draws the curves anew where that is asked for."""
    path = run / LOG
    rows = [old for old in _rows(run) if int(old["step"]) < row["step"]] + [row]
    columns = list(dict.fromkeys(key for old in rows for key in old))
    with replacing(path) as temporary, Path(temporary).open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    if draw:
        plots.curves(path, run / CURVES)
    if keras.backend.backend() == "tensorflow":
        _log_events(run / EVENTS, row)


def _log_events(folder: Path, row: dict[str, Any]) -> None:
    """Adds a row to the event files that `tensorboard --logdir` shows; TensorFlow writes them without TensorBoard."""
    import tensorflow as tf

    kind = tf.compat.v1.SummaryMetadata(data_class=1)  # scalars
    kind.plugin_data.plugin_name = "scalars"
    try:
        with _events(folder).as_default(int(row["step"])):
            for key, value in row.items():
                if key != "step":
                    tf.summary.write(key, tf.constant(float(value)), metadata=kind)
            tf.summary.flush()
    except tf.errors.OpError as error:  # TensorFlow's files know no OSError
        raise OSError(f"{folder} cannot be written to: {error.message}") from error


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
    trained = dataclasses.replace(card, weights=description, results={"validation": scores}, published={})
    registry.write_card(trained, run / CARD)


def threads(count: int) -> None:
    """Limits TensorFlow to this many threads, unless they are 0; to be called before anything runs.

    Raises:
        RunError: networks run on another framework, which cannot be limited.
    """
    if not count:
        return
    if (backend := keras.backend.backend()) != "tensorflow":
        raise RunError(
            f"threads={count}: {backend} takes one for each core that the process may use; taskset limits these"
        )
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(count)
    tf.config.threading.set_inter_op_parallelism_threads(count)
