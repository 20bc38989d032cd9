"""The mask of experts that requests have on a worker's servers when they name none: it comes and goes while they run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pydantic import BaseModel, ConfigDict

from experts.engines.config import VllmWorker
from experts.engines.factory import find_servers
from experts.engines.vllm.plugin import find_instruments
from experts.engines.vllm.transport import PLUGIN, Transport
from experts.errors import CapabilityError
from experts.moe.mask import ExpertMask


class _Cleared(BaseModel):
    """The answer of DELETE default: which one it was."""

    model_config = ConfigDict(frozen=True)
    default: str | None = None


async def set_for_everybody(worker: VllmWorker, mask: ExpertMask) -> int:
    """Sets it on all servers, once all have found that it fits; the number of servers.

    Requests that run go on as they began. A server that starts again is without it.

    Raises:
        CapabilityError: a server has no masks.
        RequestError: the mask does not fit the model.
        EngineOverloaded: there is no room for it.
        EngineUnavailable: a server is not there.
        EngineError: the admin token is wrong.
    """
    async with _connected(worker) as servers:
        for server in servers:
            await server.put(f"{PLUGIN}/masks/{mask.name}", mask)
        for server in servers:
            await server.put(f"{PLUGIN}/default/{mask.name}")
        return len(servers)


async def clear_for_everybody(worker: VllmWorker) -> tuple[str, ...]:
    """Takes it back on all servers; the names of the masks that they had.

    Raises:
        CapabilityError, EngineUnavailable, EngineError: as ``set_for_everybody``.
    """
    async with _connected(worker) as servers:
        found = [(await server.delete(f"{PLUGIN}/default", _Cleared)).default for server in servers]
        return tuple(name for name in found if name is not None)


@asynccontextmanager
async def _connected(worker: VllmWorker) -> AsyncIterator[list[Transport]]:
    urls, api_key, admin_token = find_servers(worker)
    servers = [Transport(url, api_key, admin_token) for url in urls]
    try:
        for server in servers:
            if "masks" not in await find_instruments(server):
                raise CapabilityError(
                    f"expected a server with expert masks at {server.url}, found one without. Give the worker mask_slots "
                    "and start it anew"
                )
        yield servers
    finally:
        for server in servers:
            await server.close()
