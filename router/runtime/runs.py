"""Runs of the compiled graph: a new one, one that goes on, one as a stream."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from router.errors import NothingPending, RunError, TokengraphError
from router.runtime.consent import APPROVAL, Approval, asked_in, pending_call
from router.runtime.options import RUN_OPTIONS, RunOptions
from router.runtime.query import Query, input_of, messages_of
from router.runtime.result import RunResult, result_of
from router.trace import Delta, Event

if TYPE_CHECKING:
    from langgraph.graph.state import CompiledStateGraph

    Compiled: TypeAlias = CompiledStateGraph[Any, Any, Any, Any]

StreamItem = Delta | Event | RunResult


@dataclass(frozen=True)
class Session:
    """A compiled graph, with the checkpoints of a thread if there is one."""

    runnable: Compiled
    options: dict[str, Any]
    thread_id: str | None

    async def run(self, query: Query) -> RunResult:
        """Answers a query."""
        started = time.perf_counter()
        output = await self.runnable.ainvoke(input_of(query), **self.options)
        return await self._result(output, messages_of(query)[-1].content, started)

    async def resume(self, approve: bool | None = None, call: str | None = None) -> RunResult:
        """Finishes the thread's last run; ``approve`` answers the call that it waits with, which is to be ``call``."""
        state = await self.runnable.aget_state(self.options["config"])
        if not state.values and not state.next:
            kind = RunError if call is None else NothingPending
            raise kind(f"expected a thread named {self.thread_id!r}, found none. Begin it with a query")
        asked = asked_in(state)
        if approve is not None:
            if asked is None or call not in (None, asked.id):
                raise NothingPending(
                    f"expected a call that waits for a yes or a no in thread {self.thread_id!r}, found "
                    f"{'none' if asked is None else 'that another one does'}. Resume it without an answer"
                )
            self.options["config"]["configurable"][APPROVAL] = Approval(asked.value, approve)
        told = None if asked is None else state.values  # by the result that said what is asked
        started = time.perf_counter()
        output = await self.runnable.ainvoke(None, **self.options) if state.next else state.values
        text = next((str(m.text) for m in reversed(output["messages"]) if m.type == "human"), "")
        return await self._result(output, text, started, told)

    async def follow(self, query: Query, send: Callable[[Delta | Event], None]) -> RunResult:
        """Answers, and sends text and events as they come."""
        async with aclosing(self.stream(query)) as items:  # type: ignore[type-var]
            async for item in items:
                if isinstance(item, RunResult):
                    return item
                send(item)
        raise AssertionError("a stream that ends without an error ends with its result")

    async def stream(self, query: Query) -> AsyncIterator[StreamItem]:
        """Answers piece by piece."""
        started = time.perf_counter()
        self.options["config"]["configurable"]["stream_tokens"] = True
        output: dict[str, Any] = {}
        parts = self.runnable.astream(input_of(query), **self.options, stream_mode=["custom", "values"])
        try:
            async with aclosing(parts) as stream:  # type: ignore[type-var]
                async for mode, part in stream:
                    if mode == "custom":
                        yield part
                    else:
                        output = part
        except TokengraphError as error:
            if error.events:
                yield error.events[-1]
            raise
        yield await self._result(output, messages_of(query)[-1].content, started)

    async def _result(
        self, output: dict[str, Any], query: str, started: float, told: dict[str, Any] | None = None
    ) -> RunResult:
        pending = None
        if output.get("answer") is None and self.thread_id is not None:
            asked = asked_in(await self.runnable.aget_state(self.options["config"]))
            pending = None if asked is None else pending_call(asked)
        seconds = time.perf_counter() - started
        return result_of(output, query, seconds=seconds, thread_id=self.thread_id, pending=pending, told=told)


@asynccontextmanager
async def session(
    runnable: Compiled, checkpoints: Path | None, thread_id: str | None, options: RunOptions
) -> AsyncIterator[Session]:
    """Opens the checkpoints of a thread, if one is named.

    Raises:
        RunError: there is a thread but no file for it, or the file is unusable.
    """
    # The spec's budget bounds a run.
    config: dict[str, Any] = {"configurable": {RUN_OPTIONS: options}, "recursion_limit": 1_000_000}
    if thread_id is None:
        yield Session(runnable, {"config": config}, None)
        return
    if checkpoints is None:
        raise RunError("expected Router(..., checkpoints=FILE) for a thread_id, found none. Name an SQLite file")
    from router.runtime.checkpoints import open_checkpoints

    config["configurable"]["thread_id"] = thread_id
    async with open_checkpoints(checkpoints) as saver:
        # "sync": a step's checkpoint is on disk before the next step starts, so a kill loses no finished visit.
        durable = {"config": config, "durability": "sync"}
        yield Session(runnable.copy(update={"checkpointer": saver}), durable, thread_id)
