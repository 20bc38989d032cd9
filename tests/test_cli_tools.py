"""Tools at the command: what they answer, and the question before a call that changes something."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from tests.test_cli_terminal import ROOT, environment

SPEC = """\
entry: mail
tools:
  - {function: "postbox:send_mail"}
nodes:
  mail: {kind: tool, tool: send_mail}
"""
POSTBOX = '''\
from pathlib import Path
from router.tools import tool

@tool(side_effects=True)
def send_mail(to: str) -> str:
    """Sends a mail."""
    with Path(__file__).with_name("outbox").open("a") as file:
        file.write(f"{to}\\n")
    return f"sent to {to}"
'''


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    (tmp_path / "postbox.py").write_text(POSTBOX)
    path = tmp_path / "mail.yaml"
    path.write_text(SPEC)
    return path


def sent(spec: Path) -> list[str]:
    outbox = spec.with_name("outbox")
    return outbox.read_text().split() if outbox.exists() else []


def tokengraph(*arguments: object, given: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "cli.py", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, input=given, capture_output=True, text=True, env=environment())


def on_terminal(*arguments: object) -> pexpect.spawn[str]:
    return pexpect.spawn(
        sys.executable, ["cli.py", *map(str, arguments)], cwd=str(ROOT), env=environment(NO_COLOR="1"), timeout=60,
        encoding="utf-8", dimensions=(24, 200),
    )  # fmt: skip


@pytest.mark.parametrize(("answer", "mails"), [("y", ["ann"]), ("", []), ("n", [])])
def test_a_query_asks_on_the_terminal(spec: Path, answer: str, mails: list[str]) -> None:
    terminal = on_terminal("query", "ann", "--graph", spec)
    terminal.expect_exact("run send_mail(to='ann')? [y/N] ")
    assert sent(spec) == []
    terminal.sendline(answer)
    terminal.expect_exact("sent to ann" if mails else "expected a yes from the user, found a no")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert (terminal.exitstatus, sent(spec)) == (0 if mails else 1, mails)


@pytest.mark.parametrize("kept", [False, True])
def test_a_chat_asks_and_goes_on(spec: Path, tmp_path: Path, kept: bool) -> None:
    terminal = on_terminal("chat", "--graph", spec, *(["--checkpoints", tmp_path / "c.sqlite"] if kept else []))
    for name, answer, said in (("ann", "n", "found a no"), ("bob", "y", "sent to bob"), ("cid", "yes", "sent to cid")):
        terminal.expect_exact("> ")
        terminal.sendline(name)
        terminal.expect_exact(f"run send_mail(to='{name}')? [y/N] ")
        terminal.sendline(answer)
        terminal.expect_exact(said)
    terminal.expect_exact("> ")
    terminal.sendeof()
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert (terminal.exitstatus, sent(spec)) == (0, ["bob", "cid"])


def test_without_a_terminal_the_call_waits_for_an_answer(spec: Path, tmp_path: Path) -> None:
    kept = ["--graph", spec, "--checkpoints", tmp_path / "c.sqlite", "--thread", "t"]
    first = tokengraph("query", "ann", *kept)
    assert (first.returncode, first.stdout) == (1, "")
    assert "send_mail(to='ann')" in first.stderr
    command = next(line for line in first.stderr.splitlines() if line.startswith("tokengraph query"))
    again = tokengraph("query", "--resume", "--json", *kept)
    assert again.returncode == 1
    assert json.loads(again.stdout)["pending"]["arguments"] == {"to": "ann"}
    assert sent(spec) == []
    shown = command.partition("    ")[0].split()[1:]
    assert shown[-2:] == ["--resume", "--approve"]
    done = tokengraph(*shown)
    assert (done.returncode, done.stdout, sent(spec)) == (0, "sent to ann\n", ["ann"])
    assert "waits for a yes" in tokengraph(*shown).stderr
    assert sent(spec) == ["ann"]


def test_a_denied_call_fails_and_says_so(spec: Path, tmp_path: Path) -> None:
    kept = ["--graph", spec, "--checkpoints", tmp_path / "c.sqlite", "--thread", "t"]
    tokengraph("query", "ann", *kept)
    denied = tokengraph("query", "--resume", "--deny", *kept)
    assert (denied.returncode, denied.stdout, sent(spec)) == (1, "", [])
    assert "found a no" in denied.stderr


def test_what_nobody_can_answer_is_refused(spec: Path, tmp_path: Path) -> None:
    refused = tokengraph("query", "ann", "--graph", spec)
    assert refused.returncode == 1
    assert "--checkpoints FILE --thread ID" in refused.stderr
    piped = tokengraph("chat", "--graph", spec, "--checkpoints", tmp_path / "c.sqlite", given="ann\n")
    assert piped.returncode == 1
    assert "nobody to ask" in piped.stderr
    assert tokengraph("query", "ann", "--graph", spec, "--approve").returncode == 2
    assert sent(spec) == []


def test_the_graph_of_tools_answers() -> None:
    graph = ["--graph", ROOT / "graph_specs" / "tools.yaml"]
    assert tokengraph("query", "what is (2 + 3) * 123456789012?", *graph).stdout == "617283945060\n"
    days = tokengraph("query", "how many days from 2024-01-01 to 2024-03-01?", "--trace", *graph)
    assert days.stdout == "60\n"
    assert "days calls days_between(first='2024-01-01', second='2024-03-01')" in days.stderr
    assert tokengraph("query", "capital of france", *graph).stdout == "Paris\n"
    for other in ("hello", "what is 1/0?"):
        assert tokengraph("query", other, *graph).stdout.startswith("I can only calculate")
    shown = tokengraph("graph", "show", graph[1]).stdout
    assert "days_between, weekday" in shown
