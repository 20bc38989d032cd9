"""Endpoints that tell what is there, without asking the graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import Receive, Scope, Send

from router.errors import TokengraphError
from router.gateway.errors import Refused, problem_of
from router.gateway.exchange import Exchange
from router.gateway.gateway import Gateway
from router.gateway.openapi import document


@dataclass(frozen=True)
class Glance:
    """A look at the gateway; ``owner`` is the name of the API key, None if there are no keys."""

    gateway: Gateway
    exchange: Exchange
    owner: str | None


class Looking:
    """An endpoint that answers at once: JSON data, or text as bytes."""

    def __init__(self, gateway: Gateway, look: Callable[[Glance], object], *, open_to_all: bool = False) -> None:
        self._gateway, self._look, self._open = gateway, look, open_to_all

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gateway, exchange = self._gateway, Exchange(scope, receive, send)
        try:
            account = None if self._open else gateway.keys.account(exchange.header("authorization"))
            found = self._look(Glance(gateway, exchange, None if account is None else account.name))
        except TokengraphError as error:
            problem = problem_of(error)
            exchange.response_headers |= problem.headers
            await exchange.reply(problem.status, problem.body)
        else:
            kind = gateway.metrics.content_type if isinstance(found, bytes) else "application/json"
            await exchange.reply(200, found, kind)


def models(glance: Glance) -> object:
    """``GET /v1/models``."""
    return {"object": "list", "data": glance.gateway.deployment.models}


def model(glance: Glance) -> object:
    """``GET /v1/models/{model}``."""
    known, asked = glance.gateway.deployment.models, glance.exchange.parameters["model"]
    found = next((model for model in known if model["id"] == asked), None)
    if found is None:
        names = ", ".join(model["id"] for model in known)
        raise Refused(
            f"expected one of the models {names}, found {asked[:80]!r}. Ask one of those", status=404,
            code="model_not_found", param="model",
        )  # fmt: skip
    return found


def trace(glance: Glance) -> object:
    """``GET /v1/traces/{trace}``."""
    return glance.gateway.traces.get(glance.exchange.parameters["trace"], glance.owner)


def metrics(glance: Glance) -> object:
    """``GET /metrics``."""
    return glance.gateway.metrics.text()


def health(glance: Glance) -> object:
    """``GET /health``: open to all, so it tells of a wrong spec only that there is one."""
    deployment = glance.gateway.deployment
    spec = "served" if glance.gateway.problem is None else "the newest version is invalid; an earlier one is served"
    return {"status": "ok", "model": deployment.spec.name, "since": deployment.created, "spec": spec}


def openapi(glance: Glance) -> object:  # noqa: ARG001
    """``GET /openapi.json``."""
    return document()
