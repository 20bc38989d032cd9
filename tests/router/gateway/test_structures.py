"""Answers that are held to JSON by a real vLLM server, with the official client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import jsonschema
import openai
import pydantic
import pytest

from tests.experts.engines.checkpoints import save_checkpoint
from tests.experts.engines.vllm.servers import KEY, Servers
from tests.router.gateway.graphs import user
from tests.router.gateway.servers import Running, serving
from tests.router.runtime.graphs import edge, expert, router, rules, says, spec


class Answer(pydantic.BaseModel):
    """What the tests ask for: nothing in it can be long, since the model is a random one."""

    model_config = pydantic.ConfigDict(extra="forbid")
    subject: Literal["sums", "poems"]
    sure: bool


SCHEMA = Answer.model_json_schema()
FORMAT: Any = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}


def tool(name: str, **properties: Any) -> dict[str, Any]:
    parameters = {
        "type": "object", "properties": properties, "required": list(properties), "additionalProperties": False,
        "$defs": {"digit": {"enum": [1, 2, 3]}},
    }  # fmt: skip
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


DIGIT = {"$ref": "#/$defs/digit"}
TOOLS: Any = [tool("add", a=DIGIT, b=DIGIT), tool("negate", a=DIGIT)]


@pytest.fixture(scope="module")
def held(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A scripted master before a node on a vLLM server and one that can only write text."""
    model: Path = save_checkpoint(tmp_path_factory.mktemp("held") / "model", "qwen3")
    # A random model would fill its context with white space, which JSON may have anywhere.
    compact = {"backend": "xgrammar", "disable_any_whitespace": True}
    url = servers.start(model, "--structured-outputs-config", json.dumps(compact))
    workers = {
        "master": rules(("plain", "<node_1>('x')<end>"), (".*", "<node_0>('what?')<end>")),
        "json": {"engine": "vllm", "model": str(model), "url": url, "api_key": KEY},
        "plain": says("plain text"),
    }
    nodes = {"master": router("master"), "json": expert("json"), "plain": expert("plain")}
    graph = spec("master", workers, nodes, edge("master", "json"), edge("master", "plain"), name="held")
    with serving(graph) as running:
        yield running


def streamed(chunks: Any) -> tuple[str, list[Any], str | None]:
    """Text, calls and the reason for the end."""
    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    text = "".join(choice.delta.content or "" for choice in choices)
    return text, [c for choice in choices for c in choice.delta.tool_calls or ()], choices[-1].finish_reason


@pytest.mark.parametrize("model", ["held", "held/json"])
def test_an_answer_fits_its_schema(held: Running, model: str) -> None:
    chat = held.client().chat.completions
    for seed in range(3):
        asked: dict[str, Any] = {"model": model, "messages": user("x"), "response_format": FORMAT}
        asked |= {"temperature": 1.0, "seed": seed}
        whole = chat.create(**asked).choices[0]
        assert whole.finish_reason == "stop"
        jsonschema.validate(json.loads(whole.message.content or ""), SCHEMA)
        assert streamed(chat.create(**asked, stream=True)) == (whole.message.content, [], "stop")


def test_the_client_reads_it_into_its_own_type(held: Running) -> None:
    answer = held.client().chat.completions.parse(model="held", messages=user("x"), response_format=Answer)
    assert isinstance(answer.choices[0].message.parsed, Answer)


def test_several_choices_and_log_probabilities(held: Running) -> None:
    answer = held.client().chat.completions.create(
        model="held/json",
        messages=user("x"),
        response_format=FORMAT,
        n=3,
        temperature=1.0,
        logprobs=True,
        top_logprobs=2,
    )
    for choice in answer.choices:
        jsonschema.validate(json.loads(choice.message.content or ""), SCHEMA)
        assert choice.logprobs is not None and choice.logprobs.content
        assert "".join(entry.token for entry in choice.logprobs.content) == choice.message.content


def test_any_object(held: Running) -> None:
    """A random model hardly ends one: it is cut off, and is the beginning of an object."""
    cut = held.client().chat.completions.create(
        model="held/json", messages=user("x"), response_format={"type": "json_object"}, max_tokens=8
    )
    assert (cut.choices[0].message.content or "").startswith("{")
    text = held.client().chat.completions.create(model="held", messages=user("plain"), response_format={"type": "text"})
    assert text.choices[0].message.content == "plain text"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("choice", "names"),
    [("required", {"add", "negate"}), ({"type": "function", "function": {"name": "negate"}}, {"negate"})],
)
def test_a_tool_has_to_be_called(held: Running, choice: Any, names: set[str], stream: bool) -> None:
    chat = held.client().chat.completions
    for seed in range(4):
        asked: dict[str, Any] = {"model": "held", "messages": user("x"), "tools": TOOLS, "tool_choice": choice}
        asked |= {"temperature": 1.0, "seed": seed}
        if stream:
            text, calls, reason = streamed(chat.create(**asked, stream=True))
        else:
            whole = chat.create(**asked).choices[0]
            text, calls, reason = whole.message.content or "", list(whole.message.tool_calls or ()), whole.finish_reason
        assert (text, len(calls), reason) == ("", 1, "tool_calls")
        function = calls[0].function
        assert function.name in names
        schema = next(t["function"]["parameters"] for t in TOOLS if t["function"]["name"] == function.name)
        jsonschema.validate(json.loads(function.arguments), schema)


def schema_format(schema: Any) -> Any:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


BAD = {"type": "object", "properties": {"a": {"type": "strange"}}}
REFERS: Any = {"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": {"$ref": "#"}}}}}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("change", "param", "says_so"),
    [
        ({"response_format": schema_format(BAD)}, "response_format.json_schema.schema", "'strange'.* at .*properties.a.type"),
        ({"response_format": schema_format({"$ref": "#/nowhere"})}, None, "answered 400"),
        ({"response_format": schema_format("x")}, "response_format.json_schema.json_schema.schema", "should be an object"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.json_schema", "required"),
        ({"response_format": {"type": "xml"}}, "response_format", "json_object"),
        ({"response_format": FORMAT, "tools": TOOLS}, None, "either tools or a response_format"),
        ({"response_format": FORMAT, "model": "held/plain"}, "response_format", "held/plain.*only write text.*Ask held/json"),
        ({"response_format": FORMAT, "messages": user("plain")}, None, "node plain"),
        ({"tools": TOOLS, "tool_choice": "required", "messages": user("plain")}, "tool_choice", "held/plain.*only write"),
        ({"tool_choice": "required"}, "tool_choice", r"\(none\), found 'required'"),
        (
            {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "divide"}}}, "tool_choice",
            r"\(add, negate\), found 'divide'",
        ),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": BAD}}], "tool_choice": "required"}, "tools", "strange"),
        ({"tools": [REFERS], "tool_choice": "required"}, "tools", r"#/\$defs"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(
    held: Running, change: dict[str, Any], param: str | None, says_so: str, stream: bool
) -> None:
    body = {"model": "held", "messages": user("x"), "stream": stream, **change}
    with pytest.raises(openai.BadRequestError, match=says_so) as caught:
        held.client().post("/chat/completions", body=body, cast_to=object)
    error = caught.value.response.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
