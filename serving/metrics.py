"""Counts and times of a server, as a page that Prometheus reads.

The names, labels and buckets are those of TensorFlow Serving, so that its dashboards work; what it lacks has names of
its own that begin with `:ocrzoo:`.

    :tensorflow:serving:request_count{model_name="toy",status="OK"} 3
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

MICROSECONDS = tuple(10 * 1.8**i for i in range(33))  # up to 20 minutes
POWERS = tuple(float(2**i) for i in range(15))  # of numbers of rows


def _quoted(labels: Sequence[str], values: Sequence[str]) -> str:
    pairs = zip(labels, values, strict=True)
    return ",".join(f'{label}="{_escaped(value)}"' for label, value in pairs)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


class Counter:
    """A number that grows, one for each combination of its labels' values."""

    kind = "counter"

    def __init__(self, name: str, *labels: str):
        self.name, self.labels = name, labels
        self._lock = threading.Lock()
        self._values: dict[tuple[str, ...], int] = {}

    def add(self, *values: str, by: int = 1) -> None:
        with self._lock:
            self._values[values] = self._values.get(values, 0) + by

    def __getitem__(self, values: tuple[str, ...]) -> int:
        return self._values.get(values, 0)

    def lines(self) -> list[str]:
        with self._lock:
            points = sorted(self._values.items())
        return [f"{self.name}{{{_quoted(self.labels, values)}}} {number}" for values, number in points]


class Gauge(Counter):
    """A number that goes up and down."""

    kind = "gauge"

    def set(self, *values: str, to: int) -> None:
        with self._lock:
            self._values[values] = to

    def clear(self) -> None:
        with self._lock:
            self._values.clear()


class Histogram:
    """How often values fell below each of the limits, for each combination of its labels' values."""

    kind = "histogram"

    def __init__(self, name: str, *labels: str, limits: Sequence[float] = MICROSECONDS):
        self.name, self.labels, self.limits = name, labels, limits
        self._lock = threading.Lock()
        self._points: dict[tuple[str, ...], tuple[list[int], float]] = {}

    def add(self, *values: str, value: float) -> None:
        with self._lock:
            counts, total = self._points.get(values, ([0] * (len(self.limits) + 1), 0.0))
            counts[bisect_left(self.limits, value)] += 1
            self._points[values] = counts, total + value

    def lines(self) -> list[str]:
        with self._lock:
            points = [(values, list(counts), total) for values, (counts, total) in sorted(self._points.items())]
        limits = [f"{limit:g}" for limit in self.limits] + ["+Inf"]
        lines = []
        for values, counts, total in points:
            labels = _quoted(self.labels, values)
            comma = "," if labels else ""
            sums = list(accumulate(counts))
            buckets = zip(limits, sums, strict=True)
            lines += [f'{self.name}_bucket{{{labels}{comma}le="{limit}"}} {count}' for limit, count in buckets]
            lines += [f"{self.name}_sum{{{labels}}} {total!r}", f"{self.name}_count{{{labels}}} {sums[-1]}"]
        return lines


class Metrics:
    """All that a server counts.

    Attributes:
        requests: answered and refused ones, by the name of their status.
        latency: microseconds of a whole request; only those that were answered.
        runtime: microseconds in TensorFlow.
        examples, examples_total: of Classify, Regress and MultiInference.
        warm_up: microseconds of a version's warm-up.
        queued: microseconds that a request waited for its batch.
        runs: of batches.
        batch: rows of a batch before padding.
        by_signature, signature_latency: as `requests` and `latency`, by version and signature.
        available: versions that answer.
        in_flight: requests that are being answered.
        memory: bytes that these need, as far as is told beforehand.
    """

    def __init__(self) -> None:
        serving, own = ":tensorflow:serving:", ":ocrzoo:serving:"
        self.requests = Counter(f"{serving}request_count", "model_name", "status")
        self.latency = Histogram(f"{serving}request_latency", "model_name", "API", "entrypoint")
        self.runtime = Histogram(f"{serving}runtime_latency", "model_name", "API", "runtime")
        self.examples = Histogram(f"{serving}request_example_counts", "model", limits=POWERS)
        self.examples_total = Counter(f"{serving}request_example_count_total", "model")
        self.warm_up = Histogram(f"{serving}model_warmup_latency", "model_path", "status")
        self.queued = Histogram(f"{serving}batching_session:queuing_latency", "thread_pool_name")
        self.runs = Counter(f"{serving}batching_session:wrapped_run_count")
        self.batch = Histogram(f"{own}batch_rows", "model_name", "signature_name", limits=POWERS)
        named = ("model_name", "version", "signature_name")
        self.by_signature = Counter(f"{own}signature_request_count", *named, "status")
        self.signature_latency = Histogram(f"{own}signature_latency", *named)
        self.available = Gauge(f"{own}available_version", "model_name", "version")
        self.in_flight = Gauge(f"{own}requests_in_flight")
        self.memory = Gauge(f"{own}request_memory_bytes")

    def page(self) -> str:
        """The page in Prometheus' text form."""
        lines = []
        for metric in vars(self).values():
            lines += [f"# TYPE {metric.name} {metric.kind}", *metric.lines()]
        return "\n".join(lines) + "\n"
