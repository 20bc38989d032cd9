"""From servers to one engine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from experts.engines.base import Engine
from experts.engines.replicas.engine import ReplicatedEngine
from experts.engines.replicas.late import LateEngine
from experts.engines.replicas.options import ReplicaOptions
from experts.errors import EngineError, EngineUnavailable

Connect = Callable[[], Awaitable[Engine]]


async def connect(servers: Mapping[str, Connect], options: ReplicaOptions) -> ReplicatedEngine:
    """Connects to all servers at once. Those that are not there join later; one must be.

    Args:
        servers: what connects each, by name.

    Raises:
        EngineUnavailable: none is there.
        EngineError: one is there and wrong (another model, a wrong key).
    """
    outcomes = dict(zip(servers, await asyncio.gather(*map(_try, servers.values())), strict=True))
    engines = {name: outcome for name, outcome in outcomes.items() if not isinstance(outcome, EngineError)}
    try:
        for error in outcomes.values():
            if isinstance(error, EngineError) and not (engines and isinstance(error, EngineUnavailable)):
                raise error
        late = {
            name: LateEngine(name, servers[name], next(iter(engines.values()))) for name in servers.keys() - engines
        }
        return ReplicatedEngine({name: engines.get(name) or late[name] for name in servers}, options)
    except EngineError:
        await asyncio.gather(*(engine.close() for engine in engines.values()))
        raise


async def _try(connect: Connect) -> Engine | EngineError:
    try:
        return await connect()
    except EngineError as error:
        return error
