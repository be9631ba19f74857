"""Rows of several requests in one run of the graph, by TensorFlow Serving's parameters.

    requests ─► open batch of their signature, outputs and shapes ─► closed: full, or old ─► one run ─► rows apart

It differs from TensorFlow Serving where that lets a request suffer for others: requests whose shapes do not fit are not
put together, and where a batch fails it is run again in halves, so that a bad row fails alone.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from serving.servable import Code, StatusError

if TYPE_CHECKING:
    from serving.metrics import Metrics
    from serving.servable import Servable

log = logging.getLogger(__name__)

FULL = "The batch scheduling queue to which this task was submitted is full"
TIMED_OUT = "Run() timeout exceeded while waiting in batching queue"


@dataclass
class Parameters:
    """How rows are put together; the defaults are TensorFlow Serving's.

    Attributes:
        max_batch_size: rows of a batch.
        timeout: seconds that a batch waits for more rows.
        max_enqueued: batches of one queue that may wait; a request beyond them is refused.
        threads: batches that run at the same time.
        name: of the threads, in the metrics.
        allowed_sizes: a batch is padded to the next of these.
        pad: shorter rows are filled up to the longest, with their first element.
        split: a request with more rows than a batch takes is run in parts.
    """

    max_batch_size: int = 1000
    timeout: float = 0.0
    max_enqueued: int = 10
    threads: int = field(default_factory=lambda: os.cpu_count() or 1)
    name: str = "batch_threads"
    allowed_sizes: tuple[int, ...] = ()
    pad: bool = False
    split: bool = False

    @classmethod
    def of(cls, message: Any) -> Parameters:
        """The parameters of a wire.BatchingParameters.

        Raises:
            ValueError: they contradict each other.
        """
        given: dict[str, Any] = {
            "max_batch_size": "max_batch_size", "max_enqueued": "max_enqueued_batches", "threads": "num_batch_threads",
            "name": "thread_pool_name",
        }  # fmt: skip
        chosen = {key: getattr(message, name).value for key, name in given.items() if message.HasField(name)}
        if message.HasField("batch_timeout_micros"):
            chosen["timeout"] = message.batch_timeout_micros.value / 1e6
        sizes = tuple(message.allowed_batch_sizes)
        made = cls(
            **chosen,
            allowed_sizes=sizes,
            pad=message.pad_variable_length_inputs,
            split=message.enable_large_batch_splitting.value,
        )
        if made.split and message.HasField("max_execution_batch_size"):
            made.max_batch_size = message.max_execution_batch_size.value
        made.check()
        return made

    def check(self) -> None:
        """Passes if the parameters can be met.

        Raises:
            ValueError: they cannot.
        """
        if self.allowed_sizes and self.allowed_sizes[-1] != self.max_batch_size:
            text = "Last entry in allowed_batch_sizes must match max_batch_size; last entry was "
            raise ValueError(f"{text}{self.allowed_sizes[-1]}; expected {self.max_batch_size}")
        if list(self.allowed_sizes) != sorted(set(self.allowed_sizes)):
            raise ValueError(f"allowed_batch_sizes must grow; they are {list(self.allowed_sizes)}")
        if min(self.max_batch_size, self.max_enqueued, self.threads) < 1 or self.timeout < 0:
            raise ValueError("sizes and numbers of threads of batching begin at 1, its timeout at 0")

    def padded(self, rows: int) -> int:
        """Rows of the next allowed size."""
        return next((size for size in self.allowed_sizes if size >= rows), rows) if rows else 0


@dataclass(eq=False)
class _Task:
    feeds: Mapping[Any, np.ndarray]
    rows: int
    deadline: float | None
    enqueued: float
    done: threading.Event = field(default_factory=threading.Event)
    arrays: list[np.ndarray] = field(default_factory=list)
    error: Exception | None = None

    def finish(self, arrays: list[np.ndarray], error: Exception | None = None) -> None:
        self.arrays, self.error = arrays, error
        self.done.set()


@dataclass(eq=False)
class _Batch:
    servable: Servable
    key: tuple
    fetches: list[Any]
    opened: float
    tasks: list[_Task] = field(default_factory=list)
    closed: bool = False

    @property
    def rows(self) -> int:
        return sum(task.rows for task in self.tasks)


class Batcher:
    """Runs of servables, those of the same kind together; all models may share one.

    Args:
        parameters: see there.
        metrics: where batches are counted.
    """

    def __init__(self, parameters: Parameters, metrics: Metrics | None = None):
        self.parameters = parameters
        self._metrics = metrics
        self._changed = threading.Condition()
        self._open: dict[tuple, _Batch] = {}
        self._waiting: deque[_Batch] = deque()  # open and closed ones, the oldest first
        self._ended = False
        self._running = 0  # threads; they begin with the first request

    def run(
        self,
        servable: Servable,
        names: Sequence[str],
        feeds: Mapping[Any, np.ndarray],
        fetches: list[Any],
        seconds: float | None,
    ) -> list[np.ndarray]:
        """What `Servable.run` would give for a request, its rows in a batch with those of others.

        Args:
            names: of the signature and the outputs; requests with the same may share a batch.

        Raises:
            StatusError, tf.errors.OpError: the request's own failure.
        """
        now = time.monotonic()
        rows = _rows(list(feeds.values()))
        deadline = None if seconds is None else now + seconds
        if rows > self.parameters.max_batch_size:
            return self._run_large(servable, names, feeds, fetches, seconds, rows)
        task = _Task(feeds, rows, deadline, now)
        key = (id(servable), *names, *(self._kind(array) for array in feeds.values()))
        with self._changed:
            self._add(task, servable, key, fetches)
        task.done.wait()
        if task.error:
            raise task.error
        return task.arrays

    def close(self) -> None:
        """Ends the threads once what waits has been run; a request that comes still begins them anew."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _kind(self, array: np.ndarray) -> tuple:
        return (array.dtype.str, array.ndim if self.parameters.pad else array.shape[1:])

    def _run_large(
        self, servable: Servable, names: Sequence[str], feeds: Mapping[Any, np.ndarray], fetches: list[Any],
        seconds: float | None, rows: int,
    ) -> list[np.ndarray]:  # fmt: skip
        most = self.parameters.max_batch_size
        if not self.parameters.split:
            text = f"Task size {rows} is larger than maximum input batch size {most}"
            raise StatusError(Code.INVALID_ARGUMENT, text)
        parts = [
            self.run(servable, names, {key: a[start : start + most] for key, a in feeds.items()}, fetches, seconds)
            for start in range(0, rows, most)
        ]
        return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]

    def _add(self, task: _Task, servable: Servable, key: tuple, fetches: list[Any]) -> None:
        self._ended = False
        while self._running < self.parameters.threads:
            name = f"{self.parameters.name}-{self._running}"
            threading.Thread(target=self._work, name=name, daemon=True).start()
            self._running += 1
        batch = self._open.get(key)
        if batch and batch.rows + task.rows > self.parameters.max_batch_size:
            batch.closed, batch = True, None
        if batch is None:
            if sum(other.key == key for other in self._waiting) >= self.parameters.max_enqueued:
                raise StatusError(Code.UNAVAILABLE, FULL)
            batch = self._open[key] = _Batch(servable, key, fetches, task.enqueued)
            self._waiting.append(batch)
        batch.tasks.append(task)
        batch.closed = batch.rows >= self.parameters.max_batch_size
        self._changed.notify()

    def _work(self) -> None:
        while batch := self._next():
            try:
                self._process(batch)
            except Exception as error:  # nobody must wait for an answer that does not come
                log.exception("a batch failed")
                for task in batch.tasks:
                    if not task.done.is_set():
                        task.finish([], error)
            del batch  # while nothing else comes, it would keep a version that has been dropped

    def _next(self) -> _Batch | None:
        """The oldest batch that is full or has waited long enough; None at the end."""
        with self._changed:
            while True:
                now = time.monotonic()
                for batch in self._waiting:
                    if batch.closed or self._ended or now >= batch.opened + self.parameters.timeout:
                        self._waiting.remove(batch)
                        if self._open.get(batch.key) is batch:
                            del self._open[batch.key]
                        return batch
                if self._ended:
                    self._running -= 1
                    return None
                oldest = min((batch.opened for batch in self._waiting), default=None)
                self._changed.wait(None if oldest is None else oldest + self.parameters.timeout - now)

    def _process(self, batch: _Batch) -> None:
        now = time.monotonic()
        alive = []
        for task in batch.tasks:
            if self._metrics:
                self._metrics.queued.add(self.parameters.name, value=(now - task.enqueued) * 1e6)
            if task.deadline is not None and task.deadline <= now:
                task.finish([], StatusError(Code.RESOURCE_EXHAUSTED, TIMED_OUT))
            else:
                alive.append(task)
        if alive:
            self._run_tasks(batch, alive)

    def _run_tasks(self, batch: _Batch, tasks: list[_Task]) -> None:
        """Finishes the tasks; where their run fails, those of either half on their own."""
        try:
            parts = self._together(batch, tasks)
        except (StatusError, tf.errors.OpError, ValueError, MemoryError) as error:
            expired = isinstance(error, tf.errors.DeadlineExceededError)
            if len(tasks) == 1 or expired:  # the time of all is over
                for task in tasks:
                    task.finish([], error)
                return
            middle = len(tasks) // 2
            self._run_tasks(batch, tasks[:middle])
            self._run_tasks(batch, tasks[middle:])
        else:
            for task, arrays in zip(tasks, parts, strict=True):
                task.finish(arrays)

    def _together(self, batch: _Batch, tasks: list[_Task]) -> list[list[np.ndarray]]:
        """The outputs of each task, from one run."""
        rows = sum(task.rows for task in tasks)
        padded = self.parameters.padded(rows)
        feeds = {
            key: _joined([task.feeds[key] for task in tasks], padded, self.parameters.pad) for key in tasks[0].feeds
        }
        deadlines = [task.deadline for task in tasks]
        latest = None if None in deadlines else max(deadline for deadline in deadlines if deadline is not None)
        if self._metrics:
            self._metrics.runs.add()
            self._metrics.batch.add(batch.servable.name, batch.key[1], value=rows)
        seconds = None if latest is None else max(0.001, latest - time.monotonic())
        arrays = batch.servable.run(feeds, batch.fetches, seconds)
        for array in arrays:
            if not np.ndim(array):
                raise StatusError(Code.FAILED_PRECONDITION, "Batched output tensor has 0 dimensions")
            if len(array) != padded:
                text = "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the "
                raise StatusError(Code.FAILED_PRECONDITION, text + "input tensors")
        ends = np.cumsum([task.rows for task in tasks])
        return [
            [array[end - task.rows : end] for array in arrays] for task, end in zip(tasks, ends.tolist(), strict=True)
        ]


def _rows(arrays: Sequence[np.ndarray]) -> int:
    """The rows that all arrays have."""
    if any(not array.ndim for array in arrays):
        text = "Batching Run() input tensors must have at least one dimension"
        raise StatusError(Code.INVALID_ARGUMENT, text)
    sizes = {len(array) for array in arrays}
    if len(sizes) != 1:
        text = "Batching Run() input tensors must have equal 0th-dimension size"
        raise StatusError(Code.INVALID_ARGUMENT, text)
    return sizes.pop()


def _joined(arrays: list[np.ndarray], rows: int, pad: bool) -> np.ndarray:
    """The arrays one after the other, filled up with the first row of the last one."""
    if pad:
        longest = np.max([array.shape for array in arrays], 0)
        arrays = [_filled(array, longest[1:]) for array in arrays]
    missing = rows - sum(map(len, arrays))
    if missing and len(arrays[-1]):
        arrays = [*arrays, np.repeat(arrays[-1][:1], missing, 0)]
    return np.concatenate(arrays) if len(arrays) > 1 else arrays[0]


def _filled(array: np.ndarray, sides: Sequence[int]) -> np.ndarray:
    """The array grown at the ends of its further axes, with its own first element."""
    if tuple(array.shape[1:]) == tuple(sides) or not array.size:
        return array
    grown = np.full((len(array), *sides), array.flat[0], array.dtype)
    grown[tuple(slice(side) for side in array.shape)] = array
    return grown
