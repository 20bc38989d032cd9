"""The OpenAPI document, made from the very types that requests are read into and responses are built of."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import TypeAdapter

from router.gateway.requests import ChatRequest, CompletionRequest, EmbeddingRequest
from router.gateway.responses import (
    ChatChunk,
    ChatCompletion,
    Completion,
    EmbeddingList,
    ErrorBody,
    ModelEntry,
    ModelList,
)

_ERRORS = {
    "400": "the request is wrong", "401": "no known API key", "404": "no such model",
    "409": "no call waits for that answer", "413": "the body is too long",
    "422": "the graph's budget does not suffice", "429": "a limit is reached",
    "500": "the graph cannot be run as written, or the server failed", "502": "a model failed",
    "503": "a model is not there", "504": "no answer in time",
}  # fmt: skip
_FREE: dict[str, Any] = {"type": "object"}


@cache
def document() -> dict[str, Any]:
    """The document of every endpoint."""
    types: dict[str, Any] = {
        t.__name__: t
        for t in (
            ChatRequest, CompletionRequest, EmbeddingRequest, ChatCompletion, ChatChunk, Completion, EmbeddingList,
            ModelEntry, ModelList, ErrorBody,
        )
    }  # fmt: skip
    inputs = [(name, "validation", TypeAdapter(t)) for name, t in types.items()]
    _, definitions = TypeAdapter.json_schemas(inputs, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    from importlib.metadata import version

    return {
        "openapi": "3.1.0",
        "info": {"title": "tokengraph", "version": version("tokengraph"), "description": "A graph as one model"},
        "paths": {
            "/v1/chat/completions": _post("chat", "ChatRequest", "ChatCompletion", "ChatChunk"),
            "/v1/completions": _post("complete", "CompletionRequest", "Completion", "Completion"),
            "/v1/embeddings": _post("embed", "EmbeddingRequest", "EmbeddingList"),
            "/v1/models": _get("models", _reference("ModelList")),
            "/v1/models/{model}": _get("model", _reference("ModelEntry"), "model"),
            "/v1/traces/{trace}": _get("trace", _FREE, "trace"),
            "/metrics": _get("metrics", {"type": "string"}, kind="text/plain"),
            "/health": _get("health", _FREE),
        },
        "components": {
            "schemas": definitions["$defs"], "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}, {}],
    }  # fmt: skip


def _reference(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _content(schema: dict[str, Any], kind: str = "application/json") -> dict[str, Any]:
    return {kind: {"schema": schema}}


def _errors(*statuses: str) -> dict[str, Any]:
    return {
        status: {"description": _ERRORS[status], "content": _content(_reference("ErrorBody"))} for status in statuses
    }


def _post(name: str, request: str, response: str, event: str | None = None) -> dict[str, Any]:
    content = _content(_reference(response))
    if event is not None:
        content["text/event-stream"] = {"schema": {"type": "string"}, "x-event": _reference(event)}
    body = {"required": True, "content": _content(_reference(request))}
    responses = {"200": {"description": "the answer", "content": content}, **_errors(*_ERRORS)}
    return {"post": {"operationId": name, "requestBody": body, "responses": responses}}


def _get(
    name: str, schema: dict[str, Any], parameter: str | None = None, kind: str = "application/json"
) -> dict[str, Any]:
    responses = {"200": {"description": "what is there", "content": _content(schema, kind)}, **_errors("401", "500")}
    operation: dict[str, Any] = {"operationId": name, "responses": responses}
    if parameter is not None:
        responses |= _errors("404")
        operation["parameters"] = [
            {"name": parameter, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        ]  # fmt: skip
    return {"get": operation}
