"""What tokengraph's plugin in a server offers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from experts.engines.vllm.transport import PLUGIN, Transport
from experts.errors import EngineError


class _Described(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")
    instruments: Mapping[str, Any]


async def find_instruments(transport: Transport) -> Mapping[str, Any]:
    """What is built into the server's model, by name, as each describes itself; nothing if it has no plugin.

    Raises:
        EngineUnavailable: there is no server.
        EngineError: the admin token is wrong.
    """
    response = await transport.ask(PLUGIN)
    if response.status_code == 403:
        raise EngineError(
            f"expected the admin token of the server at {transport.url}, found another. Set admin_token in the spec to the "
            "server's TOKENGRAPH_ADMIN_TOKEN"
        )
    if response.status_code in (404, 409):  # no plugin, or a model that it did not load
        return {}
    return transport.parsed(response, _Described).instruments
