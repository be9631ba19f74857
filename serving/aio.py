"""The client of `serving.client` for asyncio: the same names, arguments and errors.

async with AsyncClient("localhost:8500") as client:
    logits = await client.predict("db_mobilenet_v3_large", images, signature="pixels")
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any

import grpc
import numpy as np

from serving import bulk, client, wire
from serving.client import OPTIONS, RETRIED, SIGNATURE, Overloaded, ServingError, Signature, VersionStatus


class AsyncClient:
    """A connection to a server, for one event loop; also an asynchronous context manager that closes it.

    Args:
        address, timeout, retries, credentials, options, check: as `serving.client.Client` takes them.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout: float = 60.0,
        retries: int = 4,
        credentials: grpc.ChannelCredentials | None = None,
        options: Iterable[tuple[str, Any]] = (),
        check: bool = False,
    ):
        self.address, self.timeout, self.retries, self.check = address, timeout, retries, check
        arguments = [*OPTIONS, *options]
        if credentials is None:
            self._channel = grpc.aio.insecure_channel(address, arguments)
        else:
            self._channel = grpc.aio.secure_channel(address, credentials, arguments)
        self._calls = client.stubs(self._channel)
        self._known: dict[tuple[str, int | str | None], dict[str, Signature]] = {}

    async def predict(
        self,
        model: str,
        inputs: Any,
        *,
        signature: str = SIGNATURE,
        version: int | str | None = None,
        outputs: Iterable[str] = (),
        timeout: float | None = None,
        overloaded: Callable[[], object] | None = None,
    ) -> dict[str, np.ndarray]:
        """As `serving.client.Client.predict`."""
        timeout = self.timeout if timeout is None else timeout
        deadline, wanted = time.monotonic() + timeout, list(outputs)

        async def ask(given: Mapping[str, Any]) -> dict[str, np.ndarray]:
            request = client.predict_request(model, given, signature, version, wanted)
            response = await self._call(wire.PREDICT, request, deadline - time.monotonic(), overloaded)
            return client.decoded(self.address, model, response)

        def fit(known: Signature) -> Mapping[str, Any]:
            return client.named(model, signature, known, inputs, self.check)

        if isinstance(inputs, Mapping) and not self.check:
            return await ask(inputs)
        known = await self._signature(model, signature, version, timeout)
        try:
            return await ask(fit(known))
        except client.InvalidRequest:
            fresh = await self._signature(model, signature, version, deadline - time.monotonic(), fresh=True)
            if fresh == known:
                raise
        return await ask(fit(fresh))  # another version is served by now

    async def _signature(
        self, model: str, signature: str, version: int | str | None, timeout: float, fresh: bool = False
    ) -> Signature:
        known = self._known.get((model, version), {})
        if fresh or signature not in known:  # perhaps another version is served by now
            known = self._known[model, version] = await self.metadata(model, version=version, timeout=timeout)
        return client.chosen(self.address, model, signature, known)

    async def metadata(
        self, model: str, *, version: int | str | None = None, timeout: float | None = None
    ) -> dict[str, Signature]:
        """As `serving.client.Client.metadata`."""
        return client.signatures_of(await self._call(wire.METADATA, client.metadata_request(model, version), timeout))

    async def status(
        self, model: str, *, version: int | None = None, timeout: float | None = None
    ) -> list[VersionStatus]:
        """As `serving.client.Client.status`."""
        return client.versions_of(await self._call(wire.STATUS, client.status_request(model, version), timeout))

    async def stream(
        self,
        pages: Iterable[Any],
        *,
        model: str = bulk.MODEL,
        signature: str = bulk.SIGNATURE,
        window: int = 16,
        timeout: float | None = None,
        convert: Callable[[int, Any, Mapping[str, np.ndarray]], bulk.Answer] = bulk.answer_of,
    ) -> AsyncIterator[bulk.Answer]:
        """Yields an answer for each page, in their order: as `serving.bulk.stream`."""
        state = bulk.Window(window)

        async def patiently(page: Any) -> dict[str, np.ndarray]:
            end = time.monotonic() + (self.timeout if timeout is None else timeout)
            while True:
                left = max(0.001, end - time.monotonic())
                try:
                    outputs = await self.predict(
                        model, [page], signature=signature, timeout=left, overloaded=state.overloaded
                    )
                except ServingError as failure:
                    if not state.patient(failure, end):
                        raise
                    await asyncio.sleep(bulk.PAUSE)
                else:
                    state.answered = True
                    return outputs

        async def ask(number: int, page: Any) -> bulk.Answer:
            try:
                return convert(number, page, await patiently(page))
            except (ServingError, OSError, ValueError) as error:
                return bulk.Answer(number, page, error=error)

        source = enumerate(pages)
        pending: list[asyncio.Task[bulk.Answer]] = []
        ended = False
        try:
            while True:
                while not ended and len(pending) < state.limit:
                    entry = next(source, None)
                    if ended := entry is None:
                        break
                    pending.append(asyncio.create_task(ask(*entry)))
                if not pending:
                    return
                answer = await pending.pop(0)
                if answer.error is None:
                    state.good()
                yield answer
        finally:
            for task in pending:
                task.cancel()

    async def _call(
        self, method: wire.Method, request: Any, timeout: float | None, overloaded: Callable[[], object] | None = None
    ) -> Any:
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        for attempt in range(self.retries + 1):
            try:
                return await self._calls[method](request, timeout=max(0.0, deadline - time.monotonic()))
            except grpc.RpcError as error:
                failure = client.failure_of(self.address, method, request, error)
            if overloaded and isinstance(failure, Overloaded):
                overloaded()
            pause = client.pause_after(attempt)
            if not isinstance(failure, RETRIED) or attempt == self.retries or time.monotonic() + pause >= deadline:
                raise failure
            await asyncio.sleep(pause)
        raise AssertionError("unreachable")

    async def close(self) -> None:
        await self._channel.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
