"""grpc.health.v1: whether the server and each model answer, asked once (Check) or as long as one likes (Watch).

    ""  PredictionService  ModelService      the server, as TensorFlow Serving names itself
    models/NAME                              a model: SERVING while one of its versions answers

A watcher hears the state as it is, and then each change; one of an unknown name hears SERVICE_UNKNOWN, and goes on
listening, since the model may come. It holds no thread: changes are sent by whoever makes them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from serving import wire
from serving.servable import Code, StatusError

SERVICES = {"", "PredictionService", "ModelService"}
SERVING, NOT_SERVING, UNKNOWN = 1, 2, 3

Send = Callable[[Any], None]  # of an answer; None ends the call


@dataclass(eq=False)
class _Watcher:
    service: str
    said: int  # the last state that was sent


class Health:
    """What is known of health, and who wants to hear of it.

    Args:
        available: gives the versions of each model that answer.
    """

    def __init__(self, available: Callable[[], dict[str, list[int]]]):
        self._available = available
        self._watchers: dict[Send, _Watcher] = {}
        self._sending = threading.Lock()
        self._stopped = False

    def status(self, service: str) -> int:
        """SERVING, NOT_SERVING or UNKNOWN."""
        models = {f"models/{name}": versions for name, versions in self._available().items()}
        if service not in SERVICES and service not in models:
            return UNKNOWN
        return NOT_SERVING if self._stopped or not models.get(service, True) else SERVING

    def check(self, request: Any, seconds: float | None = None, entry: str = "GRPC") -> Any:
        """The state, as a response.

        Raises:
            StatusError: there is no such service.
        """
        status = self.status(request.service)
        if status == UNKNOWN:
            raise StatusError(Code.NOT_FOUND, f"unknown service {request.service}")
        return wire.HealthCheckResponse(status=status)

    def watch(self, request: Any, context: Any, send: Send) -> None:
        """Sends the state, and from now on each change of it."""
        with self._sending:
            watcher = self._watchers[send] = _Watcher(request.service, self.status(request.service))
            # It takes no lock: gRPC calls it in the thread that carries out what is sent.
            if not context.add_callback(lambda: self._watchers.pop(send, None)):
                self._watchers.pop(send, None)  # it is over already
                return
            send(wire.HealthCheckResponse(status=watcher.said))
            if self._stopped:
                send(None)

    watch.experimental_non_blocking = True  # type: ignore[attr-defined]  # gRPC gives it `send`, and its thread back

    def changed(self) -> None:
        """Tells those whose state is another now."""
        with self._sending:
            for send, watcher in list(self._watchers.items()):
                if (status := self.status(watcher.service)) != watcher.said:
                    watcher.said = status
                    send(wire.HealthCheckResponse(status=status))

    def start(self) -> None:
        self._stopped = False

    def stop(self) -> None:
        """Says that nothing is served any more, and ends what is watched, which would hold up the server's end."""
        self._stopped = True
        self.changed()
        with self._sending:
            for send in list(self._watchers):
                send(None)
            self._watchers.clear()
