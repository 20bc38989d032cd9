from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.experts.engines.replicas.two import Two


@pytest_asyncio.fixture
async def two() -> AsyncIterator[Two]:
    made = Two()
    yield made
    await made.engine.close()
