"""Routes under ``/v1/tokengraph`` (``vllm.endpoint_plugins``): only with ``VLLM_PLUGINS=tokengraph`` in the environment.

Those of masks change how a server behaves for everybody, so they ask for an admin token, in the header
``x-tokengraph-admin``, that is not the key of inference: TOKENGRAPH_ADMIN_TOKEN of the server's environment. Without one
they refuse everything.
"""

from __future__ import annotations

import hmac
import os
from typing import Any

from fastapi import APIRouter, Depends, HTTPException, Request
from vllm import __version__

from experts.errors import EngineError
from experts.vllm_plugin import defer_routes
from experts.vllm_plugin.defer_routes import DeferControl
from experts.vllm_plugin.instrument import SETTINGS
from experts.vllm_plugin.mask_routes import INSTRUMENT, MaskControl, mask_routes
from experts.vllm_plugin.session_routes import session_routes
from experts.vllm_plugin.sessions import Sessions
from experts.vllm_plugin.versions import check_version

ADMIN_HEADER = "x-tokengraph-admin"
ADMIN_TOKEN = "TOKENGRAPH_ADMIN_TOKEN"  # noqa: S105 -- the name of the variable


def require_admin(request: Request) -> None:
    """Lets nobody in but the holder of the admin token."""
    token = os.environ.get(ADMIN_TOKEN, "")
    given = request.headers.get(ADMIN_HEADER, "")
    if not token:
        raise HTTPException(403, f"expected {ADMIN_TOKEN} in the server's environment, found none. Start it with one")
    if not hmac.compare_digest(token.encode(), given.encode()):
        raise HTTPException(403, f"expected the server's admin token in the header {ADMIN_HEADER}")


class EndpointPlugin:
    """What vLLM's API server attaches.

    Raises:
        EngineError: this version of vLLM was not tested.
    """

    name = "tokengraph"
    required_tasks = ("generate",)

    def attach_router(self, app: Any) -> None:
        """Adds the routes."""
        check_version(__version__)
        # Under /v1, which the server's own key guards as well.
        router = APIRouter(prefix="/v1/tokengraph", dependencies=[Depends(require_admin)])
        router.add_api_route("", describe, methods=["GET"])
        router.include_router(mask_routes())
        app.include_router(router)
        for routes in (defer_routes.defer_routes(), session_routes()):
            app.include_router(routes, prefix="/v1/tokengraph")

    async def init_state(self, engine_client: Any, state: Any, args: Any) -> None:
        """Keeps the way to the engine, and lets the instruments see its requests.

        Raises:
            EngineError: several API servers would have to agree on masks, and each would attach the instruments.
        """
        state.tokengraph_engine = engine_client
        state.tokengraph_masks = state.tokengraph_defer = state.tokengraph_sessions = None
        config = engine_client.vllm_config
        if not config.scheduler_config.async_scheduling:  # with it, sessions have not been run
            state.tokengraph_sessions = Sessions(most=max(1, config.scheduler_config.max_num_seqs // 2))
            state.tokengraph_sessions.guard(engine_client)
        if not (config.additional_config or {}).get(SETTINGS):
            return
        if (servers := getattr(args, "api_server_count", None) or 1) > 1:
            raise EngineError(
                f"expected one API server, which knows all that is in the model, found {servers}. Start replicas instead"
            )
        await engine_client.collective_rpc("tokengraph_attach")
        described = (await engine_client.collective_rpc("tokengraph_describe"))[0]
        if INSTRUMENT in described:
            state.tokengraph_masks = MaskControl(engine_client, described[INSTRUMENT], args.model)
        if defer_routes.INSTRUMENT in described:
            state.tokengraph_defer = DeferControl(engine_client, described[defer_routes.INSTRUMENT])


async def describe(request: Request) -> dict[str, Any]:
    """The server's version of vLLM and the instruments in its model."""
    found = await request.app.state.tokengraph_engine.collective_rpc("tokengraph_describe")
    if found[0] is None:
        raise HTTPException(409, "expected a model loaded with --load-format tokengraph, found another loader's")
    return {"vllm": __version__, "instruments": found[0]}
