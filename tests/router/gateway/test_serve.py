"""``tokengraph serve``: a process of its own, with the models that ship with tokengraph."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import openai
import pytest

from router.errors import GraphError
from router.gateway.server import ServeOptions, make_app, serve
from tests.router.gateway.graphs import user

ROOT = Path(__file__).parents[3]


def test_the_pocket_graph_as_one_model() -> None:
    command = [sys.executable, "cli.py", "serve", "--port", "0"]
    environ = {**os.environ, "TERM": "dumb", "NO_COLOR": "1"}
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env=environ) as process:
        try:
            assert process.stderr is not None
            url = next(found[0] for line in process.stderr if (found := re.search(r"http://\S+/v1", line)))
            client = openai.OpenAI(base_url=url, api_key="none", timeout=120)
            answer = client.chat.completions.create(model="pocket", messages=user("hi, what's 347 plus 589?"))
            assert answer.choices[0].message.content == "936"
            stream = client.chat.completions.create(
                model="pocket/spelling", messages=user("banana backwards"), stream=True
            )
            assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
            assert "pocket/arithmetic" in [model.id for model in client.models.list()]
            assert httpx.get(url.removesuffix("/v1") + "/health").json()["model"] == "pocket"
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(60) in (0, -signal.SIGTERM)


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(GraphError, match="--port"):
        serve(ServeOptions(ROOT / "graph_specs" / "pocket.yaml", port=taken.getsockname()[1]))


def test_others_need_keys(tmp_path: Path) -> None:
    spec = ROOT / "graph_specs" / "pocket.yaml"
    with pytest.raises(GraphError, match="--open"):
        make_app(ServeOptions(spec, host="0.0.0.0"))
    make_app(ServeOptions(spec, host="0.0.0.0", open=True))
    keys = tmp_path / "keys.json"
    keys.write_text('{"keys": [{"name": "ann", "sha256": "%s"}]}' % ("0" * 64))
    _, gateway = make_app(ServeOptions(spec, host="0.0.0.0", keys=keys))
    assert gateway.keys


def test_it_says_the_name_that_clients_ask_for(tmp_path: Path) -> None:
    file = tmp_path / "other.yaml"
    file.write_text(
        "version: 1\nname: desk\nentry: a\nworkers: {w: {engine: scripted, rules: [{answer: hi}]}}\n"
        "nodes: {a: {kind: expert, worker: w}}\n"
    )
    command = [sys.executable, "cli.py", "serve", str(file), "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            said = next(line for line in process.stderr if "/v1" in line)
        finally:
            process.send_signal(signal.SIGTERM)
    assert said.rstrip().endswith("answers as desk")
