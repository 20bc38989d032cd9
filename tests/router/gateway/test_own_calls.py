"""Calls that nodes make, shown to the official client, and calls that wait for its user's yes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from router import Router
from router.types import WorkerId
from tests.router.gateway.graphs import lone, user
from tests.router.gateway.servers import Running, serving
from tests.router.runtime.graphs import edge, expert, router, rules, says, spec
from tests.router.runtime.test_native_users import call, rule

MAIL = {"function": "tests.router.runtime.desk_tools:send_mail"}


def desk(outbox: Path) -> Any:
    """A master before an expert that adds, one that sends mails, and a tool."""
    writes = call("send_mail", to="ann", outbox=str(outbox))
    adds = call("add", a=2, b=3)
    workers = {
        "master": rules(
            ("mail", "<node_1>('mail ann')<end>"), ("over", "<node_2>('8, 2')<end>"), (".*", "<node_0>('2+3')<end>")
        ),
        "adder": {"engine": "scripted", "rules": [rule(r"It is \g<0>.", after="5"), rule(f"Let me see. {adds}")]},
        "mailer": {
            "engine": "scripted",
            "rules": [rule("Not sent.", after="error"), rule(r"Done: \g<0>.", after=".+"), rule(f"Well. {writes}")],
        },
    }
    nodes = {
        "master": router("master"),
        "adder": expert("adder", tools=["add"], tool_format="native"),
        "mailer": expert("mailer", tools=["send_mail"], tool_format="native"),
        "over": {"kind": "tool", "tool": "divide"},
    }
    edges = [edge("master", node) for node in ("adder", "mailer", "over")]
    return spec("master", workers, nodes, *edges, name="desk", tools=[{"builtin": "arithmetic"}, MAIL])


@pytest.fixture(scope="module")
def outbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mail") / "outbox"


@pytest.fixture(scope="module")
def running(outbox: Path) -> Iterator[Running]:
    with serving(Router(desk(outbox), checkpoints=outbox.with_name("c.sqlite"))) as running:
        yield running


@pytest.fixture
def chat(running: Running, outbox: Path) -> Any:
    outbox.unlink(missing_ok=True)
    return running.client().chat.completions


def together(chunks: Any) -> tuple[str, list[Any], str]:
    """Text, calls and the reason of the end, of a stream."""
    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    calls = [entry for choice in choices for entry in choice.delta.tool_calls or ()]
    assert [entry.index for entry in calls] == list(range(len(calls)))
    return "".join(choice.delta.content or "" for choice in choices), calls, choices[-1].finish_reason or ""


SHOW = {"show_tool_calls": True}


@pytest.mark.parametrize(
    ("query", "name", "arguments", "answer"),
    [
        ("2 and 3?", "add", {"a": "2", "b": "3"}, "Let me see. It is 5."),
        ("8 over 2?", "divide", {"a": "8", "b": "2"}, "4"),
    ],
)
def test_calls_are_shown_when_asked_for(chat: Any, query: str, name: str, arguments: Any, answer: str) -> None:
    whole = chat.create(model="desk", messages=user(query), extra_body=SHOW).choices[0]
    text, streamed, reason = together(chat.create(model="desk", messages=user(query), extra_body=SHOW, stream=True))
    assert whole.message.content == answer == text
    assert whole.finish_reason == "stop" == reason, "nothing is left for the client to do"
    for calls in (whole.message.tool_calls, streamed):
        (made,) = calls
        assert made.id.startswith("made_") and made.function.name == name
        assert json.loads(made.function.arguments) == arguments
    assert chat.create(model="desk", messages=user(query)).choices[0].message.tool_calls is None
    assert not together(chat.create(model="desk", messages=user(query), stream=True))[1]


def test_a_dialogue_goes_on_after_calls_were_shown(chat: Any) -> None:
    first = chat.create(model="desk", messages=user("2 and 3?"), extra_body=SHOW).choices[0].message
    turns = [*user("2 and 3?"), first.model_dump(exclude_none=True), *user("8 over 2?")]
    again = chat.create(model="desk", messages=turns)
    assert again.choices[0].message.content == "4"
    assert [node["node"] for node in again.usage.nodes] == ["master", "over"]


def test_calls_to_make_and_calls_made_are_not_mixed(chat: Any) -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    with pytest.raises(openai.BadRequestError, match="either tools or show_tool_calls"):
        chat.create(model="desk", messages=user("2 and 3?"), tools=tools, extra_body=SHOW)


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_without_tags_is_the_client_s_too(stream: bool) -> None:
    tools: Any = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
    with serving(lone(says('{"name": "add", "parameters": {"a": 2}}'))) as running:
        answer: Any = running.client().chat.completions.create(
            model="lone", messages=user("2 and 3?"), tools=tools, stream=stream
        )
        if stream:
            text, (entry,), reason = together(answer)
        else:
            choice = answer.choices[0]
            text, (entry,), reason = choice.message.content or "", choice.message.tool_calls, choice.finish_reason
    assert (text, entry.function.name, entry.function.arguments, reason) == ("", "add", '{"a": 2}', "tool_calls")


def asked_for(chat: Any, stream: bool) -> tuple[Any, list[Any]]:
    """The call that waits, and the dialogue up to it."""
    messages = user("a mail, please")
    if stream:
        _, (entry,), reason = together(chat.create(model="desk", messages=messages, stream=True))
        turn = {"role": "assistant", "tool_calls": [entry.model_dump(exclude={"index"})]}
        return entry, [*messages, turn] if reason == "tool_calls" else []
    choice = chat.create(model="desk", messages=messages).choices[0]
    assert choice.finish_reason == "tool_calls" and choice.message.content is None
    (entry,) = choice.message.tool_calls
    return entry, [*messages, choice.message.model_dump(exclude_none=True)]


def says_it(entry: Any, text: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": entry.id, "content": text}


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_waits_for_a_yes_and_is_made_once(chat: Any, outbox: Path, stream: bool) -> None:
    entry, dialogue = asked_for(chat, stream)
    assert entry.function.name == "send_mail" and entry.id.startswith("approve_")
    assert json.loads(entry.function.arguments) == {"to": "ann", "outbox": str(outbox)}
    assert not outbox.exists()
    dialogue.append(says_it(entry, "Yes"))
    if stream:
        text, _, reason = together(chat.create(model="desk", messages=dialogue, stream=True))
    else:
        choice = chat.create(model="desk", messages=dialogue).choices[0]
        text, reason = choice.message.content, choice.finish_reason
    assert (text, reason) == ("Well. Done: sent to ann.", "stop")
    assert outbox.read_text().split() == ["ann"]
    with pytest.raises(openai.ConflictError) as caught:
        chat.create(model="desk", messages=dialogue)
    assert caught.value.response.json()["error"]["code"] == "nothing_pending"
    later = [*dialogue, {"role": "assistant", "content": text}, *user("2 and 3?")]
    assert chat.create(model="desk", messages=later).choices[0].message.content == "Let me see. It is 5."
    assert outbox.read_text().split() == ["ann"]


def test_a_no_is_read_by_the_model(chat: Any, outbox: Path) -> None:
    entry, dialogue = asked_for(chat, stream=False)
    answer = chat.create(model="desk", messages=[*dialogue, says_it(entry, "no")])
    assert answer.choices[0].message.content == "Well. Not sent."
    assert not outbox.exists()


def test_what_is_no_answer_to_a_waiting_call(chat: Any, running: Running, outbox: Path) -> None:
    entry, dialogue = asked_for(chat, stream=False)
    with pytest.raises(openai.BadRequestError, match="yes or no"):
        chat.create(model="desk", messages=[*dialogue, says_it(entry, "sent it myself")])
    for other in ("approve_x_y", entry.id + "0", "approve_", entry.id.replace("_", "_0", 1)):
        forged = {"role": "tool", "tool_call_id": other, "content": "yes"}
        with pytest.raises(openai.ConflictError):
            chat.create(model="desk", messages=[*dialogue, forged])
    assert not outbox.exists()
    chat.create(model="desk", messages=[*dialogue, says_it(entry, "yes")])
    assert outbox.read_text().split() == ["ann"]


def test_two_answers_at_once_make_one_call(chat: Any, outbox: Path) -> None:
    entry, dialogue = asked_for(chat, stream=False)
    outbox.with_name("closed").touch()
    statuses: list[int] = []

    def answer() -> None:
        try:
            chat.create(model="desk", messages=[*dialogue, says_it(entry, "yes")])
            statuses.append(200)
        except openai.APIStatusError as error:
            statuses.append(error.status_code)
            outbox.with_name("closed").unlink()

    threads = [threading.Thread(target=answer) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200, 409]
    assert outbox.read_text().split() == ["ann"]


def test_a_yes_whose_answer_fails_makes_no_second_call(outbox: Path, tmp_path: Path) -> None:
    graph = desk(outbox)
    mailer = graph.workers[WorkerId("mailer")]
    first, done, *rest = mailer.rules
    broken = mailer.model_copy(
        update={"rules": (first, done.model_copy(update={"error": "the worker is down"}), *rest)}
    )
    graph = graph.model_copy(update={"workers": {**graph.workers, WorkerId("mailer"): broken}})
    outbox.unlink(missing_ok=True)
    with serving(Router(graph, checkpoints=tmp_path / "c.sqlite")) as running:
        chat = running.client().with_options(max_retries=2).chat.completions  # as many as clients make by themselves
        entry, dialogue = asked_for(chat, stream=False)
        with pytest.raises(openai.APIStatusError) as caught:
            chat.create(model="desk", messages=[*dialogue, says_it(entry, "yes")])
        assert caught.value.response.json()["error"]["code"] == "nothing_pending"
        assert outbox.read_text().split() == ["ann"]


def test_another_key_cannot_answer(outbox: Path, tmp_path: Path) -> None:
    keys = [{"name": name, "variable": name.upper()} for name in ("ann", "bob")]
    graph = desk(outbox).model_dump(by_alias=True) | {"gateway": {"keys": keys}}
    from router import GraphSpec

    kept = Router(GraphSpec.model_validate(graph), checkpoints=tmp_path / "c.sqlite")
    outbox.unlink(missing_ok=True)
    with serving(kept, environ={"ANN": "key a", "BOB": "key b"}) as running:
        ann, bob = (running.client(key).chat.completions for key in ("key a", "key b"))
        entry, dialogue = asked_for(ann, stream=False)
        dialogue.append(says_it(entry, "yes"))
        with pytest.raises(openai.ConflictError):
            bob.create(model="desk", messages=dialogue)
        assert not outbox.exists()
        assert ann.create(model="desk", messages=dialogue).choices[0].message.content == "Well. Done: sent to ann."
