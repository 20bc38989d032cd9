"""Request ids, traces, metrics, spans and logs."""

from __future__ import annotations

import json
import logging
from typing import Any, get_args

import httpx
import openai
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from router.gateway.gateway import Settings
from router.gateway.logs import JsonLines
from router.gateway.telemetry import Finished, Telemetry
from router.gateway.traces import Trace, Traces
from router.trace import Answered, Called, Event, Failed, Joined, Routed, Stopped
from tests.router.gateway.graphs import desk, user
from tests.router.gateway.servers import Running, serving

SECRET = "repeat the-secret-word"


def test_request_ids_go_in_and_out(server: Running) -> None:
    create = server.client().chat.completions.with_raw_response.create
    given = create(model="desk", messages=user("x"), extra_headers={"x-request-id": "my-id.1"})
    assert given.headers["x-request-id"] == "my-id.1"
    assert given.parse().id == "chatcmpl-my-id.1"
    made = [create(model="desk", messages=user("x")).headers["x-request-id"] for _ in range(2)]
    assert made[0] != made[1]
    forged = create(model="desk", messages=user("x"), extra_headers={"x-request-id": "no good!" * 99})
    assert "no good" not in forged.headers["x-request-id"]
    with pytest.raises(openai.NotFoundError) as caught:
        create(model="none", messages=user("x"), extra_headers={"x-request-id": "failed"})
    assert caught.value.request_id == "failed"


def test_the_trace_is_in_the_response_and_under_its_id(server: Running) -> None:
    answer = server.client().chat.completions.create(model="desk", messages=user("repeat me"))
    told: Any = answer.model_extra["tokengraph"]  # type: ignore[index]
    (run,) = told["runs"]
    assert [pick["node"] for pick in run["route"]] == ["echo"]
    trace = httpx.get(f"{server.url}/v1/traces/{answer.id}").json()
    assert trace == httpx.get(f"{server.url}/v1/traces/{told['trace']}").json()
    assert trace["runs"] == [run["events"]]
    assert [event["kind"] for event in run["events"]] == ["routed", "answered"]
    last = list(server.client().chat.completions.create(model="desk", messages=user("repeat me"), stream=True))[-1]
    assert [e["node"] for e in last.model_extra["tokengraph"]["runs"][0]["events"]] == ["master", "echo"]  # type: ignore[index]


def test_a_failed_run_has_a_trace(server: Running) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        server.client().chat.completions.create(model="desk", messages=user("broken"))
    trace = httpx.get(f"{server.url}/v1/traces/{caught.value.request_id}").json()
    assert "down" in trace["error"]
    assert [event["kind"] for event in trace["runs"][0]] == ["routed", "failed"]


def test_the_oldest_traces_go() -> None:
    traces = Traces(2)
    for name in "abc":
        traces.add(name, Trace("m", 0, None, ()))
    assert traces.get("chatcmpl-c", None)["id"] == "c"
    with pytest.raises(Exception, match="last 2 requests"):
        traces.get("a", None)


def test_metrics() -> None:
    with serving(desk()) as running:
        running.client().chat.completions.create(model="desk", messages=user("repeat me"))
        with pytest.raises(openai.NotFoundError):
            running.client().chat.completions.create(model="none", messages=user("x"))
        response = httpx.get(running.url + "/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    for line in (
        'tokengraph_requests_total{endpoint="chat/completions",status="200"} 1.0',
        'tokengraph_requests_total{endpoint="chat/completions",status="404"} 1.0',
        'tokengraph_visits_total{kind="answered",node="echo"} 1.0',
        'tokengraph_tokens_total{kind="written",node="echo"} 5.0',
        "tokengraph_requests_running 0.0",
    ):
        assert line in response.text


def test_spans_follow_the_conventions() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    telemetry = Telemetry(provider.get_tracer("test"))
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with serving(desk(), telemetry=telemetry) as running:
        chat = running.client().chat.completions
        chat.create(model="desk", messages=user("repeat me"), extra_headers={"traceparent": parent})
        with pytest.raises(openai.InternalServerError):
            chat.create(model="desk", messages=user("broken"))
    spans = {span.name: span for span in exporter.get_finished_spans()}
    request, visit = next(s for s in exporter.get_finished_spans() if s.name == "chat desk"), spans["chat echo"]
    assert f"{request.context.trace_id:032x}" == parent[3:35]
    assert visit.parent is not None and visit.parent.span_id == request.context.span_id
    assert request.attributes is not None and visit.attributes is not None
    assert request.attributes["gen_ai.operation.name"] == "chat"
    assert request.attributes["gen_ai.request.model"] == "desk"
    assert request.attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert visit.attributes["gen_ai.usage.output_tokens"] == 5
    assert spans["route master"].attributes["tokengraph.chosen"] == ("down",)  # type: ignore[index]
    assert spans["visit down"].status.status_code == StatusCode.ERROR
    assert "repeat" not in str([span.to_json() for span in exporter.get_finished_spans()])


EVENTS: tuple[Event, ...] = (
    Routed(node="n", chosen=(), queries=(), alternatives=()),
    Answered(node="n", answer="x", probability=1, finish_reason="stop"),
    Called(node="n", tool="add", arguments={}, text="3"),
    Joined(node="n", method="vote", sources=(), answer="x", probability=1),
    Failed(node="n", error="x"),
    Stopped(node="n", reason="cut off"),
)


def test_every_kind_of_visit_has_a_span() -> None:
    assert {type(event) for event in EVENTS} == set(get_args(get_args(Event)[0]))
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    Telemetry(provider.get_tracer("test")).record(Finished("chat", "m", "id", {}, 1.0, (EVENTS,)))
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert set(spans) == {"route n", "chat n", "execute_tool add", "join n", "visit n", "chat m"}
    called = spans["execute_tool add"].attributes or {}
    assert (called["gen_ai.operation.name"], called["gen_ai.tool.name"]) == ("execute_tool", "add")


@pytest.mark.parametrize("log_prompts", [False, True])
def test_logs_hold_no_prompt_unless_asked_to(caplog: pytest.LogCaptureFixture, log_prompts: bool) -> None:
    caplog.set_level(logging.DEBUG)
    with serving(desk(), settings=Settings(log_prompts=log_prompts)) as running:
        chat = running.client().chat.completions
        chat.create(model="desk", messages=user(SECRET), extra_headers={"x-request-id": "one"})
        list(chat.create(model="desk", messages=user(SECRET), stream=True))
        with pytest.raises(openai.InternalServerError):
            chat.create(model="desk", messages=user("broken the-secret-word"))
        with pytest.raises(openai.BadRequestError):
            chat.create(model="desk", messages=user(SECRET), n=1000)
    ours = [record for record in caplog.records if record.name.startswith(("tokengraph", "uvicorn"))]
    lines = [json.loads(JsonLines().format(record)) for record in ours]
    first = next(line for line in lines if line.get("request_id") == "one")
    assert (first["status"], first["nodes"], first["path"]) == (200, ["master", "echo"], "/v1/chat/completions")
    assert ("the-secret-word" in json.dumps(lines)) == log_prompts
