"""The doors of a Router for code that does not await: each waits for the async method of its name with an ``a``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Self

from router.errors import TokengraphError
from router.functional.decision import Decision
from router.runtime.options import NO_OPTIONS, RunOptions
from router.runtime.portal import call, iterate
from router.runtime.query import Query
from router.runtime.result import RunResult
from router.runtime.runs import StreamItem


class Blocking(ABC):
    """Waits for the async methods, which a subclass has."""

    @abstractmethod
    async def arun(
        self, query: Query, *, thread_id: str | None = None, options: RunOptions = NO_OPTIONS
    ) -> RunResult: ...

    @abstractmethod
    async def aresume(self, thread_id: str, *, approve: bool | None = None) -> RunResult: ...

    @abstractmethod
    def astream(
        self, query: Query, *, thread_id: str | None = None, options: RunOptions = NO_OPTIONS
    ) -> AsyncIterator[StreamItem]: ...

    @abstractmethod
    async def abatch(self, queries: Sequence[Query], *, concurrency: int = 32) -> list[RunResult | TokengraphError]: ...

    @abstractmethod
    async def aroute(self, query: Query) -> Decision: ...

    @abstractmethod
    async def aroute_many(self, queries: Sequence[Query]) -> list[Decision]: ...

    @abstractmethod
    async def aclose(self) -> None: ...

    def run(self, query: Query, *, thread_id: str | None = None, options: RunOptions = NO_OPTIONS) -> RunResult:
        """Answers.

        Args:
            query: a text, or a dialogue that ends with the user's turn; with a ``thread_id``, only what is new in it.
            thread_id: continues that conversation (its earlier turns are remembered) and makes the run resumable.
            options: settings of the model, a deadline and more, for this run alone.

        Raises:
            BudgetExceeded: the spec's budget is used up.
            EngineError, ToolError: a node failed and no error or fallback edge leads on.
            TokenHeadError: a router's functional tokens are missing or do not fit.
            RunError: the query, or the checkpoints for a ``thread_id``, are missing or unusable; or a tool with side
                effects is to be called in a run without a ``thread_id``.

        Every error carries in ``events`` what had happened in the run before.
        """
        return call(self.arun, query, thread_id=thread_id, options=options)

    def resume(self, thread_id: str, *, approve: bool | None = None) -> RunResult:
        """Finishes the last run of a thread after it was interrupted (the process was killed, a node failed).

        Visits that had ended are not made again. A run that had finished gives its result again. Of one that waited for
        the user, ``usage`` is that of the part after it; the trace is whole.

        Args:
            approve: the user's answer to ``RunResult.pending``. A yes is good for that one call; after a kill in the
                middle of it the run asks again.

        Raises:
            RunError: there is no such thread, its run belongs to another graph, or no call waits for ``approve``. Else
                as ``run``.
        """
        return call(self.aresume, thread_id, approve=approve)

    def stream(
        self, query: Query, *, thread_id: str | None = None, options: RunOptions = NO_OPTIONS
    ) -> Iterator[StreamItem]:
        """Answers piece by piece: text as it is written (Delta), events as they happen, and at last the RunResult.

        The deltas that are not ``working`` add up to the answer. A run that fails yields a last event, Failed, and
        raises. Closing the iterator early stops the run.
        """
        return iterate(lambda: self.astream(query, thread_id=thread_id, options=options))

    def batch(self, queries: Sequence[Query], *, concurrency: int = 32) -> list[RunResult | TokengraphError]:
        """Answers many queries, in their order; a query that failed has its error in its place."""
        return call(self.abatch, queries, concurrency=concurrency)

    def route(self, query: Query) -> Decision:
        """Which node would answer? Nothing but the functional tokens is computed."""
        return call(self.aroute, query)

    def route_many(self, queries: Sequence[Query]) -> list[Decision]:
        """``route`` for many queries, in batches."""
        return call(self.aroute_many, queries)

    def close(self) -> None:
        """Frees the models; a later run loads them anew. ``runnable`` must be taken anew as well."""
        call(self.aclose)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
