"""Budgets of keys outlive the server: a restart, a kill, two servers with one file."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import yaml

from router.gateway.server import ServeOptions, make_app
from router.gateway.spending import Spending
from router.gateway.spending_file import SpendingFile
from tests.router.gateway.graphs import user
from tests.router.gateway.servers import Running, listening
from tests.router.gateway.test_reload import until
from tests.router.runtime.graphs import says

ROOT = Path(__file__).parents[3]
ANN = {"authorization": "Bearer ann"}
PLAIN = {**os.environ, "TERM": "dumb", "NO_COLOR": "1"}


def write(file: Path, *names: str, seconds: float = 0, **limits: Any) -> Path:
    """A graph of one expert, with keys that are called like their owners."""
    keys = [{"name": name, "sha256": hashlib.sha256(name.encode()).hexdigest(), **limits} for name in names]
    data = {
        "version": 1, "name": "lone", "entry": "a", "workers": {"w": says("four words of answer", seconds=seconds)},
        "nodes": {"a": {"kind": "expert", "worker": "w"}}, "gateway": {"keys": keys},
    }  # fmt: skip
    file.write_text(yaml.safe_dump(data))
    return file


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    return write(tmp_path / "lone.yaml", "ann", "bob", budget=1)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "spending.sqlite"


@contextmanager
def served(spec: Path, file: Path | None) -> Iterator[Running]:
    app, gateway = make_app(ServeOptions(spec, spending=file))
    with listening(app) as url:
        yield Running(url, gateway)


def ask(running: Running, key: str) -> int:
    """Tokens that an answer took."""
    answer = running.client(key).chat.completions.create(model="lone", messages=user("x"))
    assert answer.usage is not None
    return answer.usage.total_tokens


def refused(running: Running, key: str) -> bool:
    try:
        ask(running, key)
    except openai.RateLimitError as error:
        assert error.code == "insufficient_quota"
        return True
    return False


def written(file: Path) -> dict[str, int]:
    with sqlite3.connect(file) as connection:
        return dict(connection.execute("SELECT key, tokens FROM spending"))


def test_a_budget_is_used_up_after_a_restart_too(spec: Path, file: Path) -> None:
    with served(spec, file) as running:
        tokens = ask(running, "ann")
    assert written(file) == {"ann": tokens}
    with served(spec, file) as running:
        assert refused(running, "ann") and not refused(running, "bob")
        with pytest.raises(openai.RateLimitError, match=f"found {tokens} used"):
            ask(running, "ann")
    assert written(file) == {"ann": tokens, "bob": tokens}


def test_without_a_file_a_restart_begins_anew(spec: Path) -> None:
    for _ in range(2):
        with served(spec, None) as running:
            ask(running, "ann")
            assert refused(running, "ann")


def test_a_request_under_way_when_the_server_is_stopped_is_counted(spec: Path, file: Path) -> None:
    write(spec, "ann", seconds=1)
    tokens: list[int] = []
    with served(spec, file) as running:
        asking = threading.Thread(target=lambda: tokens.append(ask(running, "ann")))
        asking.start()
        while "tokengraph_requests_running 1.0" not in httpx.get(f"{running.url}/metrics", headers=ANN).text:
            time.sleep(0.02)
    asking.join()
    assert written(file) == {"ann": tokens[0]}


async def test_a_key_that_went_and_came_back_has_used_what_it_had(spec: Path, file: Path) -> None:
    with served(spec, file) as running:
        ask(running, "ann")
        write(spec, "bob", budget=1)
        await until(lambda: httpx.get(f"{running.url}/v1/models", headers=ANN).status_code == 401)
        write(spec, "ann", "bob", budget=1)
        await until(lambda: httpx.get(f"{running.url}/v1/models", headers=ANN).status_code == 200)
        assert refused(running, "ann")


async def test_two_servers_with_one_file_count_together(spec: Path, file: Path) -> None:
    write(spec, "ann", budget=10_000)
    with served(spec, file) as one, served(spec, file) as two:
        tokens = sum(ask(running, "ann") for running in (one, two) * 10)
        await until(lambda: written(file) == {"ann": tokens})
        write(spec, "ann", budget=tokens)  # more than either has used
        await until(lambda: refused(one, "ann") or refused(two, "ann"))
        await until(lambda: refused(one, "ann") and refused(two, "ann"))


async def test_a_row_that_is_deleted_gives_a_new_budget_at_once(spec: Path, file: Path) -> None:
    with served(spec, file) as running:
        ask(running, "ann")
        await until(lambda: bool(written(file)))
        with sqlite3.connect(file) as connection:
            connection.execute("DELETE FROM spending WHERE key = 'ann'")
        await until(lambda: not refused(running, "ann"))


def serve(spec: Path, file: Path) -> list[str]:
    return [sys.executable, "cli.py", "serve", str(spec), "--port", "0", "--spending", str(file)]


def test_a_file_that_is_no_database_ends_the_command(spec: Path) -> None:
    before = spec.read_text()
    done = subprocess.run(serve(spec, spec), cwd=ROOT, capture_output=True, text=True, env=PLAIN, timeout=120)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: {spec}: expected an SQLite file of what API keys have used, or none yet, found file is not a database. "
        "Name another file, or mend this one\n"
    )
    assert spec.read_text() == before


def test_a_killed_server_forgets_a_second_at_most(spec: Path, file: Path) -> None:
    write(spec, "ann")
    command = serve(spec, file)
    used: list[tuple[float, int]] = []
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env=PLAIN) as process:
        try:
            assert process.stderr is not None
            url = next(found[0] for line in process.stderr if (found := re.search(r"http://\S+/v1", line)))
            client = openai.OpenAI(base_url=url, api_key="ann", timeout=60)
            total, end = 0, time.monotonic() + 3
            while time.monotonic() < end:
                answer = client.chat.completions.create(model="lone", messages=user("x"))
                assert answer.usage is not None
                total += answer.usage.total_tokens
                used.append((time.monotonic(), total))
                time.sleep(0.1)  # few enough lines of log for a pipe that nobody reads
        finally:
            killed = time.monotonic()
            process.send_signal(signal.SIGKILL)
    known = max(total for at, total in used if at < killed - 1)
    assert 0 < known <= written(file)["ann"] <= total
    assert Spending(SpendingFile(file)).of("ann") == written(file)["ann"]


async def test_the_end_writes_what_is_new(file: Path) -> None:
    spending = Spending(SpendingFile(file))
    async with spending.kept():
        spending.add("ann", 5)
    assert written(file) == {"ann": 5}


async def test_the_end_writes_what_came_during_a_write(file: Path) -> None:
    begun = threading.Event()

    class Slow(SpendingFile):
        def add(self, spent: Mapping[str, int]) -> dict[str, int]:
            if spent:
                begun.set()
                time.sleep(0.2)
            return super().add(spent)

    spending = Spending(Slow(file))
    async with spending.kept():
        spending.add("ann", 5)
        await until(begun.is_set)
        spending.add("ann", 2)
        assert spending.of("ann") == 7
    assert written(file) == {"ann": 7} and spending.of("ann") == 7


def change(file: Path, statement: str) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute(statement)


async def test_what_cannot_be_written_is_written_later(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    spending = Spending(SpendingFile(file))
    async with spending.kept():
        change(file, "ALTER TABLE spending RENAME TO hidden")
        spending.add("ann", 5)
        await until(lambda: "are not written" in caplog.text)
        spending.add("ann", 2)
        assert spending.of("ann") == 7
        change(file, "ALTER TABLE hidden RENAME TO spending")
        await until(lambda: written(file) == {"ann": 7})
    assert spending.of("ann") == 7
    assert caplog.text.count("are not written") == 1


async def test_what_could_never_be_written_is_in_the_log(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    spending = Spending(SpendingFile(file))
    async with spending.kept():
        change(file, "DROP TABLE spending")
        spending.add("ann", 5)
    assert getattr(caplog.records[-1], "fields", None) == {"tokens": {"ann": 5}}
