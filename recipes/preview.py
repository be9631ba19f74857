"""Before a run: what it will be, what it will cost, and how fast it may learn. Nothing of a run is written.

zoo train NAME --run DIR --dry-run       the plan, a few real steps measured, the first batch as a picture
zoo train NAME --run DIR --find-rate     the loss while the rate grows from step to step
"""

from __future__ import annotations

import csv
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from safetensors import safe_open

from recipes import plots, train
from recipes.detection.task import Task as Regions
from recipes.recipe import Recipe
from zoo.files import check_writable, replacing

PICTURE, RATES = "first_batch.png", "rates.png"
SHOWN = 24  # samples on the picture
MEASURED, LONGEST = 16, 60.0  # steps that are timed at most, and seconds from which no further one is
AHEAD = 1 << 20  # a step that no run comes to, so that the samples of those measured are made for them


# ---------------------------------------------------------------- the plan


def preview(recipe: Recipe, run: Path | None, picture: Path, data: Path | None = None, devices: Sequence[str] = ()):
    """Yields the lines of the plan of a run, as they are known; the picture is written on the way.

    Args:
        recipe: what would be trained.
        run: the folder it would be in, which may hold its checkpoint.
        picture: PNG file, to be written.
        data: folder of the real data sets.
        devices: see `train.train`.
    """
    check_writable(picture)
    parts = train.assemble(recipe, data, devices)
    yield train.plan(recipe, parts.network, parts.step.replicas)
    done = _done(run)
    if done:
        yield f"steps      {done} of {recipe.steps} are done in {run}"
    yield from (f"data       {line}" for line in counts(parts.task))
    show(parts.task, picture)
    yield f"batch      {picture}"
    weights, slots = (_megabytes(variables) for variables in (parts.network.variables, parts.optimizer.variables))
    first, each = measure(parts.step, parts.task)
    yield f"memory     {weights} of weights, {slots} of the optimizer; {_bytes(parts.step.peak())} at most so far"
    left = recipe.steps - done
    yield f"time       first step {_duration(first)}, then {each:.3g} s each: {recipe.batch / each:.3g} samples/s"
    yield f"           {_duration(each * left)} for {left} steps, without validations"


def _done(run: Path | None) -> int:
    """Steps that a run's checkpoint has behind it."""
    path = run / train.CHECKPOINT if run else None
    if not path or not path.is_file():
        return 0
    with safe_open(path, "numpy") as file:
        return int(file.metadata()["step"])


def counts(task: Any) -> list[str]:
    """What a task takes its samples from: of real data sets, how many are learnt from and held out."""
    lines = []
    for kind, learnt, held in (("real", "real", "held"), ("replayed", "kept", "held_kept")):
        for name, members in getattr(task, learnt, {}).items():
            out = len(getattr(task, held, {}).get(name, ()))
            lines.append(f"{name}, {kind}: {len(members)} to learn from, {out} held out")
    made = [source for source in task.sources if source.startswith("synthetic")]
    return [*(f"{source}, as many as there are steps for" for source in made), *lines]


def measure(step: Any, task: Any) -> tuple[float, float]:
    """Seconds of the first step, with all that is traced or compiled in it, and of each after, batches included."""
    start = time.monotonic()
    next(step.losses(task, 0, 1))
    first, start = time.monotonic() - start, time.monotonic()
    count, seconds = 0, 0.0
    for _ in step.losses(task, AHEAD, AHEAD + MEASURED):
        count, seconds = count + 1, time.monotonic() - start
        if seconds > LONGEST:
            break
    return first, seconds / count


def _megabytes(variables: Sequence) -> str:
    sizes = (int(np.prod(v.shape)) * np.dtype(keras.backend.standardize_dtype(v.dtype)).itemsize for v in variables)
    return _bytes(sum(sizes))


def _bytes(count: float) -> str:
    return f"{count / 1e6:.1f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, hours = seconds / 60, seconds / 3600
    return f"{minutes:.0f} min" if hours < 2 else f"{hours:.1f} h" if hours < 72 else f"{hours / 24:.1f} days"


# ---------------------------------------------------------------- the first batch


def show(task: Any, path: Path) -> None:
    """Writes the first samples of a run as a picture, each with what is to be learnt from it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while hasattr(task, "task"):  # a pupil's is wrapped
        task = task.task
    if isinstance(task, Regions):
        samples = [task.sample(index) for index in range(min(8, task.recipe.batch))]
        plots.regions(
            [(page.image, page.polygons[page.ignore], page.polygons[~page.ignore]) for page in samples], path, 4
        )
        return
    pixels, targets = task.batch(0)
    classes = targets.get("class")
    if classes is not None and classes.ndim == 3:
        plots.segments([(image, truth, truth) for image, truth in zip(pixels[:4], classes, strict=False)], path)
        return
    texts = captions(task, targets) or [""] * len(pixels)
    plots.words([(image, text, text) for image, text in zip(pixels[:SHOWN], texts, strict=False)], path, columns=4)


def captions(task: Any, targets: dict[str, np.ndarray]) -> list[str]:
    """What stands in the pictures of a batch, where its targets are a text or a class of each."""
    if "ids" in targets:
        rows = zip(targets["ids"], targets["length"], strict=True)
        return [task.charset.text(ids[:length]) for ids, length in rows]
    return [task.names[label] for label in targets.get("class", ())]


# ---------------------------------------------------------------- the rate


def find_rate(
    recipe: Recipe,
    picture: Path,
    data: Path | None = None,
    devices: Sequence[str] = (),
    *,
    steps: int = 100,
    lowest: float = 1e-6,
    highest: float = 1.0,
) -> float:
    """A peak rate for a recipe, by a range test: Smith 2017, https://arxiv.org/abs/1506.01186, section 3.3.

    From step to step the rate grows by the same factor; the test ends when the smoothed loss is four times its least.
    The curve is written as a picture and, beside it, as a CSV file.
    """
    check_writable(picture)
    growing = keras.optimizers.schedules.ExponentialDecay(lowest, steps, highest / lowest)
    parts = train.assemble(recipe, data, devices, growing)
    rates, losses = [], []
    shown = keras.utils.Progbar(steps, verbose=1 if sys.stderr.isatty() else 0)
    for index, loss in enumerate(parts.step.losses(parts.task, 0, steps)):
        rates.append(float(growing(index)))
        losses.append(loss)
        shown.update(index + 1, [("loss", loss)])
        if not math.isfinite(loss) or smoothed(losses)[-1] > 4 * min(smoothed(losses)):
            break
    best = suggested(rates, losses)
    _write(rates, losses, best, picture)
    return best


def smoothed(losses: Sequence[float], momentum: float = 0.9) -> list[float]:
    """The running average of losses, each weighted `momentum` times as much as the next; its start is not biased."""
    total = weight = 0.0
    result = []
    for loss in losses:
        total, weight = momentum * total + loss, momentum * weight + 1
        result.append(total / weight)
    return result


def suggested(rates: Sequence[float], losses: Sequence[float]) -> float:
    """The rate at which the smoothed loss has done half of its fall, but no more than a tenth of that of its least.

    The first is where learning is fastest, the second is well below where it becomes unstable. A flat bottom, as CTC's
    where a network gives nothing but blanks, moves only the second.

    Raises:
        train.RunError: the loss never fell.
    """
    smooth = smoothed([loss for loss in losses if math.isfinite(loss)])
    start, least = float(np.median(smooth[:10] or [0.0])), int(np.argmin(smooth or [0.0]))
    if not least:
        raise train.RunError("the loss did not fall at any rate: look at the first batch (--dry-run) and the start")
    half = next(index for index, loss in enumerate(smooth) if index and loss <= (start + smooth[least]) / 2)
    return min(rates[half], rates[least] / 10)


def _write(rates: Sequence[float], losses: Sequence[float], best: float, picture: Path) -> None:
    picture.parent.mkdir(parents=True, exist_ok=True)
    rows = list(zip(rates, losses, smoothed(losses), strict=True))
    with replacing(picture.with_suffix(".csv")) as temporary, Path(temporary).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("rate", "loss", "smoothed"), *rows])
    plots.rates(rows, best, picture)
