"""Several engines of one model, used as one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, contextmanager
from typing import TYPE_CHECKING, TypeVar

from experts.engines.base import Capability, Engine, EngineInfo
from experts.engines.replicas.agreement import check_same_model
from experts.engines.replicas.balance import affinity_key
from experts.engines.replicas.circuit import Circuit
from experts.engines.replicas.hedge import hedged
from experts.engines.replicas.lease import Lease
from experts.engines.replicas.options import ReplicaOptions
from experts.engines.replicas.probe import watch
from experts.engines.replicas.queue import Queue
from experts.engines.replicas.replica import Replica
from experts.engines.replicas.retry import Attempts
from experts.engines.replicas.snapshot import Snapshot, take_snapshot
from experts.engines.requests import Chunk, GenerateRequest, Generation, TokenId
from experts.errors import EngineUnavailable

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray

    from experts.moe.activations import Activations
    from experts.moe.mask import ExpertMask
    from experts.moe.shape import MoeShape

T = TypeVar("T")

_DEFAULT = ReplicaOptions()


class ReplicatedEngine:
    """Sends each request to one of several engines, and to another one if the first is lost.

    Nothing is sent twice of which the caller has seen anything: a stream that breaks after its first chunk ends in
    EngineUnavailable. What does not depend on a server (tokens, texts, facts) comes from the first engine.

    Args:
        engines: by name (the URL of a server, say). They are closed with this engine.

    Raises:
        EngineError: the engines are not replicas of one model.
    """

    def __init__(self, engines: Mapping[str, Engine], options: ReplicaOptions = _DEFAULT) -> None:
        check_same_model(engines)
        self._options = options
        self._replicas = tuple(
            Replica(name, engine, Circuit(options.tolerance), options.max_concurrency)
            for name, engine in engines.items()
        )
        self._first = self._replicas[0].engine
        self._queue = Queue(self.info.model, self._replicas, options.queue)
        self._watchers: dict[Replica, asyncio.Task[None]] = {}
        self._running = 0
        self._idle = asyncio.Event()
        self._draining = False

    @property
    def info(self) -> EngineInfo:
        return self._first.info

    @property
    def capabilities(self) -> frozenset[Capability]:
        return self._first.capabilities

    def snapshot(self) -> Snapshot:
        """What the replicas do now and have done."""
        return take_snapshot(self.info.model, self._replicas, self._queue, self._draining)

    def token_id(self, token: str) -> TokenId | None:
        return self._first.token_id(token)

    def encode(self, text: str) -> tuple[TokenId, ...]:
        return self._first.encode(text)

    def decode(self, token_ids: Sequence[TokenId], *, plain: bool = False) -> str:
        return self._first.decode(token_ids, plain=plain)

    def render(self, request: GenerateRequest) -> tuple[TokenId, ...]:
        return self._first.render(request)

    async def generate(self, request: GenerateRequest) -> Generation:
        return await self._call(affinity_key(request), request.deadline, lambda engine: engine.generate(request))

    async def stream(self, request: GenerateRequest) -> AsyncIterator[Chunk]:
        key = affinity_key(request)
        attempts = Attempts(self._queue, self._options)
        with self._request():
            while True:
                lease = await self._queue.acquire(key, request.deadline, attempts.tried)
                given = False
                try:
                    with lease:
                        async with aclosing(lease.replica.engine.stream(request)) as chunks:  # type: ignore[type-var]
                            while (chunk := await lease.wait(anext(chunks, None))) is not None:
                                lease.answered()
                                given = True
                                yield chunk
                        return
                except EngineUnavailable as error:
                    if given:
                        raise
                    await attempts.failed(lease, error)

    async def embed(self, texts: Sequence[str], layers: bool = False) -> NDArray[float32]:
        return await self._call(None, None, lambda engine: engine.embed(texts, layers))

    async def hidden_states(self, requests: Sequence[GenerateRequest]) -> NDArray[float32]:
        deadline = min((request.deadline for request in requests if request.deadline is not None), default=None)
        return await self._call(None, deadline, lambda engine: engine.hidden_states(requests))

    async def extend_vocabulary(
        self, rows: Mapping[str, NDArray[float32]], like: Mapping[str, Sequence[TokenId]] | None = None
    ) -> None:
        for replica in self._replicas:
            await replica.engine.extend_vocabulary(rows, like)

    async def moe_shape(self) -> MoeShape:
        return await self._first.moe_shape()

    async def set_masks(self, masks: Mapping[str, ExpertMask]) -> None:
        for replica in self._replicas:
            await replica.engine.set_masks(masks)

    async def activations(self, requests: Sequence[GenerateRequest]) -> list[Activations]:
        deadline = min((request.deadline for request in requests if request.deadline is not None), default=None)
        return await self._call(None, deadline, lambda engine: engine.activations(requests))

    async def drain(self, seconds: float) -> int:
        """Takes no new requests and waits for those it has, the waiting ones too, but no longer than ``seconds``.

        Returns:
            How many still run.
        """
        self._draining = True
        try:
            async with asyncio.timeout(seconds):
                while self._running:
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            pass
        return self._running

    async def close(self) -> None:
        self._queue.close()
        watchers = [watcher for watcher in self._watchers.values() if not watcher.done()]
        for watcher in watchers:
            watcher.get_loop().call_soon_threadsafe(watcher.cancel)
        here = asyncio.get_running_loop()
        await asyncio.gather(*(w for w in watchers if w.get_loop() is here), return_exceptions=True)
        async with AsyncExitStack() as stack:
            for replica in self._replicas:
                stack.push_async_callback(replica.engine.close)

    async def _call(self, key: bytes | None, deadline: float | None, use: Callable[[Engine], Awaitable[T]]) -> T:
        attempts = Attempts(self._queue, self._options)
        with self._request():
            while True:
                lease = await self._queue.acquire(key, deadline, attempts.tried)
                try:
                    return await self._answer(lease, key, attempts, use)
                except EngineUnavailable as error:
                    await attempts.failed(lease, error)

    async def _answer(
        self, lease: Lease, key: bytes | None, attempts: Attempts, use: Callable[[Engine], Awaitable[T]]
    ) -> T:
        if self._options.hedge_after is None:
            with lease:
                return await lease.wait(use(lease.replica.engine))

        def spare() -> Lease | None:
            attempts.tried.add(lease.replica)
            second = self._queue.try_acquire(key, attempts.tried) if self._queue.untried(attempts.tried) else None
            if second:
                attempts.tried.add(second.replica)
            return second

        return await hedged(lease, spare, use, self._options.hedge_after)

    @contextmanager
    def _request(self) -> Iterator[None]:
        """Counts a request from its arrival to its end."""
        if self._draining:
            raise EngineUnavailable(
                f"expected {self.info.model} to take requests, found it draining. Ask the one that takes its place"
            )
        self._watch()
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()

    def _watch(self) -> None:
        # A watcher ends with its event loop; the next one (a second asyncio.run, say) starts it anew.
        for replica in () if self._queue.closed else self._replicas:
            watcher = self._watchers.get(replica)
            if watcher is None or watcher.done():
                watching = watch(replica, self._options, self._queue.dispatch)
                self._watchers[replica] = asyncio.create_task(watching, name=f"watch {replica.name}")
