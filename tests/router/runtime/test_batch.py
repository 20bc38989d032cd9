"""Batches: every id exactly once, whatever happens in between."""

from __future__ import annotations

import gc
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from router.errors import DataError, RunError, TokenHeadError
from router.runtime.batch import BatchCount, run_batch
from router.runtime.result import RunResult
from router.runtime.router import Router
from router.spec import parse_spec

ROOT = Path(__file__).parents[3]
SPEC = """\
entry: start
workers:
  w:
    engine: scripted
    rules:
      - {match: fail, error: no}
      - {match: slow, answer: done, seconds: 0.05}
      - {answer: "re: \\\\g<0>"}
nodes:
  start: {kind: expert, worker: w}
"""


@pytest.fixture
def router() -> Router:
    return Router(parse_spec(SPEC))


@pytest.fixture
def queries(tmp_path: Path) -> Path:
    return tmp_path / "in.jsonl"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


def write(path: Path, *rows: object) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def ask(count: int, query: str = "hi") -> list[dict[str, object]]:
    return [{"id": number, "query": query} for number in range(count)]


def rows(path: Path) -> list[dict[str, object]]:
    text = path.read_text()
    assert text.endswith("\n") or not text
    return [json.loads(line) for line in text.splitlines()]


async def test_answers_and_failures(router: Router, queries: Path, out: Path) -> None:
    write(
        queries, {"id": "a", "query": "hello", "label": "ignored"}, {"id": 1.5, "query": "fail"},
        {"id": "1", "query": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"},
                              {"role": "user", "content": "last"}]},
    )  # fmt: skip
    count = await run_batch(router, queries, out)
    assert count == BatchCount(total=3, done=3, failed=1, earlier=0)
    found = {row["id"]: row for row in rows(out)}
    assert found["a"]["answer"] == "re: hello"
    assert found["1"]["answer"] == "re: last"
    assert found[1.5] == {"id": 1.5, "error": "no"}
    assert found["a"]["usage"]["steps"] == 1  # type: ignore[index]


async def test_a_second_run_asks_only_what_is_missing(router: Router, queries: Path, out: Path) -> None:
    write(queries, *ask(3))
    await run_batch(router, queries, out)
    before = out.read_text()
    write(queries, *ask(5))
    count = await run_batch(router, queries, out)
    assert count == BatchCount(total=5, done=5, failed=0, earlier=3)
    assert out.read_text().startswith(before)
    assert sorted(row["id"] for row in rows(out)) == [0, 1, 2, 3, 4]  # type: ignore[type-var]


@pytest.mark.parametrize("cut", [1, 5, 9, 20, 40])
async def test_a_torn_last_line_is_cut_off(router: Router, queries: Path, out: Path, cut: int) -> None:
    write(queries, *ask(3))
    await run_batch(router, queries, out, concurrency=1)
    whole = out.read_bytes()
    last = whole.splitlines(keepends=True)[-1]
    out.write_bytes(whole[: len(whole) - len(last) + cut])
    assert (await run_batch(router, queries, out)).earlier == 2
    assert sorted(row["id"] for row in rows(out)) == [0, 1, 2]  # type: ignore[type-var]


async def test_a_last_line_that_only_lacks_its_end_is_kept(router: Router, queries: Path, out: Path) -> None:
    write(queries, *ask(3))
    await run_batch(router, queries, out)
    out.write_bytes(out.read_bytes()[:-1])
    assert (await run_batch(router, queries, out)).earlier == 3
    assert len(rows(out)) == 3


@pytest.mark.parametrize("content", ["some notes", '{"id": 1, "query": "hi"}\n', "[1]\n", "{}\n", '{"id": 1, "ans\n'])
async def test_a_file_of_something_else_is_left_alone(router: Router, queries: Path, out: Path, content: str) -> None:
    write(queries, *ask(1))
    out.write_text(content)
    with pytest.raises(DataError, match=r"out\.jsonl:1:\d+: expected a line of an earlier run"):
        await run_batch(router, queries, out)
    assert out.read_text() == content


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": 2, "query"', r"in\.jsonl:2:18: expected an object"),
        ('["id", "query"]', r"in\.jsonl:2:1: expected an object"),
        ('{"query": "hi"}', r"in\.jsonl:2:1: expected the key 'id', found the keys 'query'"),
        ('{"id": null, "query": "hi"}', "expected text or a number as id, found null"),
        ('{"id": true, "query": "hi"}', "expected text or a number as id"),
        ('{"id": NaN, "query": "hi"}', "expected text or a number as id"),
        ('{"id": 2, "query": 7}', "expected text as query, or messages"),
        ('{"id": 2, "query": []}', "expected text as query, or messages"),
        ('{"id": 2, "query": [{"role": "user", "content": "x"}, {"role": "tool", "content": "x"}]}', "messages"),
        ('{"id": 2, "query": [{"role": "assistant", "content": "x"}]}', "end with the user's"),
        ('{"id": 2, "query": "\\ud800"}', "expected UTF-8"),
        ("[" * 100_000, "expected an object"),
        (
            '{"id": 1, "query": "again"}',
            r"in\.jsonl:2:1: expected an id of its own for each query, found 1 a second time",
        ),
        ('{"id": 1.0, "query": "again"}', "a second time"),
    ],
)
async def test_wrong_lines_are_found_before_anything_runs(
    router: Router, queries: Path, out: Path, line: str, message: str
) -> None:
    queries.write_text(f'{{"id": 1, "query": "hi"}}\n{line}\n')
    with pytest.raises(DataError, match=message):
        await run_batch(router, queries, out)
    assert not out.exists()


async def test_files_that_cannot_be_read(router: Router, tmp_path: Path, out: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        await run_batch(router, tmp_path / "none.jsonl", out)
    with pytest.raises(DataError, match="Is a directory"):
        await run_batch(router, tmp_path, out)


async def test_no_more_than_the_bound_run_together(router: Router, queries: Path, out: Path) -> None:
    write(queries, *ask(9))
    running = most = 0
    answer = router.arun

    async def counted(*args: object, **kwargs: object) -> object:
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            return await answer(*args, **kwargs)  # type: ignore[arg-type]
        finally:
            running -= 1

    router.arun = counted  # type: ignore[method-assign,assignment]
    seen: list[BatchCount] = []
    await run_batch(router, queries, out, concurrency=3, progress=seen.append)
    assert most == 3
    assert [count.done for count in seen] == list(range(10))


async def test_an_error_of_the_graph_ends_the_batch(queries: Path, out: Path, tmp_path: Path) -> None:
    write(queries, *ask(3))
    spec = parse_spec(
        "entry: r\nworkers: {w: {engine: scripted, rules: [{answer: hi}]}}\n"
        f"nodes: {{r: {{kind: router, worker: w, tokens: {tmp_path}}}, a: {{kind: expert, worker: w}}}}\n"
        "edges: [{from: r, to: a}]\n"
    )
    with pytest.raises(TokenHeadError, match="expected a tokens folder"):
        await run_batch(Router(spec), queries, out)
    assert out.read_text() == ""


def start(queries: Path, out: Path) -> subprocess.Popen[bytes]:
    spec = out.with_name("spec.yaml")
    spec.write_text(SPEC)
    command = [
        sys.executable,
        "cli.py",
        "batch",
        str(queries),
        "--out",
        str(out),
        "--graph",
        str(spec),
        "--concurrency",
        "2",
    ]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


async def test_killed_and_run_again(router: Router, queries: Path, out: Path) -> None:
    write(queries, *ask(60, "slow"))
    process = start(queries, out)
    while not out.exists() or out.read_bytes().count(b"\n") < 5:
        assert process.poll() is None
        time.sleep(0.02)
    with pytest.raises(RunError, match="no other batch is writing"):
        await run_batch(router, queries, out)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    count = await run_batch(router, queries, out, concurrency=60)
    assert 5 <= count.earlier < 60
    assert sorted(row["id"] for row in rows(out)) == list(range(60))  # type: ignore[type-var]


async def test_answers_are_not_held(router: Router, queries: Path, out: Path) -> None:
    write(queries, *ask(20))
    held: list[int] = []

    def count(now: BatchCount) -> None:
        if now.done == 20:
            gc.collect()
            held.append(sum(isinstance(thing, RunResult) for thing in gc.get_objects()))

    await run_batch(router, queries, out, concurrency=3, progress=count)
    assert held[0] <= 3
