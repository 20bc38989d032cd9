"""Routes under ``/v1/tokengraph/defer``: what a client needs to let a small model defer.

They change nothing for others, so the key of inference suffices.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path, Request

from experts.vllm_plugin.defer_admission import DeferAdmission

INSTRUMENT = "defer"

Key = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class DeferControl:
    """What one API server knows of the token router in its workers.

    Args:
        engine: vLLM's client of its engine.
        described: what the instrument says about itself.
    """

    def __init__(self, engine: Any, described: dict[str, Any]) -> None:
        self.described = described
        self._engine = engine
        DeferAdmission(described["token"]).guard(engine)

    async def take(self, key: str) -> list[float]:
        """The scores that the worker keeps of a request."""
        answers = await self._engine.collective_rpc("tokengraph_call", args=(INSTRUMENT, "take", key))
        scores: list[float] = answers[0]
        return scores


def defer_routes() -> APIRouter:
    """The routes."""
    router = APIRouter()
    router.add_api_route("/defer", describe_defer, methods=["GET"])
    router.add_api_route("/defer/scores/{key}", take_scores, methods=["DELETE"])
    return router


async def describe_defer(request: Request) -> dict[str, Any]:
    """The defer token, and which token router it is."""
    return _control(request).described


async def take_scores(request: Request, key: Key) -> dict[str, list[float]]:
    """The scores of a request that has ended: ``vllm_xargs: {criticality: KEY}``; they are forgotten here."""
    scores = await _control(request).take(key)
    if not scores:
        raise HTTPException(404, f"expected a request that asked for scores, found none of key {key}. Ask once")
    return {"scores": scores}


def _control(request: Request) -> DeferControl:
    control: DeferControl | None = request.app.state.tokengraph_defer
    if control is None:
        raise HTTPException(
            404, 'expected a server with a token router, found none. Start it with {"tokengraph": {"defer": {...}}}'
        )
    return control
