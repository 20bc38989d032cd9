"""The commands as a user meets them: what they print where, and how they end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli import app

ROOT = Path(__file__).parent.parent
SPEC = """\
name: demo
entry: master
workers:
  m:
    engine: scripted
    tokens: ["<node_0>", "<node_1>", "<end>"]
    rules:
      - {match: "(\\\\d+) plus (\\\\d+)", answer: "<node_0>('\\\\1+\\\\2')<end>"}
      - {answer: "<node_1>('chat')<end>"}
  calc:
    engine: scripted
    rules:
      - {match: "13", error: "afraid of 13"}
      - {match: "99", answer: "late", seconds: 60}
      - {answer: "carry the one: 936"}
  talk: {engine: scripted, rules: [{answer: "Hello."}]}
nodes:
  master: {kind: router, worker: m}
  sums: {kind: expert, worker: calc, answer_after: ":"}
  talk: {kind: expert, worker: talk}
edges:
  - {from: master, to: sums, cost: 0.5}
  - {from: master, to: talk}
"""


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("TOKENGRAPH_GRAPH", raising=False)
    path = tmp_path / "demo.yaml"
    path.write_text(SPEC)
    return path


def run(*arguments: object, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)


def test_help_loads_nothing_heavy() -> None:
    check = """
import sys
from cli import app
try:
    app(["--help"])
except SystemExit as end:
    assert end.code == 0
heavy = {"torch", "transformers", "langgraph", "numpy", "networkx", "pydantic", "yaml", "rich", "asyncio", "router.spec"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "query" in done.stdout


@pytest.mark.parametrize(
    "command", ["query", "chat", "route", "batch", "graph validate", "graph draw", "train functional-tokens"]
)
def test_every_command_has_help(command: str) -> None:
    result = run(*command.split(), "--help")
    assert result.exit_code == 0
    assert "Usage:" in result.stdout


def test_version() -> None:
    assert run("--version").stdout.startswith("tokengraph")


def test_query_prints_the_answer_alone(spec: Path) -> None:
    result = run("query", "347 plus 589", "--graph", spec)
    assert (result.stdout, result.stderr, result.exit_code) == ("936\n", "", 0)


def test_query_from_standard_input_and_graph_from_the_environment(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENGRAPH_GRAPH", str(spec))
    assert run("query", "-", stdin="hi\n").stdout == "Hello.\n"


def test_trace_goes_to_standard_error(spec: Path) -> None:
    result = run("query", "347 plus 589", "--graph", spec, "--trace")
    assert result.stdout == "936\n"
    for part in ("master → sums <node_0> 90.0%", "talk <node_1> 10.0%", "347+589", "carry the one:", "cost 0.5"):
        assert part in result.stderr


def test_query_as_json(spec: Path) -> None:
    value = json.loads(run("query", "347 plus 589", "--graph", spec, "--json").stdout)
    assert list(value) == ["query", "answer", "abstained", "route", "usage", "events"]
    assert (value["query"], value["answer"], value["abstained"]) == ("347 plus 589", "936", False)
    assert value["route"] == [{"node": "sums", "token": "<node_0>", "probability": pytest.approx(0.9)}]
    assert value["usage"]["cost"] == 0.5
    assert [event["kind"] for event in value["events"]] == ["routed", "answered"]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["hi", "--resume", "--thread", "t", "--checkpoints", "c"],
        ["--resume"],
        ["hi", "--thread", "t"],
        ["hi", "--jsn"],
    ],
)
def test_wrong_usage(spec: Path, arguments: list[str]) -> None:
    result = run("query", *arguments, "--graph", spec)
    assert result.exit_code == 2
    assert "Error: " in result.stderr
    assert not result.stdout


def test_a_failed_run(spec: Path) -> None:
    result = run("query", "13 plus 1", "--graph", spec)
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", "error: afraid of 13\n")


def test_a_wrong_spec_is_shown_with_its_place(spec: Path) -> None:
    spec.write_text(SPEC.replace("worker: calc", "worker: calcc"))
    for command in (["query", "hi", "--graph"], ["graph", "validate"], ["graph", "show"], ["route", "hi", "--graph"]):
        result = run(*command, spec)
        assert result.exit_code == 2
        lines = result.stderr.splitlines()
        assert lines[0].startswith(f"{spec}:19:32: error: expected ")
        assert "'calcc'" in lines[0]
        assert lines[1].startswith("  19 |   sums: {kind: expert")
        assert lines[2].index("^") == lines[1].index("calcc")
        assert lines[3].startswith("  fix: did you mean calc?")


def test_a_spec_that_is_not_there(tmp_path: Path) -> None:
    result = run("query", "hi", "--graph", tmp_path / "none.yaml")
    assert result.exit_code == 2
    assert "which does not exist" in result.stderr


def test_a_thread_remembers_and_resumes(spec: Path, tmp_path: Path) -> None:
    thread = ["--graph", spec, "--thread", "t", "--checkpoints", tmp_path / "c.sqlite", "--json"]
    first = json.loads(run("query", "hi", *thread).stdout)
    second = json.loads(run("query", "hi", *thread).stdout)
    assert second["usage"]["prompt_tokens"] > first["usage"]["prompt_tokens"]
    assert json.loads(run("query", "--resume", *thread).stdout)["answer"] == "Hello."
    thread[3] = "another"
    result = run("query", "--resume", *thread)
    assert result.exit_code == 1
    assert "expected a thread named 'another', found none. Begin it with a query" in result.stderr


def test_checkpoints_in_a_file_of_another_kind(spec: Path) -> None:
    result = run("query", "hi", "--graph", spec, "--thread", "t", "--checkpoints", spec)
    assert result.exit_code == 1
    assert "expected an SQLite file for checkpoints" in result.stderr
    assert spec.read_text() == SPEC


def test_validate(spec: Path) -> None:
    assert run("graph", "validate", spec).stdout == f"{spec}: ok, 3 nodes, 2 edges, 3 workers\n"


def test_show(spec: Path) -> None:
    shown = run("graph", "show", spec).stdout
    for part in ("master router m", "sums expert calc", "token, cost 0.5", "scripted", "cost to reach a node"):
        assert part in shown


def test_draw(spec: Path, tmp_path: Path) -> None:
    assert run("graph", "draw", spec).stdout.startswith("flowchart")
    assert run("graph", "draw", spec, "--format", "svg").stdout.startswith("<svg")
    assert run("graph", "draw", spec, "--out", tmp_path / "g.svg").exit_code == 0
    assert (tmp_path / "g.svg").read_text().startswith("<svg")
    assert run("graph", "draw", spec, "--out", tmp_path / "new" / "g.mmd").exit_code == 0
    assert (tmp_path / "new" / "g.mmd").read_text().startswith("flowchart")
    refused = run("graph", "draw", spec, "--out", tmp_path / "g.png")
    assert refused.exit_code == 2 and "ends in .svg, .mmd" in refused.stderr and not (tmp_path / "g.png").exists()
    assert run("graph", "draw", spec, "--format", "png").exit_code == 2


def test_schema() -> None:
    assert json.loads(run("graph", "schema").stdout)["title"] == "tokengraph graph spec"


def test_route_one_query(spec: Path) -> None:
    shown = run("route", "347 plus 589", "--graph", spec).stdout
    assert shown.index("→") < shown.index("sums") < shown.index("talk")
    assert "90.0%" in shown
    assert "347+589" in shown
    value = json.loads(run("route", "347 plus 589", "--graph", spec, "--json").stdout)
    assert (value["node"], value["reformulated"]) == ("sums", "347+589")


def test_route_a_file(spec: Path, tmp_path: Path) -> None:
    queries, out = tmp_path / "in.jsonl", tmp_path / "new" / "out.jsonl"
    queries.write_text('{"id": 1, "query": "1 plus 2"}\n\n{"id": "b", "query": "hi"}\n')
    result = run("route", "--in", queries, "--out", out, "--graph", spec)
    assert result.exit_code == 0, result.stderr
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["id"], row["node"]) for row in rows] == [(1, "sums"), ("b", "talk")]
    assert rows[0]["alternatives"] == [
        {"node": "sums", "probability": pytest.approx(0.9)}, {"node": "talk", "probability": pytest.approx(0.1)},
    ]  # fmt: skip
    assert list(out.parent.iterdir()) == [out]


def test_a_wrong_file_routes_nothing(spec: Path, tmp_path: Path) -> None:
    queries, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    queries.write_text('{"id": 1, "query": "1 plus 2"}\n{"id": 2}\n')
    result = run("route", "--in", queries, "--out", out, "--graph", spec)
    assert result.exit_code == 2
    assert f"{queries}:2:1: expected the key 'query'" in result.stderr
    assert not out.exists()


def test_route_with_a_folder_that_has_no_tokens(spec: Path, tmp_path: Path) -> None:
    result = run("route", "hi", "--graph", spec, "--tokens", tmp_path)
    assert result.exit_code == 2
    assert "expected a tokens folder" in result.stderr


def test_batch(spec: Path, tmp_path: Path) -> None:
    queries, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    queries.write_text('{"id": 1, "query": "1 plus 2"}\n{"id": "b", "query": "13 plus 1"}\n')
    result = run("batch", queries, "--out", out, "--graph", spec)
    assert (result.exit_code, result.stdout) == (1, "")
    rows = {row["id"]: row for row in map(json.loads, out.read_text().splitlines())}
    assert list(rows[1]) == ["id", "answer", "route", "usage"]
    assert rows["b"] == {"id": "b", "error": "afraid of 13"}
    assert "1 answers" in result.stderr
    assert "1 failed" in result.stderr
    again = run("batch", queries, "--out", out, "--graph", spec)
    assert again.exit_code == 1 and "1 failed" in again.stderr, "there is no answer to it yet"
    queries.write_text('{"id": 1, "query": "1 plus 2"}\n')
    assert run("batch", queries, "--out", out, "--graph", spec).exit_code == 0


@pytest.mark.parametrize("command", [["batch"], ["route", "--in"]])
def test_queries_from_a_pipe(spec: Path, tmp_path: Path, command: list[str]) -> None:
    out = tmp_path / "out.jsonl"
    arguments = [*command, "/dev/stdin", "--out", str(out), "--graph", str(spec)]

    def asked(lines: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "cli.py", *arguments], cwd=ROOT, input=lines, capture_output=True, text=True
        )

    done = asked('{"id": 1, "query": "1 plus 2"}\n{"id": "b", "query": "hi"}\n')
    assert done.returncode == 0, done.stderr
    assert {json.loads(line)["id"] for line in out.read_text().splitlines()} == {1, "b"}
    wrong = asked('{"id": 2, "query": "hi"}\n{"id": 3}\n')
    assert (wrong.returncode, "/dev/stdin:2:1: expected the key 'query'" in wrong.stderr) == (2, True)


def test_training_needs_a_model_that_can_learn(spec: Path, tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text('{"query": "hi", "node": "talk"}\n')
    result = run("train", "functional-tokens", "--graph", spec, "--data", data, "--out", tmp_path / "tokens")
    assert result.exit_code == 2
    assert "expected a worker with engine: local" in result.stderr


def test_chat_from_a_pipe(spec: Path) -> None:
    talk = "1 plus 2\n\n/trace\n/help\n/nonsense\n/new\n/trace\nhi\n/quit\nhi\n"
    result = run("chat", "--graph", spec, stdin=talk)
    assert (result.stdout, result.exit_code) == ("936\nHello.\n", 0)
    for part in ("master → sums", "/quit", "/nonsense is no command", "no answer yet"):
        assert part in result.stderr


def test_chat_goes_on_after_a_failure_and_says_so_in_the_end(spec: Path) -> None:
    result = run("chat", "--graph", spec, stdin="13 plus 1\nhi\n")
    assert (result.stdout, result.exit_code) == ("Hello.\n", 1)
    assert "error: afraid of 13" in result.stderr


@pytest.mark.parametrize("kept", [False, True])
def test_chat_remembers_until_a_new_conversation(spec: Path, tmp_path: Path, kept: bool) -> None:
    store = ["--checkpoints", str(tmp_path / "c.sqlite"), "--thread", "t"] if kept else []
    result = run("chat", "--graph", spec, "--trace", *store, stdin="hi\nhi\n/new\nhi\n")
    read = [line for line in result.stderr.splitlines() if line.startswith(("1 visit", "2 visits"))]
    first, second, third = (int(line.split(" · ")[1].split()[0]) for line in read)
    assert first == third < second


def test_completion(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(spec.parent)
    (spec.parent / "data.jsonl").touch()

    def complete(*words: str) -> list[str]:
        line = {"COMP_WORDS": " ".join(("tokengraph", *words)), "COMP_CWORD": str(len(words))}
        monkeypatch.setenv("_TOKENGRAPH_COMPLETE", "complete_bash")
        result = CliRunner().invoke(app, env=line, prog_name="tokengraph")
        return result.stdout.split()

    assert "query" in complete("")
    assert complete("query", "--graph", "d") == ["demo.yaml"]
    assert complete("train", "functional-tokens", "--graph", "demo.yaml", "--node", "m") == ["master"]
