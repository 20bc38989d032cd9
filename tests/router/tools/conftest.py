"""One set of processes for a module's tests: starting Python takes its time."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from router.tools.processes import ToolProcesses


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def processes() -> AsyncIterator[ToolProcesses]:
    found = ToolProcesses(limit=2)
    yield found
    await found.aclose()
