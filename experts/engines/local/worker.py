"""One thread that owns a model, and the queue in front of it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from experts.engines.local.job import Job
from experts.errors import EngineError, EngineUnavailable

T = TypeVar("T")


class Worker:
    """Runs everything that touches a model in one thread, in order.

    Jobs that wait are run together, up to ``max_batch`` of the same adapter. One that comes later joins those that run,
    unless one of another adapter, or a function, was waiting before. Any thread and any event loop may submit.

    Args:
        run_batch: answers jobs that share an adapter; returns those that have not ended when it was told, by the
            function that it is given with their number, that others want to join them.
    """

    def __init__(
        self, name: str, max_batch: int, run_batch: Callable[[list[Job], Callable[[int], bool]], list[Job]]
    ) -> None:
        self._name = name
        self._max_batch = max_batch
        self._run_batch = run_batch
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"engine {name}")
        self._waiting: deque[Job] = deque()
        self._lock = threading.Lock()
        self._running: list[Job] = []
        self._calls = 0
        self._closed = False

    def submit(self, job: Job) -> None:
        """Queues a job; its future gets the outcome."""
        with self._lock:
            self._check_open()
            self._waiting.append(job)
            self._executor.submit(self._next_batch)

    def call(self, function: Callable[[], T]) -> Future[T]:
        """Runs a function in the model's thread, between batches."""

        def run() -> T:
            with self._lock:
                self._calls -= 1
            return function()

        with self._lock:
            self._check_open()
            self._calls += 1
            return self._executor.submit(run)

    def close(self) -> None:
        """Stops what runs after its current token, fails what waits, and joins the thread."""
        with self._lock:
            self._closed = True
            abandoned = [*self._running, *self._waiting]
            self._waiting.clear()
        for job in abandoned:
            job.fail(EngineUnavailable(f"{self._name} was closed. Start the engine anew"))
        self._executor.shutdown(cancel_futures=True)

    def _check_open(self) -> None:
        if self._closed:
            raise EngineUnavailable(f"expected an open engine, found {self._name} closed. Start the engine anew")

    def _next_batch(self) -> None:
        with self._lock:
            batch = self._running = self._take([])
        while batch:  # an earlier batch may have taken all that waited
            try:
                rest = self._run_batch(batch, partial(self._joined, batch[0].request.adapter))
            except EngineError as error:
                self._fail(batch, error)
                return
            except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must learn of it
                self._fail(batch, EngineError(f"{self._name} failed: {type(error).__name__}: {error}"), cause=error)
                return
            with self._lock:
                batch = self._running = self._take(rest) if rest else []

    def _joined(self, adapter: str | None, running: int) -> bool:
        """Whether a job may join so many that run."""
        if running >= self._max_batch or not self._waiting:
            return False
        with self._lock:
            return not self._calls and self._first_adapter() == (adapter,)

    def _take(self, running: list[Job]) -> list[Job]:
        """Those that run, with as many as may join them."""
        first = self._first_adapter()
        if first is None or (running and running[0].request.adapter != first[0]):
            return running
        room = self._max_batch - len(running)
        batch = [s for s in self._waiting if s.request.adapter == first[0] and not s.future.done()][:room]
        taken = set(map(id, batch))
        self._waiting = deque(s for s in self._waiting if id(s) not in taken)
        return running + batch

    def _first_adapter(self) -> tuple[str | None] | None:
        """The adapter of the first job that waits; None if none does."""
        while self._waiting and self._waiting[0].future.done():
            self._waiting.popleft()
        return (self._waiting[0].request.adapter,) if self._waiting else None

    @staticmethod
    def _fail(batch: list[Job], error: EngineError, cause: Exception | None = None) -> None:
        error.__cause__ = cause
        for job in batch:
            job.fail(error)
