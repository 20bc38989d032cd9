"""One thread a process: sums are then added in one order, so that a training in a test ends the same everywhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

from tests.experts.engines.vllm.servers import Servers


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """vLLM servers, shared by all tests that need any."""
    if find_spec("vllm") is None:
        pytest.skip("vLLM's CPU build is installed by `make test`")
    made = Servers(tmp_path_factory.mktemp("servers"))
    yield made
    made.close()
