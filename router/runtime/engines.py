"""The engines of a graph: each worker runs once, however many nodes share it, and starts when first needed."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack

from experts.engines.base import Capability, Engine
from experts.engines.config import VllmWorker, WorkerSpec
from experts.engines.factory import beyond, create_engine
from router.runtime.masks import EngineMasks
from router.runtime.once import Once
from router.types import WorkerId


class EnginePool:
    """Engines by worker.

    Args:
        engines: engines that the caller made; they replace the spec's workers of that name and stay the caller's.
    """

    def __init__(
        self, workers: Mapping[WorkerId, WorkerSpec], engines: Mapping[WorkerId, Engine] | None = None
    ) -> None:
        self._workers = workers
        self._given = dict(engines or {})
        self._made: Once[Engine] = Once()
        self._masks: dict[Engine, EngineMasks] = {}

    def worker(self, worker: WorkerId) -> WorkerSpec | None:
        """The spec of a worker; None if the caller gave its engine."""
        return None if worker in self._given else self._workers[worker]

    def lacks(self, worker: WorkerId, capability: Capability) -> bool:
        """Whether a worker is known to be without a capability; no engine is started to find out."""
        if worker in self._given:
            return capability not in self._given[worker].capabilities
        return capability in beyond(self._workers[worker])

    def here(self, worker: WorkerId) -> bool:
        """Whether a worker's model runs in this process."""
        return not isinstance(self.worker(worker), VllmWorker)

    async def get(self, worker: WorkerId) -> Engine:
        """The engine of a worker."""
        if worker in self._given:
            return self._given[worker]
        return await self.get_for(self._workers[worker])

    def masks(self, engine: Engine) -> EngineMasks:
        """The masks of experts that runs use on an engine."""
        return self._masks.setdefault(engine, EngineMasks(engine))

    async def get_for(self, worker: WorkerSpec) -> Engine:
        """The engine of a worker's spec; equal specs share one."""
        return await self._made.get(worker.model_dump_json(), lambda: create_engine(worker))

    async def close(self) -> None:
        """Closes every engine that was made here, the others too if one fails."""
        self._masks.clear()
        async with AsyncExitStack() as stack:
            for engine in self._made.clear():
                stack.push_async_callback(engine.close)
