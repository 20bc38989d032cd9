"""A new version of the spec takes over without a dropped request; an invalid one does not."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import yaml

from router.gateway.reload import Reloader, Version, read_version
from router.gateway.server import ServeOptions, make_app
from tests.router.gateway.graphs import CALL, user
from tests.router.gateway.servers import Running, listening
from tests.router.gateway.test_chat import TOOLS
from tests.router.runtime.graphs import says


def write(file: Path, answer: str, **more: Any) -> None:
    """Puts a graph in place at once, as a careful editor does; it answers after a moment."""
    data = {
        "version": 1, "name": "lone", "entry": "a", "workers": {"w": says(answer, seconds=0.05)},
        "nodes": {"a": {"kind": "expert", "worker": "w"}}, **more,
    }  # fmt: skip
    new = file.with_suffix(".new")
    new.write_text(yaml.safe_dump(data))
    os.replace(new, file)


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    file = tmp_path / "lone.yaml"
    write(file, "old")
    return file


@pytest.fixture
def running(spec: Path) -> Iterator[Running]:
    app, gateway = make_app(ServeOptions(spec))
    with listening(app) as url:
        yield Running(url, gateway)


async def until(holds: Any) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.02)


async def test_no_request_is_dropped(spec: Path, running: Running) -> None:
    answers: list[str] = []
    ended = False

    async def ask(client: openai.AsyncOpenAI) -> None:
        while not ended:
            answer = await client.chat.completions.create(model="lone", messages=user("x"))
            answers.append(answer.choices[0].message.content or "")

    async with running.async_client() as client:
        asking = [asyncio.ensure_future(ask(client)) for _ in range(8)]
        await until(lambda: len(answers) > 20)
        old = running.gateway.deployment
        write(spec, "new")
        await until(lambda: "new" in answers)
        seen = len(answers)
        await until(lambda: len(answers) > seen + 20)
        ended = True
        await asyncio.gather(*asking)
    assert set(answers) == {"old", "new"}
    assert set(answers[-16:]) == {"new"}
    assert running.gateway.deployment is not old
    await until(lambda: "_direct" not in old.router.__dict__)  # closed, since nobody used it any more


async def test_an_invalid_spec_leaves_the_old_one(spec: Path, running: Running) -> None:
    spec.write_text("version: 1\nname: lone\nentry: nobody\n")
    await until(lambda: running.gateway.problem is not None)
    assert "nobody" in (running.gateway.problem or "") or "nodes" in (running.gateway.problem or "")
    health = httpx.get(running.url + "/health").json()
    assert health["status"] == "ok" and "invalid" in health["spec"]
    answer = running.client().chat.completions.create(model="lone", messages=user("x"))
    assert answer.choices[0].message.content == "old"
    write(spec, "mended")
    await until(lambda: running.gateway.problem is None)
    answer = running.client().chat.completions.create(model="lone", messages=user("x"))
    assert answer.choices[0].message.content == "mended"
    assert httpx.get(running.url + "/health").json()["spec"] == "served"
    metrics = httpx.get(running.url + "/metrics").text
    assert 'reloads_total{outcome="invalid"} 1.0' in metrics and 'reloads_total{outcome="served"} 1.0' in metrics


async def test_a_version_without_keys_does_not_open_the_server(spec: Path) -> None:
    keys = {"keys": [{"name": "ann", "sha256": "0" * 64}]}
    write(spec, "old", gateway=keys)
    app, gateway = make_app(ServeOptions(spec, host="0.0.0.0"))
    with listening(app) as url:
        write(spec, "new")
        await until(lambda: gateway.problem is not None)
        assert "API keys" in (gateway.problem or "") and "old" in str(gateway.deployment.spec)
        assert httpx.get(url + "/v1/models").status_code == 401
        write(spec, "new", gateway=keys)
        await until(lambda: gateway.problem is None)
        assert "new" in str(gateway.deployment.spec)


async def test_a_stream_under_way_ends_on_the_version_it_began_with(spec: Path, running: Running) -> None:
    write(spec, "slow " * 40)
    await until(lambda: "slow" in str(running.gateway.deployment.spec))
    before = running.gateway.deployment
    async with running.async_client() as client:
        stream = await client.chat.completions.create(model="lone", messages=user("x"), stream=True)
        write(spec, "new")
        await until(lambda: running.gateway.deployment is not before)
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])
    assert text == ("slow " * 40).strip()


async def test_a_change_while_a_version_takes_over_is_seen(spec: Path) -> None:
    _, gateway = make_app(ServeOptions(spec))
    edits = iter(("second", "third"))

    def read() -> Version:
        version = read_version(spec, None)
        if (edit := next(edits, None)) is not None:
            write(spec, edit)  # an editor that is faster than the server
        return version

    reloader = Reloader(gateway, read(), read)
    await reloader.look()
    assert "second" in str(gateway.deployment.spec)
    await reloader.look()
    assert "third" in str(gateway.deployment.spec)
    await reloader.close()


async def test_included_files_and_keys_are_watched(spec: Path, running: Running, tmp_path: Path) -> None:
    def include(node: str) -> None:
        more = {"nodes": {node: {"kind": "expert", "worker": "w"}}, "edges": [{"from": "a", "to": node}]}
        (tmp_path / "more.yaml").write_text(yaml.safe_dump(more))

    include("b")
    write(spec, "old", include=["more.yaml"])
    await until(lambda: "b" in running.gateway.deployment.spec.nodes)
    include("c")
    await until(lambda: "c" in running.gateway.deployment.spec.nodes)
    key = {"name": "ann", "sha256": "0" * 64}
    write(spec, "old", gateway={"keys": [key]})
    await until(lambda: bool(running.gateway.keys))
    assert httpx.get(running.url + "/v1/models").status_code == 401


async def test_a_call_of_a_node_that_is_gone_comes_back_to_another(tmp_path: Path) -> None:
    file = tmp_path / "desk.yaml"

    def put(expert: str) -> None:
        workers = {"m": says("<node_0>('x')<end>"), "w": says(f"{expert}: {CALL}")}
        nodes = {"m": {"kind": "router", "worker": "m"}, expert: {"kind": "expert", "worker": "w"}}
        edges = [{"from": "m", "to": expert}]
        graph = {"version": 1, "name": "desk", "entry": "m", "workers": workers, "nodes": nodes, "edges": edges}
        new = file.with_suffix(".new")
        new.write_text(yaml.safe_dump(graph))
        os.replace(new, file)

    put("clerk")
    app, gateway = make_app(ServeOptions(file))
    with listening(app) as url:
        chat = Running(url, gateway).client().chat.completions
        asked = user("347 plus 589")
        first = chat.create(model="desk", messages=asked, tools=TOOLS).choices[0].message
        (call,) = first.tool_calls or ()
        put("porter")
        await until(lambda: "porter" in gateway.deployment.spec.nodes)
        result = {"role": "tool", "tool_call_id": call.id, "content": "936"}
        dialogue: Any = [*asked, first.model_dump(exclude_none=True), result]
        again = chat.create(model="desk", messages=dialogue, tools=TOOLS)
        assert (again.choices[0].message.content or "").startswith("porter")
