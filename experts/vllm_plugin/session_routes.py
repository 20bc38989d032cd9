"""The route ``DELETE /v1/tokengraph/sessions/NAME``: a client says that it will not continue a session.

It changes nothing for others, who do not know the name, so the key of inference suffices.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Request

from experts.vllm_plugin.sessions import Sessions

Name = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


def session_routes() -> APIRouter:
    """The route."""
    router = APIRouter()
    router.add_api_route("/sessions/{name}", end_session, methods=["DELETE"])
    return router


async def end_session(request: Request, name: Name) -> dict[str, bool]:
    """Ends a session; whether there was one that no request was running in."""
    sessions: Sessions | None = request.app.state.tokengraph_sessions
    if sessions is None:
        raise HTTPException(404, "expected a server that keeps sessions, found one that schedules asynchronously")
    return {"ended": await sessions.end(name)}
