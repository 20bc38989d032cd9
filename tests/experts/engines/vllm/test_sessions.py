"""Requests of one session on a real vLLM server: nothing is computed twice, and the answers are those of requests alone."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from experts.engines.config import VllmWorker
from experts.engines.requests import GenerateRequest, Sampling, Session, TokenId
from experts.engines.vllm.engine import VllmEngine
from tests.experts.engines.conformance import assert_same, chunks_of
from tests.experts.engines.vllm.servers import KEY, Servers

PLUGIN = ("--load-format", "tokengraph", "--worker-extension-cls", "experts.vllm_plugin.worker.WorkerExtension")


class Served:
    """A server of which vLLM's own counters are read."""

    def __init__(self, url: str, model: Path) -> None:
        self.model = str(model)
        self.url = url
        self._client = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {KEY}"}, timeout=60)

    async def engine(self) -> VllmEngine:
        return await VllmEngine.connect(VllmWorker(engine="vllm", model=self.model), self.url, KEY)

    def metric(self, name: str) -> float:
        lines = self._client.get("/metrics").text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"vllm:{name}{{"))

    def end(self, name: str) -> Any:
        return self._client.delete(f"/v1/tokengraph/sessions/{name}").json()

    def complete(self, prompt: tuple[int, ...], **arguments: Any) -> httpx.Response:
        body = {"model": self.model, "prompt": list(prompt), "max_tokens": 4, "temperature": 0, "ignore_eos": True}
        return self._client.post("/v1/completions", json=body | arguments)


@pytest.fixture(scope="module")
def served(checkpoints: dict[str, Path], servers: Servers) -> Served:
    model = checkpoints["qwen3"]
    return Served(servers.start(model, *PLUGIN, "--max-num-seqs", "4"), model)


def ask(prompt: tuple[TokenId, ...], **changes: Any) -> GenerateRequest:
    return replace(GenerateRequest(prompt_ids=prompt, max_tokens=5, ignore_eos=True, sampling=Sampling()), **changes)


async def test_turns_are_those_of_requests_alone(served: Served) -> None:
    """Turns with foreign tokens between them, whole and streamed, of two sessions side by side."""
    engine = await served.engine()

    async def turns(text: str) -> None:
        session, prompt = Session(), engine.encode(text)
        for number in range(6):
            request = ask(prompt, max_tokens=1 + number)
            expected = await engine.generate(request)
            request = replace(request, session=session)
            found = (await chunks_of(engine, request))[-1].generation if number % 2 else await engine.generate(request)
            assert found is not None
            assert_same(found, expected)
            # What follows may also contradict what was written.
            prompt += found.token_ids[: None if number < 4 else -1] + engine.encode("xy"[: number % 3])

    await asyncio.gather(turns("abc" * 15), turns("a different one"))
    await engine.close()


async def test_a_session_stays_in_place_until_it_is_over(served: Served) -> None:
    engine = await served.engine()
    session, prompt = Session(), engine.encode("keys and values that nobody else has")
    looked_up = served.metric("prefix_cache_queries_total")
    for _ in range(3):
        found = await engine.generate(ask(prompt, session=session))
        prompt += (*found.token_ids, *engine.encode("!"))
    assert (
        served.metric("prefix_cache_queries_total") - looked_up == found.prompt_tokens - 2 * 6
    )  # by the first turn alone
    assert served.metric("kv_cache_usage_perc") > 0
    del session
    async with asyncio.timeout(30):
        while served.metric("kv_cache_usage_perc") > 0:
            await asyncio.sleep(0.05)
    await engine.close()


async def test_more_sessions_than_there_is_room_for(served: Served) -> None:
    """A server for four requests keeps two sessions; the others run as ever."""
    engine = await served.engine()
    sessions = [Session() for _ in range(7)]
    prompts = [engine.encode("abcdefg"[number] * 40) for number in range(len(sessions))]
    for _ in range(2):
        expected = await asyncio.gather(*(engine.generate(ask(prompt)) for prompt in prompts))
        asked = (ask(prompt, session=session) for prompt, session in zip(prompts, sessions, strict=True))
        found = await asyncio.gather(*map(engine.generate, asked))
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
        prompts = [prompt + one.token_ids for prompt, one in zip(prompts, found, strict=True)]
    await engine.close()


async def test_a_turn_that_is_given_up_or_of_another_kind(served: Served) -> None:
    engine = await served.engine()
    session, prompt = Session(), engine.encode("given up")
    async with aclosing(engine.stream(ask(prompt, session=session, max_tokens=100))) as stream:
        await anext(stream)
    for changes in ({}, {"top_logprobs": 2}, {"stop": ("\x00",)}, {"allowed_token_ids": engine.encode("01")}):
        request = ask(prompt, **changes)
        assert_same(await engine.generate(replace(request, session=session)), await engine.generate(request))
    drawn = ask(prompt, sampling=Sampling(1.0, seed=3))
    assert_same(await engine.generate(replace(drawn, session=session)), await engine.generate(drawn))
    await engine.close()


async def test_only_idle_sessions_are_ended(served: Served) -> None:
    assert served.complete((7, 8, 9), vllm_xargs={"session": "mine"}).status_code == 200
    assert [served.end("mine") for _ in range(2)] == [{"ended": True}, {"ended": False}]
