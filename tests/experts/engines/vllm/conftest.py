from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from tests.experts.engines.vllm.servers import Servers


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    if find_spec("vllm") is None:
        pytest.skip("vLLM's CPU build is installed by `make test`")
    made = Servers(tmp_path_factory.mktemp("servers"))
    yield made
    made.close()
