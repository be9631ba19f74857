"""Batches from other processes: the same, made without a framework; an error in words where a process is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

import zoo
from recipes import recipe, train
from recipes.data.workers import WorkerError, Workers

RECOGNIZER = replace(recipe.find("recognition.crnn_mobilenet_v3_small"), real=(), batch=6, easy=0)


def made(how: recipe.Recipe, count: int) -> Workers:
    return Workers(how, zoo.card(how.model), None, count)


SCRIPT = """
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

import zoo
from recipes import recipe
from recipes.data.workers import Workers

if __name__ == "__main__":  # a worker runs the lines above
    from recipes import train

    how = replace(recipe.find("recognition.crnn_mobilenet_v3_small"), real=(), batch=6, easy=0)
    card = zoo.card(how.model)
    ours = train.make_task(how, card, None)
    workers = Workers(how, card, None, 2, ours.grouped)
    for step in (0, 1, 2, 3 * ours.grouped, 3, 3, 4, ours.grouped):
        (pixels, targets), (expected, wanted) = workers.batch(step), ours.batch(step)
        assert (pixels == expected).all() and targets.keys() == wanted.keys(), step
        assert all((targets[name] == values).all() for name, values in wanted.items()), step
    loaded = workers._pools[0].submit(eval, "{'keras', 'tensorflow', 'jax'} & set(__import__('sys').modules)").result()
    assert not loaded, loaded
    workers.close()

    how = recipe.find("classification.lenet5")
    how = replace(how, batch=8, steps=4, warmup=1, checkpoint_every=2, validate_every=4, validation=4)
    for name, count in (("alone", 0), ("helped", 2)):
        train.train(how, Path(sys.argv[1]) / name, workers=count, verbose=False)
"""


def test_batches_and_losses_are_those_of_this_process(tmp_path):
    """In a process of its own, whose workers see the fonts that it sees: those of these tests are patched in."""
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py", tmp_path], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [(tmp_path / name / train.LOG).read_text().splitlines() for name in ("alone", "helped")]
    losses = [[row.split(",")[1] for row in lines] for lines in rows]
    assert losses[0] == losses[1] and len(losses[0]) == 3


def test_what_was_handed_over_is_not_made_once_more():
    """Two threads take steps, so that one may be asked for before the one before it."""
    workers = made(RECOGNIZER, 1)
    try:
        for step in (1, 0, 2):
            workers.batch(step)
        assert sorted(workers._made) == list(range(3, 2 + workers._ahead))
        workers.batch(1)  # asked for again, it is made again
        assert sorted(workers._made) == list(range(3, 2 + workers._ahead))
    finally:
        workers.close()


def test_a_process_that_was_killed_is_told():
    workers = made(RECOGNIZER, 1)
    try:
        workers.batch(0)
        for number in workers._pools[0]._processes:
            os.kill(number, signal.SIGKILL)
        with pytest.raises(WorkerError, match="one of 1 processes that make batches is gone.*fewer --workers"):
            for step in range(1, 1000):
                workers.batch(step)
                time.sleep(0.01)
    finally:
        workers.close()


LEFT = """
import os
import signal
import sys
from dataclasses import replace

import zoo
from recipes import recipe
from recipes.data.workers import Workers

if __name__ == "__main__":
    how = replace(recipe.find("classification.lenet5"), batch=2)
    workers = Workers(how, zoo.card(how.model), None, 1)
    workers.batch(0)
    (number,) = workers._pools[0]._processes
    os.kill(number, signal.SIGTERM)  # as whoever stops a service asks all of its processes
    workers.batch(100)
    print(number, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_processes_outlive_a_wish_to_stop_and_not_the_one_that_trains(tmp_path):
    (tmp_path / "script.py").write_text(LEFT)
    done = subprocess.run([sys.executable, tmp_path / "script.py"], capture_output=True, text=True, timeout=300)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    number = int(done.stdout)
    for _ in range(100):
        try:
            os.kill(number, 0)
        except ProcessLookupError:
            break
        time.sleep(0.1)
    else:
        os.kill(number, signal.SIGKILL)
        pytest.fail("a process that makes batches was left behind")


def test_batches_that_depend_on_what_was_learnt_are_made_here():
    how = replace(recipe.find("spotting.ocrnet_mobilenet_v3_large"), real=(), size=(64, 64), batch=1)
    with pytest.raises(train.RunError, match="workers=2: batches of recipes.spotting.task depend on what was learnt"):
        train.assemble(how, workers=2)
