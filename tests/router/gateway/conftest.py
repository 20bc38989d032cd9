"""One server with a graph that routes, shared by the tests that do not change it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.router.gateway.graphs import desk
from tests.router.gateway.servers import Running, serving


@pytest.fixture(scope="session")
def server() -> Iterator[Running]:
    with serving(desk()) as running:
        yield running
