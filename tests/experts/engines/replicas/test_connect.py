from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest

from experts.engines.config import VllmWorker
from experts.engines.factory import create_engine
from experts.engines.replicas.circuit import State
from experts.engines.replicas.connect import connect
from experts.engines.replicas.options import ReplicaOptions
from experts.errors import EngineError, EngineUnavailable
from experts.moe.mask import ExpertMask
from tests.experts.engines.replicas.switchable import ANSWER, SwitchableEngine, ask

FAST = ReplicaOptions(pause=0.001, probe_every=0.01, check_every=0.02, probe_timeout=0.05)


class Server:
    """Connects to an engine, once it is there."""

    def __init__(self, engine: SwitchableEngine | None = None) -> None:
        self.engine = engine
        self.error: Exception = EngineUnavailable("refused")
        self.gate = asyncio.Event()
        self.gate.set()

    async def connect(self) -> SwitchableEngine:
        await self.gate.wait()
        if self.engine is None:
            raise self.error
        return self.engine


def servers(*made: Server) -> dict[str, Callable[[], Awaitable[SwitchableEngine]]]:
    return {f"http://{name}": server.connect for name, server in zip("abc", made, strict=False)}


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.002)


@pytest.mark.parametrize("late", [0, 1])
async def test_one_that_is_not_there_joins_later(late: int) -> None:
    there, missing = Server(SwitchableEngine()), Server()
    engine = await connect(servers(*((missing, there) if late == 0 else (there, missing))), FAST)
    for n in range(10):
        assert (await engine.generate(ask(f"question {n}"))).text == ANSWER
        assert [chunk async for chunk in engine.stream(ask(f"question {n}"))]
    assert engine.decode(engine.encode("text")) == "text"
    assert engine.snapshot().replicas[late].state is State.OPEN
    missing.gate.clear()  # connecting may take longer than a probe
    missing.engine = SwitchableEngine()
    await asyncio.sleep(0.1)
    missing.gate.set()
    await until(lambda: engine.snapshot().replicas[late].state is State.CLOSED)
    for n in range(20):
        await engine.generate(ask(f"question {n}"))
        assert [chunk async for chunk in engine.stream(ask(f"question {n}"))]
    assert missing.engine.asked > 4
    await engine.close()
    assert missing.engine.closed and there.engine is not None and there.engine.closed


async def test_late_one_of_another_model_stays_out() -> None:
    missing = Server()
    engine = await connect(servers(Server(SwitchableEngine()), missing), FAST)
    missing.engine = SwitchableEngine("another answer")
    await engine.generate(ask())
    await until(lambda: "http://b with fingerprint" in engine.snapshot().replicas[1].last_error)
    await until(lambda: engine.snapshot().replicas[1].state is State.OPEN)
    assert missing.engine.closed
    for n in range(10):
        assert (await engine.generate(ask(f"question {n}"))).text == ANSWER
    await engine.close()


async def test_closed_while_it_connects() -> None:
    missing = Server()
    engine = await connect(servers(Server(SwitchableEngine()), missing), FAST)
    missing.gate.clear()
    await engine.generate(ask())
    await until(lambda: any(task.get_name() == "connect http://b" for task in asyncio.all_tasks()))
    await engine.close()
    assert not any(task.get_name() == "connect http://b" for task in asyncio.all_tasks())


async def test_none_is_there() -> None:
    with pytest.raises(EngineUnavailable, match="refused"):
        await connect(servers(Server(), Server()), FAST)


async def test_a_wrong_one_is_an_error() -> None:
    right, wrong = Server(SwitchableEngine()), Server()
    wrong.error = EngineError("wrong key")
    with pytest.raises(EngineError, match="wrong key"):
        await connect(servers(right, wrong), FAST)
    assert right.engine is not None and right.engine.closed
    others = Server(SwitchableEngine()), Server(SwitchableEngine("another answer"))
    with pytest.raises(EngineError, match="replicas of one model"):
        await connect(servers(*others), FAST)
    assert all(server.engine is not None and server.engine.closed for server in others)


async def test_worker_without_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENGRAPH_STATE", str(tmp_path))
    with pytest.raises(EngineUnavailable, match="tokengraph workers up"):
        await create_engine(VllmWorker(engine="vllm", model="m"))


class MaskedEngine(SwitchableEngine):
    """Keeps masks, and asks no model whether they fit."""

    def __init__(self) -> None:
        super().__init__()
        self.masks: dict[str, ExpertMask] = {}

    async def set_masks(self, masks: Mapping[str, ExpertMask]) -> None:
        self.masks = dict(masks)


@pytest.mark.parametrize("late", [0, 1])
async def test_masks_reach_one_that_joins_later(late: int) -> None:
    there, missing = Server(MaskedEngine()), Server()
    engine = await connect(servers(*((missing, there) if late == 0 else (there, missing))), FAST)
    masks = {"m": ExpertMask(name="m", fingerprint="f")}
    await engine.set_masks(masks)
    missing.engine = joined = MaskedEngine()
    await engine.generate(ask())
    await until(lambda: joined.masks == masks)
    assert isinstance(there.engine, MaskedEngine) and there.engine.masks == masks
    await until(lambda: engine.snapshot().replicas[late].state is State.CLOSED)
    await engine.set_masks({})
    assert joined.masks == there.engine.masks == {}
    await engine.close()
