"""Servers that are killed and come back, over real sockets."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from itertools import count, cycle, islice
from pathlib import Path

import httpx
import pytest

from experts.engines.config import VllmWorker
from experts.engines.factory import create_engine
from experts.engines.replicas.circuit import State
from experts.engines.replicas.connect import connect
from experts.engines.replicas.engine import ReplicatedEngine
from experts.engines.replicas.options import ReplicaOptions
from experts.engines.requests import GenerateRequest, Generation
from experts.engines.vllm.engine import VllmEngine
from experts.errors import EngineUnavailable
from tests.experts.engines.replicas.switchable import ask

ROOT = Path(__file__).parents[4]


class Server:
    """A stub of vLLM in a process of its own, which keeps its port when it is started again."""

    def __init__(self, model: str, seconds: float) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._arguments = [str(self.port), model, str(seconds)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        module = "tests.experts.engines.replicas.stub_vllm"
        self._process = subprocess.Popen([sys.executable, "-m", module, *self._arguments], cwd=ROOT)

    def healthy(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=1).is_success
        except httpx.TransportError:
            return False

    async def until_healthy(self) -> None:
        async with asyncio.timeout(30):
            while not await asyncio.to_thread(self.healthy):
                await asyncio.sleep(0.01)

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def servers(checkpoints: dict[str, Path], request: pytest.FixtureRequest) -> Iterator[list[Server]]:
    number, seconds = request.param
    with ExitStack() as stack:
        made = [Server(str(checkpoints["qwen3"]), seconds) for _ in range(number)]
        for server in made:
            stack.callback(server.kill)
            server.start()
        yield made


async def connected(
    servers: list[Server], checkpoints: dict[str, Path], options: ReplicaOptions | None = None
) -> ReplicatedEngine:
    await asyncio.gather(*(server.until_healthy() for server in servers))
    urls = tuple(server.url for server in servers)
    worker = VllmWorker(engine="vllm", model=str(checkpoints["qwen3"]), urls=urls, queue=64)
    if options:
        return await connect({url: partial(VllmEngine.connect, worker, url) for url in urls}, options)
    engine = await create_engine(worker)
    assert isinstance(engine, ReplicatedEngine)
    return engine


def question(number: int, tokens: int = 10) -> GenerateRequest:
    return ask(f"this is question {number}", max_tokens=tokens, ignore_eos=True)


def check_answer(engine: ReplicatedEngine, request: GenerateRequest, answer: Generation) -> None:
    prompt = engine.render(request)
    assert answer.token_ids == tuple(islice(cycle(reversed(prompt)), request.max_tokens))


@pytest.mark.parametrize("servers", [(2, 0.005)], indirect=True)
async def test_sigkill_of_one_of_two_under_load(servers: list[Server], checkpoints: dict[str, Path]) -> None:
    engine = await connected(servers, checkpoints)
    answered, ends = 0, Counter[str]()
    killed = asyncio.Event()

    async def generate(numbers: Iterator[int]) -> None:
        nonlocal answered
        for number in numbers:
            check_answer(engine, question(number), await engine.generate(question(number)))
            answered += 1
            if answered == 200 and not killed.is_set():
                servers[0].kill()
                killed.set()

    async def stream(numbers: Iterator[int]) -> None:
        while answered < 800:
            request = question(next(numbers), tokens=40)
            given = 0
            try:
                async for chunk in engine.stream(request):
                    given += 1
                    if chunk.generation:
                        check_answer(engine, request, chunk.generation)
            except EngineUnavailable:
                assert given > 0  # else it would have been sent again
                assert killed.is_set()
                ends["broken"] += 1
            else:
                ends["whole"] += 1

    asked, streamed = iter(range(800)), count(1000)
    await asyncio.gather(*(generate(asked) for _ in range(24)), *(stream(streamed) for _ in range(8)))
    dead, alive = engine.snapshot().replicas
    await engine.close()
    assert answered == 800
    assert 0 < ends["broken"] <= 8
    assert ends["whole"] > 8
    assert dead.served > 50 and dead.retried > 0 and dead.state is State.OPEN
    assert (alive.failed, alive.state) == (0, State.CLOSED)


@pytest.mark.parametrize("servers", [(1, 0.0001)], indirect=True)
async def test_only_replica_goes_and_comes_back(servers: list[Server], checkpoints: dict[str, Path]) -> None:
    engine = await connected(servers, checkpoints)
    (server,) = servers
    for number in range(20):
        check_answer(engine, question(number), await engine.generate(question(number)))
    server.kill()
    failures = []
    down_until = time.monotonic() + 1.5  # two probes and more
    while time.monotonic() < down_until:
        started = time.monotonic()
        with pytest.raises(EngineUnavailable):
            await engine.generate(question(0))
        failures.append(time.monotonic() - started)
        await asyncio.sleep(0.005)
    assert engine.snapshot().replicas[0].state is State.OPEN
    assert sorted(failures)[len(failures) * 95 // 100] < 0.05  # the slowest few are the machine's

    server.start()
    await server.until_healthy()
    back = time.monotonic()
    async with asyncio.timeout(10):
        while not await _try(engine):
            await asyncio.sleep(0.005)
    assert time.monotonic() - back < 2
    for number in range(100):  # and no hiccup after that
        check_answer(engine, question(number), await engine.generate(question(number)))
    await engine.close()


async def _try(engine: ReplicatedEngine) -> bool:
    try:
        await engine.generate(question(1))
    except EngineUnavailable:
        return False
    return True


@pytest.mark.parametrize("servers", [(2, 0.005)], indirect=True)
async def test_server_that_hangs_is_given_up(servers: list[Server], checkpoints: dict[str, Path]) -> None:
    options = ReplicaOptions(check_every=0.1, probe_every=0.05, probe_timeout=0.1)
    engine = await connected(servers, checkpoints, options)
    tasks = [asyncio.ensure_future(engine.generate(question(number))) for number in range(30)]
    while not any(task.done() for task in tasks):
        await asyncio.sleep(0.001)
    servers[0].send(signal.SIGSTOP)
    tasks += [asyncio.ensure_future(engine.generate(question(number))) for number in range(30, 60)]
    for number, answer in enumerate(await asyncio.wait_for(asyncio.gather(*tasks), 20)):
        check_answer(engine, question(number), answer)
    assert engine.snapshot().replicas[0].retried > 0
    assert engine.snapshot().replicas[0].outstanding == 0
    servers[0].send(signal.SIGCONT)
    async with asyncio.timeout(5):
        while engine.snapshot().replicas[0].state is not State.CLOSED:
            await asyncio.sleep(0.01)
    await engine.close()
