"""Requests made up from the gateway's own OpenAPI document, right and wrong ones: never an error of the server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, settings

from router.gateway.app import create_app
from router.gateway.deployment import Deployment
from router.gateway.gateway import Gateway
from router.gateway.keys import Keys
from router.gateway.openapi import document
from tests.router.gateway.graphs import lone
from tests.router.gateway.servers import listening
from tests.router.runtime.graphs import says

SCHEMA = schemathesis.openapi.from_dict(document())


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    from router import Router

    router = Router(lone(says("an answer")).model_copy(update={"name": "lone"}))
    with listening(create_app(Gateway(Deployment(router), Keys((), {})))) as url:
        yield url


@SCHEMA.parametrize()
@settings(
    max_examples=60, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)  # fmt: skip
def test_no_request_breaks_the_server(case: schemathesis.Case, url: str) -> None:
    if isinstance(case.body, dict) and "model" in case.body and isinstance(case.body["model"], str):
        case.body["model"] = "lone"  # else nearly every request would end at an unknown model
    response = case.call(base_url=url)
    case.validate_response(response, checks=[schemathesis.checks.not_a_server_error])
    if response.status_code >= 400:
        assert set(response.json()["error"]) == {"message", "type", "param", "code"}
