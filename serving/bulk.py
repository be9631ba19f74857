"""Any number of pages through a server: a bounded window of them at once, an answer or an error for each.

    with Client("localhost:8500") as client:
        for page in stream(client, Path("scans").iterdir()):
            print(page.error or page.text)

The window is the back-pressure: no more pages are taken than are in it, so that memory stays the same for ten pages or
ten million. It is halved when the server says that it has too much to do, and grows by one page for each round that
goes well. A server that has answered and then goes away, as when it starts anew, is waited for as long as a page may
take.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np

from serving.client import RETRIED, Client, DeadlineExceeded, Overloaded, ServingError

MODEL, SIGNATURE = "ocr", "read"  # of `zoo export ocr`
PAUSE = 0.2  # seconds before a server is asked again


@dataclass(frozen=True)
class Word:
    """A word: its text and score, and its polygon (4, 2) float32 in page pixels, from the text's top left."""

    text: str
    score: float
    polygon: np.ndarray


@dataclass(frozen=True)
class Answer:
    """What came of one page.

    Attributes:
        number: of the page, in the order in which it was taken, from 0.
        source: what was given.
        lines: of words, in reading order.
        size: height and width of the page in pixels.
        outputs: all that the model said.
        error: why there is no answer.
    """

    number: int
    source: Any
    lines: list[list[Word]] = field(default_factory=list)
    size: tuple[int, int] = (0, 0)
    outputs: Mapping[str, np.ndarray] = field(default_factory=dict)
    error: Exception | None = None

    @property
    def words(self) -> list[Word]:
        return [word for line in self.lines for word in line]

    @property
    def text(self) -> str:
        return "\n".join(" ".join(word.text for word in line) for line in self.lines)


def answer_of(number: int, source: Any, outputs: Mapping[str, np.ndarray]) -> Answer:
    """The answer to one page from the outputs of "read".

    Raises:
        ValueError: these are of another signature.
    """
    if missing := [name for name in ("counts", "lines", "texts", "scores", "polygons", "sizes") if name not in outputs]:
        text = (
            f"the model gives {', '.join(sorted(outputs))} and no {', '.join(missing)}; ask one that `zoo export ocr` "
        )
        raise ValueError(text + f"made, with the signature {SIGNATURE!r}")
    count = int(outputs["counts"][0])
    lines: list[list[Word]] = []
    last = -1
    for index in range(count):
        if (line := int(outputs["lines"][0, index])) != last:
            lines.append([])
            last = line
        text = outputs["texts"][0, index].decode("utf-8", "replace")
        lines[-1].append(Word(text, float(outputs["scores"][0, index]), outputs["polygons"][0, index]))
    height, width = outputs["sizes"][0].tolist()
    return Answer(number, source, lines, (height, width), outputs)


class Window:
    """How many pages may be under way: grows slowly, and is halved where there were too many.

    Args:
        most: pages.

    Attributes:
        answered: the server has answered a page, and no page has waited for it in vain since.
    """

    def __init__(self, most: int):
        if most < 1:
            raise ValueError(f"a window of {most} pages; give one at least")
        self.most = most
        self._limit = float(most)
        self._lock = threading.Lock()
        self._halved = 0.0
        self.answered = False

    @property
    def limit(self) -> int:
        return int(self._limit)

    def good(self) -> None:
        with self._lock:
            self._limit = min(self.most, self._limit + 1 / self._limit)

    def overloaded(self) -> None:
        """Halves the window, once for all pages that were refused at about the same time."""
        with self._lock:
            if time.monotonic() - self._halved > 0.1:
                self._limit, self._halved = max(1.0, self._limit / 2), time.monotonic()

    def patient(self, failure: Exception, end: float) -> bool:
        """Whether a page that may take until `end` is asked for again, after a pause."""
        if not isinstance(failure, RETRIED if self.answered else Overloaded):
            return False
        if time.monotonic() + PAUSE < end:
            return True
        self.answered = self.answered and isinstance(failure, Overloaded)  # the other pages do not wait as long
        return False


def stream(
    client: Client,
    pages: Iterable[Any],
    *,
    model: str = MODEL,
    signature: str = SIGNATURE,
    window: int = 16,
    ordered: bool = True,
    budget: float | None = None,
    timeout: float | None = None,
    convert: Callable[[int, Any, Mapping[str, np.ndarray]], Answer] = answer_of,
) -> Iterator[Answer]:
    """Yields an answer for each page.

    Args:
        client: to the server.
        pages: paths, bytes, or Pillow images.
        model, signature: that take encoded images.
        window: pages under way at most.
        ordered: in the order of the pages, or else as they are done.
        budget: seconds for all pages; what is under way is then still waited for.
        timeout: seconds for one page, instead of the client's own.
        convert: makes the answer of a page's number, the page, and the model's outputs.

    Raises:
        DeadlineExceeded: the budget is used up, and there may be further pages.
    """
    state = Window(window)
    deadline = None if budget is None else time.monotonic() + budget

    def ask(number: int, page: Any) -> Answer:
        try:
            outputs = _patiently(client, page, model, signature, timeout, deadline, state)
            return convert(number, page, outputs)
        except (ServingError, OSError, ValueError) as error:
            return Answer(number, page, error=error)

    source = enumerate(pages)
    pending: deque[Future[Answer]] = deque()
    pool = ThreadPoolExecutor(window, "bulk")
    ended = late = False
    try:
        while True:
            while not ended and len(pending) < state.limit:
                if late := deadline is not None and time.monotonic() >= deadline:
                    break
                entry = next(source, None)
                if ended := entry is None:
                    break
                pending.append(pool.submit(ask, *entry))
            if not pending:
                break
            if not ordered:
                done = wait(pending, return_when=FIRST_COMPLETED).done
                pending = deque([*done, *(future for future in pending if future not in done)])
            answer = pending.popleft().result()
            if answer.error is None:
                state.good()
            yield answer
        if late and not ended:
            text = f"the budget of {budget:g} s is used up before the last page"
            raise DeadlineExceeded(text, grpc.StatusCode.DEADLINE_EXCEEDED, text)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _patiently(
    client: Client, page: Any, model: str, signature: str, timeout: float | None, deadline: float | None, state: Window
) -> dict[str, np.ndarray]:
    """The outputs for a page, which waits for a server that has too much to do, or that starts anew."""
    end = time.monotonic() + (client.timeout if timeout is None else timeout)
    if deadline is not None:
        end = min(end, deadline)
    while True:
        try:
            outputs = client.predict(
                model,
                [page],
                signature=signature,
                timeout=max(0.001, end - time.monotonic()),
                overloaded=state.overloaded,
            )
        except ServingError as failure:
            if not state.patient(failure, end):
                raise
            time.sleep(PAUSE)
        else:
            state.answered = True
            return outputs
