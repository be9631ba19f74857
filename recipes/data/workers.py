"""Batches made in processes of their own: in one process Python draws a single sample at a time, on however many cores.

A task's batch depends on its recipe, its data and the number of the step, so that a process that is told these makes
what this one would. What is made ahead is handed over when its step comes. Some tasks draw samples for several steps
together: these steps are one process's.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import threading
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from recipes.data.pipeline import Batch
from recipes.recipe import Recipe
from zoo.registry import Card

AHEAD = 2  # groups of steps that each process has made or is to make

_task: Any = None  # of this process, where it is one that makes batches


class WorkerError(RuntimeError):
    """A process that makes batches is gone; the message says what would do."""


class Workers:
    """Makes the batches of a task in several processes.

    Args:
        recipe, card, data: what `recipes.train.make_task` takes.
        count: of processes; each holds the real data of the recipe.
        grouped: steps whose samples the task draws together.
    """

    def __init__(self, recipe: Recipe, card: Card, data: Path | None, count: int, grouped: int = 1):
        # "spawn": a process forked from one that runs TensorFlow would wait for its threads for ever.
        context = multiprocessing.get_context("spawn")
        self._pools = [ProcessPoolExecutor(1, context, _begin, (recipe, card, data)) for _ in range(count)]
        self._grouped, self._ahead = grouped, AHEAD * count * grouped
        self._made: dict[int, Future[Batch]] = {}
        self._begun = 0  # the first step that none was asked to make
        self._lock = threading.Lock()

    def batch(self, step: int) -> Batch:
        """The batch of a step; those of the next ones are begun.

        Raises:
            WorkerError: a process was killed.
        """
        try:
            with self._lock:
                # Two threads ask out of turn: what was handed over already is not made once more.
                again = [] if step in self._made or step >= self._begun else [step]
                for number in (*again, *range(max(step, self._begun), step + self._ahead)):
                    pool = self._pools[number // self._grouped % len(self._pools)]
                    self._made[number] = pool.submit(_batch, number)
                self._begun = max(self._begun, step + self._ahead)
                for number in [number for number in self._made if number < step - self._ahead]:
                    del self._made[number]  # asked for out of turn, and not again
                made = self._made.pop(step)
            return made.result()
        except BrokenProcessPool as error:
            raise WorkerError(
                f"one of {len(self._pools)} processes that make batches is gone, killed for want of memory perhaps: "
                "give fewer --workers; the same command goes on from the last checkpoint"
            ) from error

    def close(self) -> None:
        """Ends the processes."""
        for pool in self._pools:
            pool.shutdown(wait=True, cancel_futures=True)


def _begin(recipe: Recipe, card: Card, data: Path | None) -> None:
    global _task
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the process that trains is asked, and ends these
    threading.Thread(target=_follow, daemon=True).start()
    _task = importlib.import_module(recipe.task).make(recipe, card, data)


def _follow() -> None:
    """Ends this process with the one that trains, which may have been killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _batch(step: int) -> Batch:
    return _task.batch(step)
