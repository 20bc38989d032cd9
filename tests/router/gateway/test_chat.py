"""Chat with the official client."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import openai
import pytest
from pydantic import ValidationError

from router import Router
from router.gateway.errors import problem_of
from router.gateway.requests import ChatRequest, read
from router.types import WorkerId
from tests.router.gateway.graphs import CALL, desk, lone, user
from tests.router.gateway.servers import Running, serving
from tests.router.runtime.graphs import edge, expert, rules, says, spec
from tests.router.runtime.test_stream import Endless

TOOLS: list[Any] = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]


def called_with(arguments: str) -> list[Any]:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    result = {"role": "tool", "tool_call_id": "1", "content": "936"}
    return [*user("x"), {"role": "assistant", "tool_calls": [call]}, result]


def text_of(chunks: Any) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


@pytest.mark.parametrize("query", ["repeat  hello", "anything"])
def test_the_graph_is_one_model(server: Running, query: str) -> None:
    client = server.client()
    expected = Router(desk()).run(query)
    whole = client.chat.completions.create(model="desk", messages=user(query))
    assert (whole.object, whole.model, len(whole.choices)) == ("chat.completion", "desk", 1)
    assert whole.choices[0].message.content == expected.answer
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage is not None
    assert whole.usage.prompt_tokens == expected.usage.prompt_tokens
    assert whole.usage.completion_tokens == expected.usage.generated_tokens
    assert [node["node"] for node in whole.usage.nodes] == [e.node for e in expected.events]  # type: ignore[attr-defined]
    chunks = list(client.chat.completions.create(model="desk", messages=user(query), stream=True))
    assert text_of(chunks) == expected.answer
    assert len(chunks) > 5, "piece by piece"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"


def test_usage_of_a_stream_comes_last_and_only_if_asked_for(server: Running) -> None:
    chat = server.client().chat.completions
    plain = list(chat.create(model="desk", messages=user("x"), stream=True))
    assert all(chunk.usage is None and len(chunk.choices) == 1 for chunk in plain), (
        "a client may take each chunk's choice"
    )
    assert [hasattr(chunk, "tokengraph") for chunk in plain] == [False] * (len(plain) - 1) + [True]
    asked = list(chat.create(model="desk", messages=user("x"), stream=True, stream_options={"include_usage": True}))
    assert [chunk.usage is not None for chunk in asked] == [False] * (len(asked) - 1) + [True]
    assert asked[-1].choices == [] and asked[-1].usage.total_tokens > 0  # type: ignore[union-attr]
    assert [hasattr(chunk, "tokengraph") for chunk in asked] == [False] * (len(asked) - 1) + [True]


def test_a_node_alone(server: Running) -> None:
    answer = server.client().chat.completions.create(model="desk/echo", messages=user("anything"))
    assert answer.choices[0].message.content == "[anything]"
    assert [node["node"] for node in answer.usage.nodes] == ["echo"]  # type: ignore[union-attr]


def test_several_choices_with_seeds_of_their_own() -> None:
    from tests.router.gateway.recording import Recording

    engine = Recording()
    graph = Router(lone(says("x")), engines={WorkerId("w"): engine})
    with serving(graph) as running:
        chat = running.client().chat.completions
        whole = chat.create(model="lone", messages=user("x"), n=3, seed=7, temperature=0.5, top_p=0.9, max_tokens=4)
        assert [choice.index for choice in whole.choices] == [0, 1, 2]
        chunks = list(chat.create(model="lone", messages=user("x"), n=2, stream=True))
        for index in (0, 1):
            assert text_of(c for c in chunks if c.choices and c.choices[0].index == index) == "answer"
    asked = engine.requests[:3]
    assert sorted(request.sampling.seed or 0 for request in asked) == [7, 8, 9]
    assert {(r.sampling.temperature, r.sampling.top_p, r.max_tokens) for r in asked} == {(0.5, 0.9, 4)}


def test_limits_and_stops(server: Running) -> None:
    chat = server.client().chat.completions
    cut = chat.create(model="desk", messages=user("x"), max_completion_tokens=9)
    assert (cut.choices[0].message.content, cut.choices[0].finish_reason) == ("something", "length")
    stopped = chat.create(model="desk", messages=user("x"), stop=[" else", "zzz"])
    assert (stopped.choices[0].message.content, stopped.choices[0].finish_reason) == ("something", "stop")


def test_logprobs(server: Running) -> None:
    chat = server.client().chat.completions
    asked: dict[str, Any] = {"model": "desk", "messages": user("x"), "logprobs": True, "top_logprobs": 1}
    choice = chat.create(**asked).choices[0]
    assert choice.logprobs is not None and choice.logprobs.content is not None
    assert "".join(entry.token for entry in choice.logprobs.content) == choice.message.content
    assert bytes(b for entry in choice.logprobs.content for b in entry.bytes or ()).decode() == choice.message.content
    assert all(len(entry.top_logprobs) == 1 and entry.logprob <= 0 for entry in choice.logprobs.content)
    chunks = [chunk for chunk in chat.create(**asked, stream=True) if chunk.choices]
    streamed = [entry.token for c in chunks if c.choices[0].logprobs for entry in c.choices[0].logprobs.content or ()]
    assert streamed == [entry.token for entry in choice.logprobs.content]
    assert chat.create(model="desk", messages=user("x")).choices[0].logprobs is None


def test_working_is_not_shown_and_has_no_logprobs() -> None:
    with serving(lone(says("210+28=238"), answer_after="=")) as running:
        chat = running.client().chat.completions
        whole = chat.create(model="lone", messages=user("x"), logprobs=True).choices[0]
        assert whole.message.content == "238"
        assert [entry.token for entry in whole.logprobs.content or ()] == ["2", "3", "8"]  # type: ignore[union-attr]
        assert text_of(chat.create(model="lone", messages=user("x"), stream=True)) == "238"


def test_tools_are_called_and_their_results_come_back() -> None:
    worker = rules(("347", f"Let me see. {CALL}"), (".*", "It is 936."))
    with serving(lone(worker)) as running:
        chat = running.client().chat.completions
        asked = user("347 plus 589")
        first = chat.create(model="lone", messages=asked, tools=TOOLS).choices[0]
        assert first.finish_reason == "tool_calls"
        assert first.message.content == "Let me see."
        (call,) = first.message.tool_calls or ()
        assert (call.function.name, json.loads(call.function.arguments)) == ("add", {"a": 347, "b": 589})
        stream = [c for c in chat.create(model="lone", messages=asked, tools=TOOLS, stream=True) if c.choices]
        assert text_of(stream).strip() == "Let me see."
        (streamed,) = [c for chunk in stream for c in chunk.choices[0].delta.tool_calls or ()]
        assert streamed.index == 0 and streamed.function is not None and streamed.function.name == "add"
        assert stream[-1].choices[0].finish_reason == "tool_calls"
        result = {"role": "tool", "tool_call_id": call.id, "content": "936"}
        dialogue = [*asked, first.message.model_dump(exclude_none=True), result]
        assert chat.create(model="lone", messages=dialogue, tools=TOOLS).choices[0].finish_reason == "tool_calls"
        untold = chat.create(model="lone", messages=asked, tools=TOOLS, tool_choice="none").choices[0]
        assert untold.finish_reason == "stop" and untold.message.content == f"Let me see. {CALL}"


def test_tools_with_a_graph_go_to_the_node_that_the_router_chooses(server: Running) -> None:
    chat = server.client().chat.completions
    answer = chat.create(model="desk", messages=user("repeat me"), tools=TOOLS)
    assert answer.choices[0].message.content == "[repeat me]"
    assert [node["node"] for node in answer.usage.nodes] == ["master", "echo"]  # type: ignore[union-attr]
    turns = [*user("repeat me"), *called_with("{}")[1:]]
    assert chat.create(model="desk", messages=turns).choices[0].message.content == "[repeat me]"


@pytest.mark.parametrize(
    ("change", "status", "says_so"),
    [
        ({"messages": []}, 400, "messages"),
        ({"messages": [{"role": "assistant", "content": "hi"}]}, 400, "user"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, 400, "text"),
        ({"messages": called_with("[1]")}, 400, "JSON object"),
        ({"messages": called_with('{"a": "\\ud83d"}')}, 400, "whole characters"),
        ({"temperature": -1}, 400, "temperature"),
        ({"n": 1000}, 400, "n"),
        ({"response_format": {"type": "json_object"}}, 400, "response_format"),
        ({"logit_bias": {"1": 5}}, 400, "logit_bias"),
        ({"model": "desk/nobody"}, 404, "desk/echo"),
        ({"model": "desk/master"}, 404, "desk/echo"),
        ({"messages": user("broken")}, 503, "down"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors_in_openai_s_shape(
    server: Running, change: dict[str, Any], status: int, says_so: str, stream: bool
) -> None:
    body = {"model": "desk", "messages": user("x"), "stream": stream, **change}
    with pytest.raises(openai.APIStatusError) as caught:
        server.client().post("/chat/completions", body=body, cast_to=object)
    assert caught.value.status_code == status
    error = caught.value.response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert says_so in error["message"]


@pytest.mark.parametrize(
    ("content", "param", "says_so"),
    [
        ([{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {}}], "messages.0.content.1", "image_url"),
        ([{"type": "text"}], "messages.0.content.0.text", "required"),
        ([1], "messages.0.content.0", "object"),
        (1, "messages.0.content", "string"),
    ],
)
def test_the_place_of_a_mistake_is_one_of_the_request(content: Any, param: str, says_so: str) -> None:
    with pytest.raises(ValidationError) as caught:
        read(ChatRequest, json.dumps({"model": "m", "messages": [{"role": "user", "content": content}]}).encode())
    problem = problem_of(caught.value)
    assert (problem.param, says_so in problem.message) == (param, True), problem
    assert "TextPart" not in problem.message


def test_what_is_unknown_is_accepted(server: Running) -> None:
    answer = server.client().chat.completions.create(
        model="desk",
        messages=user("x"),
        metadata={"a": "b"},
        store=False,
        extra_body={"anything": 1},
        frequency_penalty=0,
    )
    assert answer.choices[0].message.content


def test_an_error_midway_ends_the_stream_with_an_event() -> None:
    from tests.router.gateway.recording import BreaksOff

    graph = Router(lone(says("x")), engines={WorkerId("w"): BreaksOff()})
    with serving(graph) as running:
        got: list[Any] = []
        stream = running.client().chat.completions.create(model="lone", messages=user("x"), stream=True)
        with pytest.raises(openai.APIError, match="broke off") as caught:
            got.extend(stream)
        assert text_of(got) == "half an a"
        assert caught.value.code == "engine_unavailable"


def test_a_fallback_takes_over_unless_text_is_out() -> None:
    from tests.router.gateway.recording import BreaksOff

    def graph(engines: Any) -> Router:
        nodes = {"a": expert("w"), "b": expert("other")}
        workers = {"w": says("", error="dead"), "other": says("rescued")}
        return Router(spec("a", workers, nodes, edge("a", "b", "fallback"), name="lone"), engines=engines)

    for engines, answer in (({}, "rescued"), ({WorkerId("w"): BreaksOff()}, None)):
        with serving(graph(engines)) as running:
            chat = running.client().chat.completions
            assert chat.create(model="lone", messages=user("x")).choices[0].message.content == "rescued"
            stream = chat.create(model="lone", messages=user("x"), stream=True)
            if answer is None:
                with pytest.raises(openai.APIError, match="began"):
                    list(stream)
            else:
                assert text_of(stream) == answer


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_hangs_up_stops_the_model(stream: bool) -> None:
    engine = Endless()
    if not stream:

        async def generate(request: Any) -> Any:
            async for _ in engine.stream(request):
                pass

        engine.generate = generate  # type: ignore[method-assign]
    with serving(Router(lone(says("x")), engines={WorkerId("w"): engine})) as running:
        body = {"model": "lone", "messages": user("x"), "stream": stream}
        async with httpx.AsyncClient() as client:
            if stream:
                async with client.stream("POST", f"{running.url}/v1/chat/completions", json=body) as response:
                    async for _ in response.aiter_raw():
                        break
            else:
                with pytest.raises(httpx.ReadTimeout):
                    await client.post(f"{running.url}/v1/chat/completions", json=body, timeout=0.5)
        async with asyncio.timeout(5):
            while not engine.closed:
                await asyncio.sleep(0.01)
        async with asyncio.timeout(5):
            while 'status="499"' not in running.gateway.metrics.text().decode():
                await asyncio.sleep(0.01)


def test_a_request_has_its_time() -> None:
    from router.gateway.gateway import Settings

    with serving(lone(says("late", seconds=5)), settings=Settings(seconds=0.2)) as running:
        with pytest.raises(openai.APIStatusError) as caught:
            running.client().chat.completions.create(model="lone", messages=user("x"))
        assert (caught.value.status_code, caught.value.response.json()["error"]["code"]) == (504, "deadline_exceeded")
