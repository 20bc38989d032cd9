"""The OpenAPI document tells all that there is."""

from __future__ import annotations

from starlette.routing import Route

from router import Router
from router.gateway.app import create_app
from router.gateway.deployment import Deployment
from router.gateway.gateway import Gateway
from router.gateway.keys import Keys
from router.gateway.openapi import document
from tests.router.gateway.graphs import desk


def test_it_has_every_route_and_the_statuses_that_are_told_elsewhere() -> None:
    app = create_app(Gateway(Deployment(Router(desk())), Keys((), {})))
    routes = {route.path.replace(":path", "") for route in app.routes if isinstance(route, Route)}
    paths = document()["paths"]
    assert set(paths) == routes - {"/openapi.json"}
    assert {"409", "500"} <= set(paths["/v1/chat/completions"]["post"]["responses"])
    assert "text/plain" in paths["/metrics"]["get"]["responses"]["200"]["content"]
