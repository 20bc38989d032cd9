"""What depends on a server: adapters, cancelling, deadlines, many requests, keys and names."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_asyncio

from experts.engines.answer import Draw
from experts.engines.base import Capability
from experts.engines.config import LocalWorker, VllmWorker
from experts.engines.local.engine import LocalEngine
from experts.engines.requests import GenerateRequest, Generation, JsonStructure, Message, Sampling, TokenId
from experts.engines.vllm import draws
from experts.engines.vllm.engine import VllmEngine
from experts.engines.vllm.structured import check_whole
from experts.errors import CapabilityError, DeadlineExceeded, EngineError, EngineUnavailable, RequestError
from tests.experts.engines.checkpoints import save_adapter, save_checkpoint
from tests.experts.engines.conformance import ASK, assert_same
from tests.experts.engines.vllm.servers import KEY, Servers, running_requests

TOLERANCE = 1e-4
GREEDY = replace(ASK, sampling=Sampling(), max_tokens=20)
LONG = replace(ASK, max_tokens=1900)


class Server(NamedTuple):
    worker: VllmWorker
    url: str

    @property
    def local(self) -> LocalWorker:
        return LocalWorker(model=self.worker.model, adapters=self.worker.adapters)


@pytest.fixture(scope="module")
def server(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Server:
    """A model with a vocabulary and a context that are large enough to get into trouble, and an adapter."""
    root = tmp_path_factory.mktemp("served")
    model = save_checkpoint(root / "model", "qwen3", vocab_size=2048, max_position_embeddings=2048)
    save_adapter(model, root / "adapter", seed=1)
    # On CPUs vLLM applies the last slot for adapters to requests without one: that slot must stay empty.
    url = servers.start(
        model,
        "--served-model-name",
        "served",
        "--enable-lora",
        "--max-loras",
        "2",
        "--lora-modules",
        f"a={root}/adapter",
    )
    return Server(VllmWorker(engine="vllm", model=str(model), adapters={"a": root / "adapter"}), url)


@pytest_asyncio.fixture
async def engine(server: Server) -> AsyncIterator[VllmEngine]:
    made = await VllmEngine.connect(server.worker, f"{server.url}/v1/", KEY)
    yield made
    await made.close()


@pytest_asyncio.fixture
async def local(server: Server) -> AsyncIterator[LocalEngine]:
    made = LocalEngine(server.local)
    yield made
    await made.close()


def ask(text: str, **changes: object) -> GenerateRequest:
    return replace(GREEDY, messages=(Message("user", text),), **changes)  # type: ignore[arg-type]


def ids(count: int) -> tuple[TokenId, ...]:
    return tuple(map(TokenId, range(6, 6 + count)))


async def until_idle(url: str) -> None:
    async with asyncio.timeout(10):
        while await asyncio.to_thread(running_requests, url):
            await asyncio.sleep(0.01)


@pytest.mark.asyncio
async def test_adapter(engine: VllmEngine, local: LocalEngine) -> None:
    requests = [replace(GREEDY, adapter=name) for name in ("a", None, "a")]
    answers = await asyncio.gather(*map(engine.generate, requests))
    for answer, request in zip(answers, requests, strict=True):
        assert_same(answer, await local.generate(request), TOLERANCE)
    assert answers[0].logprobs != pytest.approx(answers[1].logprobs, abs=1e-2)


@pytest.mark.asyncio
@pytest.mark.parametrize("count", [128, 129, 300, 1024])
async def test_large_sets_of_tokens(engine: VllmEngine, local: LocalEngine, count: int) -> None:
    requests = [
        ask("first", first_token_ids=ids(count), max_tokens=3, top_logprobs=2),
        ask("all", allowed_token_ids=ids(count), max_tokens=4, top_logprobs=5),
    ]
    for request in requests:
        assert_same(await engine.generate(request), await local.generate(request), TOLERANCE)


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["first_token_ids", "allowed_token_ids"])
async def test_too_large_sets_of_tokens(engine: VllmEngine, name: str) -> None:
    with pytest.raises(RequestError, match=f"at most 1024 different {name}.* found 1025"):
        await engine.generate(ask("a", **{name: ids(1025)}))


@pytest.mark.asyncio
async def test_more_alternatives_than_the_server_gives(engine: VllmEngine) -> None:
    with pytest.raises(RequestError, match="max allowed: 20"):
        await engine.generate(ask("a", top_logprobs=21))


@pytest.mark.asyncio
async def test_alternatives_beside_named_tokens(
    engine: VllmEngine, local: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """vLLM loses alternatives when another request of the batch names its tokens."""
    again = 0
    draw_again = draws.rescored

    async def counted(generation: Generation, wanted: int, draw: Callable[[int], Awaitable[Draw]]) -> Generation:
        async def drawn(at: int) -> Draw:
            nonlocal again
            again += 1
            return await draw(at)

        return await draw_again(generation, wanted, drawn)

    monkeypatch.setattr(draws, "rescored", counted)
    texts = [f"question {n}" for n in range(6)]
    named = [ask(text, allowed_token_ids=ids(40), max_tokens=30) for text in texts]
    plain = [ask(text, top_logprobs=3, max_tokens=15, first_token_ids=ids(n) or None) for n, text in enumerate(texts)]
    answers = await asyncio.gather(*map(engine.generate, (*named, *plain)))
    for answer, request in zip(answers, (*named, *plain), strict=True):
        assert_same(answer, await local.generate(request), TOLERANCE)
    assert again, "vLLM has been mended: rescoring.py can go"


@pytest.mark.asyncio
async def test_cancelled_request_stops_on_the_server(engine: VllmEngine, server: Server) -> None:
    for request in (LONG, replace(LONG, stop=("\x00",))):
        task = asyncio.create_task(engine.generate(request))
        while not await asyncio.to_thread(running_requests, server.url):
            await asyncio.sleep(0.01)
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        started = time.monotonic()
        await until_idle(server.url)
        assert time.monotonic() - started < 2
    assert_same(await engine.generate(GREEDY), await engine.generate(GREEDY))


@pytest.mark.asyncio
async def test_closed_stream_stops_on_the_server(engine: VllmEngine, server: Server) -> None:
    stream = engine.stream(LONG)
    assert (await anext(stream)).token_ids
    assert await asyncio.to_thread(running_requests, server.url) == 1
    await stream.aclose()
    await until_idle(server.url)


@pytest.mark.asyncio
async def test_stop_text_stops_on_the_server(engine: VllmEngine, server: Server) -> None:
    request = replace(LONG, allowed_token_ids=engine.encode("abcdefgh"))
    whole = await engine.generate(replace(request, max_tokens=20))
    stop = whole.text[5:8]
    answer = await engine.generate(replace(request, stop=(stop,)))
    assert (answer.text, answer.stop_reason) == (whole.text[: whole.text.index(stop)], stop)
    await until_idle(server.url)


@pytest.mark.asyncio
@pytest.mark.parametrize("streamed", [False, True])
async def test_deadline(engine: VllmEngine, server: Server, streamed: bool) -> None:
    started = time.monotonic()
    request = replace(LONG, deadline=started + 0.3, stop=("\x00",) if streamed else ())
    with pytest.raises(DeadlineExceeded, match="deadline"):
        await engine.generate(request)
    assert 0.3 <= time.monotonic() - started < 2
    await until_idle(server.url)
    with pytest.raises(DeadlineExceeded):  # it has passed: nothing is sent
        await engine.generate(request)
    answer = await engine.generate(replace(GREEDY, deadline=time.monotonic() + 60))
    assert len(answer.token_ids) == GREEDY.max_tokens


@pytest.mark.asyncio
async def test_many_at_once(engine: VllmEngine) -> None:
    answers = await asyncio.gather(*(engine.generate(ask(f"{n % 4}", max_tokens=8)) for n in range(200)))
    for n, answer in enumerate(answers):
        assert_same(answer, answers[n % 4], TOLERANCE)


@pytest.mark.asyncio
async def test_seeds(engine: VllmEngine) -> None:
    def drawn(seed: int | None, **changes: object) -> GenerateRequest:
        return ask("seeds", sampling=Sampling(temperature=2.0, seed=seed), **changes)

    one, same, other, free, again = await asyncio.gather(*map(engine.generate, map(drawn, (1, 1, -2, None, None))))
    assert one.token_ids == same.token_ids
    assert len({one.token_ids, other.token_ids, free.token_ids, again.token_ids}) == 4


@pytest.mark.asyncio
async def test_lacking_capabilities(engine: VllmEngine) -> None:
    lacking = {
        Capability.EMBED, Capability.LAYERS, Capability.HIDDEN_STATES, Capability.EXTEND_VOCABULARY,
        Capability.EXPERT_MASKS, Capability.DEFER,
    }  # fmt: skip
    assert engine.capabilities == frozenset(Capability) - lacking
    with pytest.raises(CapabilityError, match="embed"):
        await engine.embed(["a"])


@pytest.mark.asyncio
@pytest.mark.parametrize("schema", [{"type": "strange"}, {"$ref": "#/nowhere"}, {"type": "string", "pattern": "("}])
async def test_schemas_that_the_server_cannot_use(engine: VllmEngine, schema: dict[str, object]) -> None:
    with pytest.raises(RequestError, match="answered 400"):
        await engine.generate(ask("a", structure=JsonStructure(schema)))
    assert await engine.generate(ask("a"))


def test_a_server_that_passes_over_a_structure() -> None:
    def answers(text: str, **schema: object) -> None:
        check_whole(replace(free, text=text), JsonStructure(schema or None), "http://there")

    free = Generation((), "not JSON", (), "stop", 1)
    for text, schema, why in (
        ("not JSON", {}, "no JSON"), ("[1]", {}, "not of type 'object'"), ("7", {"multipleOf": 2}, "not a multiple of 2"),
        ("7", {"$ref": "http://there/schema"}, "leads nowhere"),
    ):  # fmt: skip
        with pytest.raises(EngineError, match=f"expected JSON of http://there.*{why}"):
            answers(text, **schema)
    answers('{"a": 1}')
    answers("1" * 5000, type="integer")
    for cut in (replace(free, finish_reason="length"), replace(free, stop_reason="x")):
        check_whole(cut, JsonStructure(), "http://there")


@pytest.mark.asyncio
async def test_health_and_close(engine: VllmEngine) -> None:
    assert await engine.healthy()
    await engine.close()
    await engine.close()
    assert not await engine.healthy()
    with pytest.raises(EngineUnavailable, match="closed"):
        await engine.generate(GREEDY)


def test_several_event_loops(server: Server) -> None:
    engine = asyncio.run(VllmEngine.connect(server.worker, server.url, KEY))
    assert_same(*(asyncio.run(engine.generate(GREEDY)) for _ in range(2)))


@pytest.mark.asyncio
@pytest.mark.parametrize("key", [None, "another key"])
async def test_wrong_key(server: Server, key: str | None) -> None:
    with pytest.raises(EngineError, match=r"answered 401.*Correct api_key"):
        await VllmEngine.connect(server.worker, server.url, key)


@pytest.mark.asyncio
async def test_server_of_another_model(server: Server, checkpoints: dict[str, Path]) -> None:
    worker = VllmWorker(engine="vllm", model=str(checkpoints["llama"]))
    with pytest.raises(EngineError, match=r"expected a vLLM server of .*llama.* found one of served, a"):
        await VllmEngine.connect(worker, server.url, KEY)


@pytest.mark.asyncio
async def test_server_without_the_adapter(server: Server, tmp_path: Path) -> None:
    worker = server.worker.model_copy(update={"adapters": {"b": tmp_path}})
    with pytest.raises(EngineError, match=r"expected adapters b at .*--lora-modules"):
        await VllmEngine.connect(worker, server.url, KEY)
