"""The ASGI application: routes, and what happens around every request."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from router.errors import TokengraphError
from router.gateway import looks
from router.gateway.chat import chat
from router.gateway.completions import completions
from router.gateway.embeddings import embeddings
from router.gateway.errors import ClientGone, Problem, problem_of
from router.gateway.exchange import Exchange
from router.gateway.gateway import Call, Gateway, write_log
from router.gateway.limits import Account
from router.gateway.logs import log

_CLIENT_GONE = 499

Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]


def create_app(gateway: Gateway, lifespan: Lifespan | None = None) -> Starlette:
    """The gateway as an ASGI application."""
    asking = {"chat/completions": chat, "completions": completions, "embeddings": embeddings}
    looking = {
        "/v1/models": looks.models,
        "/v1/models/{model:path}": looks.model,
        "/v1/traces/{trace}": looks.trace,
        "/metrics": looks.metrics,
    }
    open_to_all = {"/health": looks.health, "/openapi.json": looks.openapi}
    return Starlette(
        routes=[
            *(Route(f"/v1/{path}", Asking(gateway, path, work), methods=["POST"]) for path, work in asking.items()),
            *(Route(path, looks.Looking(gateway, look), methods=["GET"]) for path, look in looking.items()),
            *(
                Route(path, looks.Looking(gateway, look, open_to_all=True), methods=["GET"])
                for path, look in open_to_all.items()
            ),
        ],
        exception_handlers={HTTPException: _no_such_route, Exception: _bug},
        lifespan=lifespan,
    )


class Asking:
    """An endpoint that asks the graph."""

    def __init__(self, gateway: Gateway, name: str, work: Callable[[Call], Awaitable[None]]) -> None:
        self._gateway, self._name, self._work = gateway, name, work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gateway = self._gateway
        exchange = Exchange(scope, receive, send)
        account: Account | None = None
        with gateway.metrics.running.track_inprogress():
            try:
                account = gateway.keys.account(exchange.header("authorization"))
                if account is not None:
                    account.admit()
                    exchange.response_headers |= account.headers()
                body = await exchange.body(gateway.settings.body)
                with gateway.deployment as deployment:
                    await self._answer(Call(gateway, exchange, body, account, deployment))
            except ClientGone:
                exchange.status = _CLIENT_GONE
            except (TokengraphError, ValidationError) as error:
                await _refuse(exchange, error)
        gateway.metrics.request(self._name, exchange.status, time.perf_counter() - exchange.started)
        write_log(exchange, None if account is None else account.name)

    async def _answer(self, call: Call) -> None:
        failure: Exception | None = None
        try:
            await call.exchange.while_connected(self._work(call))  # type: ignore[arg-type]
        except (TokengraphError, ValidationError) as error:
            failure = error
            raise
        finally:
            call.settle(failure)


async def _refuse(exchange: Exchange, error: TokengraphError | ValidationError) -> None:
    problem = problem_of(error)
    exchange.said["error"] = problem.code or type(error).__name__
    exchange.response_headers |= problem.headers
    if problem.status >= 500:
        log.warning("failed", extra={"fields": {"request_id": exchange.request_id, "error": type(error).__name__}})
    await exchange.reply(problem.status, problem.body)


async def _no_such_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    found = f"{request.method} {request.url.path[:80]}"
    problem = Problem(
        error.status_code, "invalid_request_error", f"expected a path and a method of /openapi.json, found {found}"
    )  # fmt: skip
    return JSONResponse(problem.body, error.status_code, headers=error.headers)


async def _bug(request: Request, error: Exception) -> Response:  # noqa: ARG001
    problem = Problem(500, "server_error", "the server failed; its log says why", "internal_error")
    return JSONResponse(problem.body, problem.status)
