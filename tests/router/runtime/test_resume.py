"""Threads: memory over turns, and runs that go on after the process was killed."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from router import Message, Router
from router.errors import EngineUnavailable, RunError
from router.runtime.checkpoints import open_checkpoints
from tests.router.runtime.graphs import edge, expert, make, rules, says, visited

ROOT = Path(__file__).parents[3]

# s forks to a and to b -> c; every visit writes its node's name to a file, and c blocks while a file is missing.
PROGRAM = """
import asyncio, sys
from pathlib import Path
from experts.engines.config import ScriptedWorker
from experts.engines.scripted import ScriptedEngine
from tests.router.runtime.graphs import edge, expert, make, says

folder, how = Path(sys.argv[1]), sys.argv[2]

class Noting(ScriptedEngine):
    def __init__(self, name):
        super().__init__(ScriptedWorker.model_validate(says(name + r"(\\g<0>)", match=".+")))
        self.name = name

    async def stream(self, request):
        with open(folder / "visits", "a") as file:
            file.write(self.name + "\\n")
        while self.name == "c" and not (folder / "go").exists():
            await asyncio.sleep(0.01)
        async for chunk in super().stream(request):
            yield chunk

nodes = {n: expert(n) for n in "sabc"} | {"j": {"kind": "join", "method": "concat", "separator": "|"}}
edges = [edge("s", "a"), edge("s", "b"), edge("b", "c"), edge("a", "j"), edge("c", "j")]
graph = make("s", {n: says("x") for n in "sabc"}, nodes, *edges, checkpoints=folder / "c.sqlite",
             engines={n: Noting(n) for n in "sabc"}, budget={"steps": 5})
if how == "stream":
    for _ in graph.stream("q", thread_id="t"):
        pass
else:
    result = graph.run("q", thread_id="t") if how == "run" else graph.resume("t")
    print(result.query, result.answer, ",".join(e.node for e in result.events), result.usage.steps)
"""


def process(folder: Path, how: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder), how], cwd=ROOT, text=True, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


@pytest.mark.parametrize("how", ["run", "stream"])
def test_a_killed_run_goes_on(tmp_path: Path, how: str) -> None:
    visits = tmp_path / "visits"
    first = process(tmp_path, how)
    try:
        deadline = time.monotonic() + 120
        while not visits.exists() or "c" not in visits.read_text():
            assert first.poll() is None, "the run ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        first.send_signal(signal.SIGKILL)
        first.communicate()
    (tmp_path / "go").touch()
    second = process(tmp_path, "resume")
    out, _ = second.communicate(timeout=120)
    assert out.split() == ["q", "a(s(q))|c(b(s(q)))", "s,a,b,c,j", "5"]
    assert sorted(visits.read_text().split()) == ["a", "b", "c", "c", "s"], (
        "only the visit that was cut off is made again"
    )
    third = process(tmp_path, "resume")
    assert third.communicate(timeout=120)[0] == out, "a finished run gives its result again"
    assert len(visits.read_text().split()) == 5


ECHO = says(r"[\g<0>]", match=".+")


class Recorder:
    """An engine that keeps the dialogues it was given."""

    def __init__(self, worker: dict[str, Any]) -> None:
        from experts.engines.config import ScriptedWorker
        from experts.engines.scripted import ScriptedEngine

        self._engine = ScriptedEngine(ScriptedWorker.model_validate(worker))
        self.seen: list[tuple[Message, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def generate(self, request: Any) -> Any:
        self.seen.append(request.messages)
        return await self._engine.generate(request)


def chat(folder: Path, worker: dict[str, Any], **node: Any) -> tuple[Router, Recorder]:
    engine = Recorder(worker)
    graph = make("a", {"w": worker}, {"a": expert("w", **node)}, engines={"w": engine}, checkpoints=folder / "c.sqlite")
    return graph, engine


def test_a_thread_remembers(tmp_path: Path) -> None:
    graph, engine = chat(tmp_path, ECHO, system="Be brief.")
    assert graph.run("one", thread_id="t").thread_id == "t"
    graph.run("two", thread_id="t")
    graph.run("other", thread_id="u")
    again, later = chat(tmp_path, ECHO, system="Be brief.")  # as after a restart
    again.run("three", thread_id="t")
    system = Message("system", "Be brief.")
    one = (Message("user", "one"), Message("assistant", "[one]"))
    two = (Message("user", "two"), Message("assistant", "[two]"))
    assert engine.seen[1:] == [(system, *one, Message("user", "two")), (system, Message("user", "other"))]
    assert later.seen == [(system, *one, *two, Message("user", "three"))]


def test_system_turns_become_one(tmp_path: Path) -> None:
    graph, engine = chat(tmp_path, ECHO, system="Be brief.")
    graph.run([Message("system", "Be kind."), Message("user", "q")])
    assert engine.seen == [(Message("system", "Be brief.\n\nBe kind."), Message("user", "q"))]


def test_without_a_thread_nothing_is_kept(tmp_path: Path) -> None:
    graph, engine = chat(tmp_path, ECHO)
    graph.run("one")
    graph.run("two")
    assert [len(dialogue) for dialogue in engine.seen] == [1, 1]
    assert not (tmp_path / "c.sqlite").exists()


class Mending:
    """Fails until it is mended."""

    def __init__(self) -> None:
        self.broken = True
        self._good, self._bad = Recorder(ECHO), Recorder(says("", error="dead"))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bad if self.broken else self._good, name)


def mending(folder: Path) -> tuple[Router, Mending, Recorder]:
    engine, first = Mending(), Recorder(rules(("direct", "<node_0>('d')<end>"), (".*", "a")))
    nodes = {"a": expert("f"), "b": expert("w"), "c": expert("e"), "j": {"kind": "join"}}
    edges = [edge("a", "b"), edge("a", "c"), edge("b", "j"), edge("c", "j")]
    graph = make("a", {"f": ECHO, "w": ECHO, "e": ECHO}, nodes, *edges, checkpoints=folder / "c.sqlite",
                 engines={"w": engine, "f": first})  # fmt: skip
    return graph, engine, first


def test_a_failed_run_goes_on_when_the_worker_is_back(tmp_path: Path) -> None:
    graph, engine, first = mending(tmp_path)
    for ask in (lambda: graph.run("q", thread_id="t"), lambda: graph.resume("t")):
        with pytest.raises(EngineUnavailable, match="dead"):
            ask()
    engine.broken = False
    result = graph.resume("t")
    assert (result.query, result.answer, visited(result)) == ("q", "[a]", ["a", "b", "c", "j"])
    assert len(first.seen) == 1


def test_a_new_question_after_a_failed_run(tmp_path: Path) -> None:
    graph, engine, first = mending(tmp_path)
    with pytest.raises(EngineUnavailable):
        graph.run("q", thread_id="t")
    engine.broken = False
    result = graph.run("again", thread_id="t")
    assert (result.query, result.answer, visited(result)) == ("again", "[a]", ["a", "b", "c", "j"])
    assert [m.content for m in first.seen[-1]] == ["q", "again"]


def test_a_graph_that_was_changed_since(tmp_path: Path) -> None:
    graph, _, _ = mending(tmp_path)
    with pytest.raises(EngineUnavailable):
        graph.run("q", thread_id="t")
    other = make("x", {"e": ECHO}, {"x": expert("e")}, checkpoints=tmp_path / "c.sqlite")
    with pytest.raises(RunError, match="graph was changed"):
        other.resume("t")
    assert other.run("anew", thread_id="t").answer == "[anew]"


def test_what_a_thread_needs(tmp_path: Path) -> None:
    graph = make("a", {"e": ECHO}, {"a": expert("e")})
    with pytest.raises(RunError, match="checkpoints=FILE"):
        graph.run("q", thread_id="t")
    with pytest.raises(RunError, match="thread named 'nobody'"):
        make("a", {"e": ECHO}, {"a": expert("e")}, checkpoints=tmp_path / "new" / "c.sqlite").resume("nobody")
    (tmp_path / "text").write_text("this is no database at all, but it is long enough to look at\n" * 40)
    for unusable in (tmp_path / "text", tmp_path, tmp_path / "text" / "c.sqlite"):
        with pytest.raises(RunError, match="SQLite file"):
            make("a", {"e": ECHO}, {"a": expert("e")}, checkpoints=unusable).run("q", thread_id="t")


async def test_a_write_under_way_is_finished_before_the_file_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    config = {"configurable": {"thread_id": "t", "checkpoint_ns": "", "checkpoint_id": "1"}}
    async with open_checkpoints(path) as saver:
        writing = asyncio.create_task(saver.aput_writes(config, [("channel", 1)], "task"))
        while not saver.lock.locked():
            await asyncio.sleep(0)
    await writing
    with sqlite3.connect(path, timeout=0) as other:
        other.execute("BEGIN IMMEDIATE")  # nobody else holds the file
        assert other.execute("SELECT count(*) FROM writes").fetchone() == (1,)


def test_checkpoints_hold_no_pickle(tmp_path: Path) -> None:
    graph, _ = chat(tmp_path, ECHO)
    graph.run("one", thread_id="t")
    with sqlite3.connect(tmp_path / "c.sqlite") as file:
        types = {
            row[0] for table in ("checkpoints", "writes") for row in file.execute(f"SELECT DISTINCT type FROM {table}")
        }
    assert types <= {"msgpack", "json", "null"}
