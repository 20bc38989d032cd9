from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from experts.engines.config import LocalWorker
from experts.engines.local.engine import LocalEngine
from experts.engines.replicas.engine import ReplicatedEngine
from experts.engines.replicas.options import ReplicaOptions
from tests.experts.engines.conformance import EngineConformance
from tests.experts.engines.replicas.switchable import SwitchableEngine


class TestTwoScripted(EngineConformance):
    @pytest_asyncio.fixture
    async def engine(self) -> AsyncIterator[ReplicatedEngine]:
        answer = "the quick brown fox jumps over the lazy dog"
        made = ReplicatedEngine({"a": SwitchableEngine(answer), "b": SwitchableEngine(answer)})
        yield made
        await made.close()


@pytest.fixture(scope="module")
def two_local(checkpoints: dict[str, Path]) -> Iterator[dict[str, LocalEngine]]:
    worker = LocalWorker(model=str(checkpoints["qwen3"]))
    engines = {name: LocalEngine(worker) for name in "ab"}
    yield engines
    for engine in engines.values():
        asyncio.run(engine.close())


class TestTwoLocal(EngineConformance):
    @pytest.fixture
    def engine(self, two_local: dict[str, LocalEngine]) -> ReplicatedEngine:
        return ReplicatedEngine(two_local)


class TestHedged(EngineConformance):
    """With every request asked for twice."""

    @pytest.fixture
    def engine(self, two_local: dict[str, LocalEngine]) -> ReplicatedEngine:
        return ReplicatedEngine(two_local, ReplicaOptions(hedge_after=0.0))
