"""What a key is charged: all that its requests took, once, whichever way they ended."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from router import GraphSpec, Router
from router.gateway.gateway import Settings
from router.types import WorkerId
from tests.router.gateway.graphs import desk, user
from tests.router.gateway.recording import Encoder, Slow
from tests.router.gateway.servers import Running, serving
from tests.router.gateway.test_chat import TOOLS
from tests.router.gateway.test_own_calls import asked_for, says_it
from tests.router.gateway.test_own_calls import desk as desk_of_mails
from tests.router.runtime.graphs import edge, expert, router, says, spec

KEYS = {"keys": [{"name": "ann", "sha256": hashlib.sha256(b"ann").hexdigest()}]}
ANN = {"authorization": "Bearer ann"}
PROMPT = len("user: hello\nassistant: ")
BOTH = len("user: hello\nassistant: ") + len("quick") + 1
"""What the first of two nodes takes: its prompt, and its answer with the token that ends it."""


def charged(running: Running) -> int:
    """Once all requests are over, which they are a moment after their response."""
    until = time.monotonic() + 10
    while "tokengraph_requests_running 0.0" not in running.gateway.metrics.text().decode():
        assert time.monotonic() < until
        time.sleep(0.01)
    return running.gateway.keys._spending.of("ann")


def kinds(running: Running, request: str) -> list[str]:
    trace = httpx.get(f"{running.url}/v1/traces/{request}", headers=ANN).json()
    return [event["kind"] for run in trace["runs"] for event in run]


def slow(*, alone: bool) -> Router:
    """A slow expert, alone or after a quick one that hands the question on as it is."""
    workers, nodes, edges = {"slow": says("x"), "quick": says("quick")}, {"slow": expert("slow")}, []
    if not alone:
        nodes["quick"] = expert("quick")
        edges = [edge("quick", "slow", query="{query}")]
    graph = spec("slow" if alone else "quick", workers, nodes, *edges, name="g", gateway=KEYS)
    return Router(graph, engines={WorkerId("slow"): Slow()})


@pytest.mark.parametrize("alone", [True, False])
async def test_a_client_that_hangs_up_pays_for_what_it_got(alone: bool) -> None:
    before = 0 if alone else BOTH
    body = {"model": "g", "messages": user("hello"), "stream": True}
    with serving(slow(alone=alone)) as running:
        async with (
            httpx.AsyncClient(headers={**ANN, "x-request-id": "gone"}) as client,
            client.stream("POST", f"{running.url}/v1/chat/completions", json=body) as response,
        ):
            got = 0
            async for line in response.aiter_lines():
                got += line.startswith("data:")
                if got > 20:
                    break
        assert before + PROMPT + 18 <= charged(running) < before + PROMPT + 1000
        assert kinds(running, "gone") == (["stopped"] if alone else ["answered", "stopped"])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("alone", [True, False])
def test_a_run_that_ends_by_its_deadline_is_charged(alone: bool, stream: bool) -> None:
    before = 0 if alone else BOTH
    with serving(slow(alone=alone), settings=Settings(seconds=2)) as running:
        with pytest.raises(openai.APIError, match="deadline"):
            list(running.client("ann").chat.completions.create(model="g", messages=user("hello"), stream=stream))
        if stream:
            assert before + PROMPT < charged(running) < before + PROMPT + 500
        else:
            assert charged(running) == before + PROMPT, "how far an answer had come is known of streams alone"


def test_what_no_engine_read_is_not_charged() -> None:
    with serving(desk(gateway=KEYS)) as running:
        with pytest.raises(openai.InternalServerError):
            running.client("ann").chat.completions.create(model="desk/down", messages=user("x"))
        assert charged(running) == 0
        with pytest.raises(openai.InternalServerError) as caught:
            running.client("ann").chat.completions.create(model="desk", messages=user("broken"))
        assert charged(running) > 0, "the router's part"
        assert kinds(running, str(caught.value.request_id)) == ["routed", "failed"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_run_that_waited_is_charged_part_by_part(tmp_path: Path, stream: bool) -> None:
    graph = desk_of_mails(tmp_path / "outbox").model_dump(by_alias=True) | {"gateway": KEYS}
    with serving(Router(GraphSpec.model_validate(graph), checkpoints=tmp_path / "c.sqlite")) as running:
        chat = running.client("ann").chat.completions
        entry, dialogue = asked_for(chat, stream=False)
        first = charged(running)
        options: Any = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
        answer = chat.create(model="desk", messages=[*dialogue, says_it(entry, "yes")], **options)
        last = list(answer)[-1] if stream else answer
        nodes = [node["node"] for node in last.usage.nodes]
        told = [event["node"] for event in last.tokengraph["runs"][0]["events"]]
    assert (nodes, told) == (["mailer"], ["master", "mailer"]), "the trace is that of the whole run"
    assert first > 0 and charged(running) == first + last.usage.total_tokens


def test_the_first_part_says_what_it_took(tmp_path: Path) -> None:
    graph = desk_of_mails(tmp_path / "outbox").model_dump(by_alias=True) | {"gateway": KEYS}
    with serving(Router(GraphSpec.model_validate(graph), checkpoints=tmp_path / "c.sqlite")) as running:
        answer = running.client("ann").chat.completions.create(model="desk", messages=user("a mail, please"))
        assert answer.usage is not None and answer.usage.total_tokens == charged(running)
        assert [node["node"] for node in answer.usage.nodes] == ["master", "mailer"]  # type: ignore[attr-defined]
        assert kinds(running, answer.id) == ["routed", "stopped"]


def test_whom_tools_belong_to_is_decided_in_time_and_charged() -> None:
    with serving(desk(gateway=KEYS)) as running:
        answer = running.client("ann").chat.completions.create(model="desk", messages=user("repeat me"), tools=TOOLS)
        assert answer.usage is not None and answer.usage.total_tokens == charged(running)
        assert [node["node"] for node in answer.usage.nodes] == ["master", "echo"]  # type: ignore[attr-defined]
        assert kinds(running, answer.id) == ["routed", "answered"]
    graph = desk().model_dump(by_alias=True)
    for rule in graph["workers"]["master"]["rules"]:
        rule["seconds"] = 5
    with serving(GraphSpec.model_validate(graph), settings=Settings(seconds=0.3)) as running:
        with pytest.raises(openai.APIStatusError) as caught:
            running.client().chat.completions.create(model="desk", messages=user("repeat me"), tools=TOOLS)
        assert (caught.value.status_code, caught.value.code) == (504, "deadline_exceeded")


def encoding(seconds: float) -> Router:
    workers = {"m": {"engine": "local", "model": "none", "task": "embed"}, "e": says("x")}
    nodes = {"m": router("m"), "a": expert("e", description="sums"), "b": expert("e", description="poems")}
    graph = spec("m", workers, nodes, edge("m", "a"), edge("m", "b"), name="g", gateway=KEYS)
    return Router(graph, engines={WorkerId("m"): Encoder(seconds)})


def test_embeddings_are_charged_once_they_are_made() -> None:
    with serving(encoding(0)) as running:
        embeddings = running.client("ann").embeddings
        assert embeddings.create(model="g", input=["four", "five5"]).usage.total_tokens == 9 == charged(running)
        with pytest.raises(openai.InternalServerError):
            embeddings.create(model="g", input="broken")
        assert charged(running) == 9


async def test_embeddings_have_their_time_and_are_charged_without_it_too() -> None:
    with serving(encoding(5), settings=Settings(seconds=0.3)) as running:
        with pytest.raises(openai.APIStatusError) as caught:
            running.client("ann").embeddings.create(model="g", input="four")
        assert (caught.value.status_code, caught.value.code) == (504, "deadline_exceeded")
        assert charged(running) == 4
    with serving(encoding(5)) as running:
        async with httpx.AsyncClient(headers=ANN) as client:
            with pytest.raises(httpx.ReadTimeout):
                await client.post(f"{running.url}/v1/embeddings", json={"model": "g", "input": "four"}, timeout=2)
        assert charged(running) == 4
