"""What API keys have used: counted in memory and, if it is to outlive the server, written to a file soon after."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from router.errors import DataError
from router.gateway.logs import log
from router.gateway.spending_file import SpendingFile

_SECONDS = 0.5  # between two writes; with the time that one takes, the most that a killed server forgets


class Spending:
    """Tokens by the name of the key; without a file they end with the server.

    Requests only count in memory. The file is written in a thread beside the event loop; what a write has taken over
    is subtracted when it has succeeded, so that nothing is missing or twice, whenever one looks.

    Raises:
        DataError: the file cannot be read.
    """

    def __init__(self, file: SpendingFile | None = None) -> None:
        self._file = file
        self._written: Mapping[str, int] = {} if file is None else file.add({})
        self._new: Counter[str] = Counter()
        self._problem: str | None = None

    def of(self, key: str) -> int:
        """What a key has used; what other servers have added to the file is known a moment later."""
        return self._written.get(key, 0) + self._new[key]

    def add(self, key: str, tokens: int) -> None:
        """Counts what a request took."""
        self._new[key] += tokens

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Keeps the file up to date meanwhile; at the end everything is written, and the file is closed."""
        if self._file is None:
            yield
            return
        stop = asyncio.Event()  # no cancelling: a write that is under way would be written once more
        writing = asyncio.create_task(self._write_until(stop, self._file))
        try:
            yield
        finally:
            stop.set()
            await writing
            await self._write(self._file)  # what came while the write before was under way, or before there was one
            self._file.close()
            if self._new:
                log.error("ends with tokens that could not be written", extra={"fields": {"tokens": dict(self._new)}})

    async def _write_until(self, stop: asyncio.Event, file: SpendingFile) -> None:
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _SECONDS)
            await self._write(file)

    async def _write(self, file: SpendingFile) -> None:
        """Also without anything new: others may have added something. What cannot be written is tried again."""
        new = Counter({key: tokens for key, tokens in self._new.items() if tokens})
        try:
            self._written = await asyncio.to_thread(file.add, new)
        except DataError as error:
            if self._problem != str(error):
                self._problem = str(error)
                log.error("tokens that keys use are not written", extra={"fields": {"problem": self._problem}})
            return
        self._new -= new
        if self._problem is not None:
            self._problem = None
            log.info("tokens that keys use are written again")
