"""``tokengraph workers`` with specs that leave nothing to start, or cannot be met."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli import app


def workers(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["workers", *map(str, arguments)])


def test_nothing_to_do(state: Path) -> None:
    for command in (("up",), ("up", "--detach"), ("status",)):
        result = workers(*command)
        assert result.exit_code == 0 and "names no vLLM worker" in result.stderr
    assert workers("down").exit_code == 0
    assert workers("status", "--json").stdout == "[]\n"


def test_servers_that_run_elsewhere(state: Path) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/health" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/v1"
        path = state / "attached.yaml"
        path.write_text(
            f"entry: a\nworkers: {{w: {{engine: vllm, model: m, urls: ['{url}', 'http://127.0.0.1:1/v1']}}}}\n"
            "nodes: {a: {kind: expert, worker: w}}\n"
        )
        rows = json.loads(workers("status", "--json", path).stdout)
        assert [(row["url"], row["healthy"], row["phase"]) for row in rows] == [
            (url, True, "healthy"), ("http://127.0.0.1:1/v1", False, "no answer")
        ]  # fmt: skip
        up = workers("up", path)
        assert up.exit_code == 0 and "names no vLLM worker that is to be started here" in up.stderr
        server.shutdown()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("sleep_after: 60", "expected no sleep_after at worker w"),
        ("arguments: {port: 1}", "does not set itself, found port"),
        ("gpu_memory: 2", "expected a number not above 1 at workers.w.gpu_memory"),
    ],
)
def test_wrong_specs(state: Path, settings: str, message: str) -> None:
    path = state / "wrong.yaml"
    path.write_text(
        f"entry: a\nworkers: {{w: {{engine: vllm, model: m/m, {settings}}}}}\nnodes: {{a: {{kind: expert, worker: w}}}}\n"
    )
    up = workers("up", path)
    assert up.exit_code == 2 and message in up.stderr, up.stderr
