"""The Python door: one object that answers like one model."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from experts.engines.base import Engine
from router.errors import TokengraphError
from router.functional.decision import Decision
from router.graph import Graph, build_graph
from router.runtime.engines import EnginePool
from router.runtime.portal import call, iterate
from router.runtime.query import Query, messages_of
from router.runtime.result import RunResult
from router.runtime.runs import Session, StreamItem, session
from router.spec import GraphSpec, load_spec
from router.types import NodeId, WorkerId

if TYPE_CHECKING:
    from router.runtime.runs import Compiled
    from router.runtime.visits import Visitor

__all__ = ["Query", "Router", "StreamItem"]


class Router:
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

        return {name: visitor(self.spec, name, self._pool) for name in self.spec.nodes}

    @cached_property
    def runnable(self) -> Compiled:
        """The graph as a LangGraph runnable, without checkpoints of its own: embed it as a node of your own graph.

        Takes ``{"messages": [...]}``, gives ``messages``, ``answer``, ``events`` and ``spent``. With
        ``config={"configurable": {"stream_tokens": True}}`` its custom stream carries what ``stream`` yields.
        """
        from router.runtime.compile import compile_graph

        return compile_graph(self.graph, self._visitors)

    def run(self, query: Query, *, thread_id: str | None = None) -> RunResult:
        """Answers.

        Args:
            query: a text, or a dialogue that ends with the user's turn; with a ``thread_id``, only what is new in it.
            thread_id: continues that conversation (its earlier turns are remembered) and makes the run resumable.

        Raises:
            BudgetExceeded: the spec's budget is used up.
            EngineError: a node failed and no error or fallback edge leads on.
            TokenHeadError: a router's functional tokens are missing or do not fit.
            RunError: the query, or the checkpoints for a ``thread_id``, are missing or unusable.

        Every error carries in ``events`` what had happened in the run before.
        """
        return call(self.arun, query, thread_id=thread_id)

    async def arun(self, query: Query, *, thread_id: str | None = None) -> RunResult:
        """See ``run``."""
        async with self._session(thread_id) as session:
            return await session.run(query)

    def resume(self, thread_id: str) -> RunResult:
        """Finishes the last run of a thread after it was interrupted (the process was killed, a node failed).

        Visits that had ended are not made again. A run that had finished gives its result again.

        Raises:
            RunError: there is no such thread, or its run belongs to another graph. Else as ``run``.
        """
        return call(self.aresume, thread_id)

    async def aresume(self, thread_id: str) -> RunResult:
        """See ``resume``."""
        async with self._session(thread_id) as session:
            return await session.resume()

    def stream(self, query: Query, *, thread_id: str | None = None) -> Iterator[StreamItem]:
        """Answers piece by piece: text as it is written (Delta), events as they happen, and at last the RunResult.

        The deltas that are not ``working`` add up to the answer. A run that fails yields a last event, Failed, and
        raises. Closing the iterator early stops the run.
        """
        return iterate(lambda: self.astream(query, thread_id=thread_id))

    async def astream(self, query: Query, *, thread_id: str | None = None) -> AsyncIterator[StreamItem]:
        """See ``stream``."""
        async with self._session(thread_id) as session, aclosing(session.stream(query)) as items:  # type: ignore[type-var]
            async for item in items:
                yield item

    def batch(self, queries: Sequence[Query], *, concurrency: int = 32) -> list[RunResult | TokengraphError]:
        """Answers many queries, in their order; a query that failed has its error in its place."""
        return call(self.abatch, queries, concurrency=concurrency)

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

    def route(self, query: Query) -> Decision:
        """Which node would answer? Nothing but the functional tokens is computed."""
        return call(self.aroute, query)

    async def aroute(self, query: Query) -> Decision:
        """See ``route``."""
        return (await self.aroute_many([query]))[0]

    def route_many(self, queries: Sequence[Query]) -> list[Decision]:
        """``route`` for many queries, in batches."""
        return call(self.aroute_many, queries)

    async def aroute_many(self, queries: Sequence[Query]) -> list[Decision]:
        """See ``route_many``. Where a router chooses another router, that one decides in turn."""
        from router.runtime.routing import decide

        return await decide(self.spec, self._visitors, [messages_of(query) for query in queries])

    def _session(self, thread_id: str | None) -> AbstractAsyncContextManager[Session]:
        return session(self.runnable, self._checkpoints, thread_id)

    def close(self) -> None:
        """Frees the models; a later run loads them anew. ``runnable`` must be taken anew as well."""
        call(self.aclose)

    async def aclose(self) -> None:
        """See ``close``."""
        for made in ("runnable", "_visitors"):  # they hold what was made from the engines
            self.__dict__.pop(made, None)
        await self._pool.close()

    def __enter__(self) -> Router:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    async def __aenter__(self) -> Router:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()
