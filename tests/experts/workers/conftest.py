"""Stand-in servers and a state folder of the test's own."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from experts.workers.command import Launch
from experts.workers.plan import Plan, PlannedWorker
from experts.workers.records import Records
from experts.workers.restarts import Care

STANDIN = Path(__file__).with_name("standin.py")
CARE = Care(check=0.05, start=20, silence=1, grace=3, wait=0.05, longest_wait=0.1, restarts=3, window=60)


@pytest.fixture
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Records:
    monkeypatch.setenv("TOKENGRAPH_STATE", str(tmp_path / "state"))
    return Records()


class Orders:
    """What a stand-in does; may be changed while it runs."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.calls = file.with_suffix(".calls")
        self.calls.touch()
        self.give()

    def give(self, **orders: Any) -> None:
        part = self.file.with_suffix(".part")
        part.write_text(json.dumps({"calls": str(self.calls), **orders}))
        part.replace(self.file)

    def launch(self, **settings: Any) -> Launch:
        return Launch(argv=(sys.executable, str(STANDIN), "--orders", str(self.file)), environment={}, **settings)


@pytest.fixture
def orders(tmp_path: Path) -> Orders:
    return Orders(tmp_path / "orders.json")


def planned(*launches: Launch, name: str = "w") -> Plan:
    worker = PlannedWorker(name=name, key="key-of-w", api_key="k", admin_token="t", launches=launches)
    return Plan(spec="/s.yaml", workers=(worker,))


async def until(condition: Callable[[], Any], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        await asyncio.sleep(0.02)


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has asked for its exit code has."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
