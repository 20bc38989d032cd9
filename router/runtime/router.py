"""The Python door: one object that answers like one model."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from experts.engines.base import Engine
from router.errors import GraphError, TokengraphError
from router.functional.decision import Decision
from router.graph import Graph, build_graph
from router.runtime.blocking import Blocking
from router.runtime.engines import EnginePool
from router.runtime.options import NO_OPTIONS, RunOptions
from router.runtime.query import Prompt, Query, messages_of
from router.runtime.result import RunResult
from router.runtime.runs import Session, StreamItem, session
from router.runtime.structures import obstacle
from router.runtime.tools import ToolPool
from router.spec import GraphSpec, load_spec
from router.trace import Delta, Event
from router.types import NodeId, WorkerId

if TYPE_CHECKING:
    from router.runtime.direct import DirectRuns
    from router.runtime.runs import Compiled
    from router.runtime.visits import Visitor

__all__ = ["Prompt", "Query", "Router", "RunOptions", "StreamItem"]


class Router(Blocking):
    """A graph of models that answers like one.

    Models load when first needed and stay until ``close``. Every method that starts with ``a`` is the async form of the
    one without; both may be used on one object, from any thread or event loop.

    Args:
        engines: engines to use in place of the spec's workers, by the worker's name; they stay the caller's to close.
        checkpoints: SQLite file of conversations and half-finished runs; needed for ``thread_id`` and ``resume``.

    Raises:
        GraphError: the parts of the spec do not fit together.
    """

    def __init__(
        self,
        spec: GraphSpec,
        *,
        engines: Mapping[WorkerId, Engine] | None = None,
        checkpoints: str | Path | None = None,
    ) -> None:
        self.spec = spec
        self.graph: Graph = build_graph(spec)
        self._pool = EnginePool(spec.workers, engines)
        self._tools = ToolPool(spec.tools)
        self._checkpoints = None if checkpoints is None else Path(checkpoints)

    @classmethod
    def from_file(
        cls,
        path: str | Path,
        *,
        engines: Mapping[WorkerId, Engine] | None = None,
        checkpoints: str | Path | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> Router:
        """Reads a graph spec.

        Raises:
            SpecError: the file is not a valid spec; every problem with its line and its fix.
        """
        return cls(load_spec(path, environ=environ), engines=engines, checkpoints=checkpoints)

    @cached_property
    def _visitors(self) -> dict[NodeId, Visitor]:
        from router.runtime.visits import visitor

        return {name: visitor(self.spec, name, self._pool, self._tools) for name in self.spec.nodes}

    @cached_property
    def _direct(self) -> DirectRuns:
        from router.runtime.direct import DirectRuns

        return DirectRuns(self.spec, self._pool, self._tools)

    @cached_property
    def runnable(self) -> Compiled:
        """The graph as a LangGraph runnable, without checkpoints of its own: embed it as a node of your own graph.

        Takes ``{"messages": [...]}``, gives ``messages``, ``answer``, ``events`` and ``spent``. With
        ``config={"configurable": {"stream_tokens": True}}`` its custom stream carries what ``stream`` yields.
        """
        from router.runtime.compile import compile_graph

        return compile_graph(self.graph, self._visitors)

    async def arun(
        self, query: Query | Prompt, *, thread_id: str | None = None, options: RunOptions = NO_OPTIONS,
        node: NodeId | None = None, send: Callable[[Delta | Event], None] | None = None,
    ) -> RunResult:  # fmt: skip
        """See ``run``.

        Args:
            node: asks this expert alone, past all routing. Its dialogue may end with a tool's turn, and it also takes a
                Prompt.
            send: receives text and events as they come: what ``astream`` yields.
        """
        alone = self._direct.of(node) if thread_id is None else None
        if alone is not None:
            asked = messages_of(query) if node is None and not isinstance(query, Prompt) else query
            return await alone.run(asked, options, send)
        if isinstance(query, Prompt) or node is not None:
            raise GraphError("expected a dialogue for the graph, found a prompt or a thread for a single node")
        async with self._session(thread_id, options) as session:
            return await (session.run(query) if send is None else session.follow(query, send))

    def unstructured(self, node: NodeId) -> str | None:
        """Why a node cannot be held to JSON, as far as that is known before its model runs; None if it can."""
        return obstacle(self.spec, node, self._pool)

    async def engine(self, worker: WorkerId) -> Engine:
        """The engine of a worker, started if need be; it stays this Router's to close."""
        return await self._pool.get(worker)

    @property
    def keeps_runs(self) -> bool:
        """Whether there are checkpoints."""
        return self._checkpoints is not None

    async def aresume(
        self, thread_id: str, *, approve: bool | None = None, call: str | None = None, options: RunOptions = NO_OPTIONS
    ) -> RunResult:
        """See ``resume``.

        Args:
            call: the ``PendingCall.id`` that ``approve`` is meant for; another call that waits by now is not answered.
            options: those of the run; a visit that was interrupted begins anew with these.
        """
        async with self._session(thread_id, options) as session:
            return await session.resume(approve, call)

    async def aforget(self, thread_id: str) -> None:
        """Removes a thread from the checkpoints."""
        if self._checkpoints is None:
            return
        from router.runtime.checkpoints import open_checkpoints

        async with open_checkpoints(self._checkpoints) as saver:
            await saver.adelete_thread(thread_id)

    async def astream(
        self, query: Query, *, thread_id: str | None = None, options: RunOptions = NO_OPTIONS
    ) -> AsyncIterator[StreamItem]:
        """See ``stream``."""
        async with self._session(thread_id, options) as session, aclosing(session.stream(query)) as items:  # type: ignore[type-var]
            async for item in items:
                yield item

    async def abatch(self, queries: Sequence[Query], *, concurrency: int = 32) -> list[RunResult | TokengraphError]:
        """See ``batch``."""
        slots = asyncio.Semaphore(concurrency)

        async def one(query: Query) -> RunResult | TokengraphError:
            async with slots:
                try:
                    return await self.arun(query)
                except TokengraphError as error:
                    return error

        return list(await asyncio.gather(*map(one, queries)))

    async def aroute(self, query: Query, *, listener: Callable[[Event], None] | None = None) -> Decision:
        """See ``route``; the listener is told of each decision on the way, as of a visit."""
        return (await self.aroute_many([query], listener=listener))[0]

    async def aroute_many(
        self, queries: Sequence[Query], *, listener: Callable[[Event], None] | None = None
    ) -> list[Decision]:
        """See ``route_many``. Where a router chooses another router, that one decides in turn."""
        from router.runtime.routing import decide

        return await decide(self.spec, self._visitors, [messages_of(query) for query in queries], listener=listener)

    def _session(self, thread_id: str | None, options: RunOptions) -> AbstractAsyncContextManager[Session]:
        return session(self.runnable, self._checkpoints, thread_id, options)

    async def aclose(self) -> None:
        """See ``close``."""
        for made in ("runnable", "_visitors", "_direct"):  # they hold what was made from the engines
            self.__dict__.pop(made, None)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._pool.close)
            stack.push_async_callback(self._tools.close)

    async def __aenter__(self) -> Router:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()
