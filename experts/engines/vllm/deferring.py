"""Deferring on one vLLM server with tokengraph's plugin. The defer token, on which the server stops, stays below here."""

from __future__ import annotations

import asyncio
from uuid import uuid4

from pydantic import BaseModel, ConfigDict

from experts.defer.files import locate, weights_digest
from experts.engines.requests import GenerateRequest, Generation, TokenId
from experts.engines.vllm.transport import PLUGIN, Transport
from experts.engines.vllm.wire import AFTER_ARGUMENT, CRITICALITY_ARGUMENT, THRESHOLD_ARGUMENT
from experts.errors import EngineError, EngineUnavailable

ROUTE = f"{PLUGIN}/defer"


class Described(BaseModel):
    """What a server says about its token router: the defer token, and the digest of the router's weights."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    token: TokenId
    router: str


class _Scores(BaseModel):
    model_config = ConfigDict(frozen=True)
    scores: tuple[float, ...]


async def find_router(transport: Transport, token_router: str) -> Described:
    """The server's token router.

    Args:
        token_router: the one that the worker's spec names.

    Raises:
        CheckpointError: there is none in that place here.
        EngineError: the server has another one, or none.
    """
    digest = await asyncio.to_thread(lambda: weights_digest(locate(token_router)))
    response = await transport.ask(ROUTE)
    if response.status_code == 404:
        raise EngineError(
            f"expected token router {token_router} in the server at {transport.url}, found none. Start it with "
            "`tokengraph workers up`, or remove token_router from the spec"
        )
    found = transport.parsed(response, Described)
    if found.router != digest:
        raise EngineError(
            f"expected token router {token_router} (weights {digest}) in the server at {transport.url}, found another "
            f"({found.router}). Start the server again, or correct the spec"
        )
    return found


class Deferring:
    """Lets the server leave the tokens of one request to another model, and fetches their scores.

    Attributes:
        token: the defer token, if the request may defer.
    """

    def __init__(self, transport: Transport, described: Described, request: GenerateRequest) -> None:
        self.token = None if request.defer is None else described.token
        self._transport = transport
        self._request = request
        self._keys: list[str] = []

    def arguments(self, drawn: int) -> dict[str, str | int | float]:
        """What a call carries as ``vllm_xargs`` that goes on after so many tokens of the request."""
        found: dict[str, str | int | float] = {}
        if (defer := self._request.defer) is not None:
            found |= {THRESHOLD_ARGUMENT: defer.threshold, AFTER_ARGUMENT: max(defer.after - drawn, 0)}
        if self._request.criticality:
            self._keys.append(uuid4().hex)
            found |= {CRITICALITY_ARGUMENT: self._keys[-1]}
        return found

    async def scores(self, generation: Generation) -> tuple[float, ...]:
        """``Generation.criticality``, if the request asks for it.

        Raises:
            EngineUnavailable: the server has lost some.
        """
        parts = [await self._transport.delete(f"{ROUTE}/scores/{key}", _Scores) for key in self._keys]
        found = tuple(score for part in parts for score in part.scores)
        wanted = len(generation.token_ids) + (generation.finish_reason == "defer") if self._keys else 0
        if len(found) < wanted:
            raise EngineUnavailable(f"expected {wanted} scores of {self._transport.url}, found {len(found)}. Try again")
        return found[:wanted]  # where this side found the end, the server may have gone on
