"""Graphs of scripted workers, as short as a test wants them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from router import GraphSpec, Router

END = ["<node_0>", "<node_1>", "<node_2>", "<end>"]


def says(answer: str, **rule: Any) -> dict[str, Any]:
    """A worker with one answer."""
    return {"engine": "scripted", "tokens": END, "rules": [{"answer": answer, **rule}]}


def rules(*pairs: tuple[str, str]) -> dict[str, Any]:
    """A worker that answers by what it is asked."""
    return {"engine": "scripted", "tokens": END, "rules": [{"match": m, "answer": a} for m, a in pairs]}


def expert(worker: str, **more: Any) -> dict[str, Any]:
    return {"kind": "expert", "worker": worker, **more}


def router(worker: str, **more: Any) -> dict[str, Any]:
    return {"kind": "router", "worker": worker, **more}


def edge(source: str, target: str, when: str | None = None, **more: Any) -> dict[str, Any]:
    return {"from": source, "to": target, "when": when, **more}


def spec(entry: str, workers: dict[str, Any], nodes: dict[str, Any], *edges: dict[str, Any], **more: Any) -> GraphSpec:
    return GraphSpec.model_validate(
        {"name": "t", "entry": entry, "workers": workers, "nodes": nodes, "edges": edges, **more}
    )


def make(
    entry: str, workers: dict[str, Any], nodes: dict[str, Any], *edges: dict[str, Any],
    checkpoints: Path | None = None, engines: Any = None, **more: Any,
) -> Router:  # fmt: skip
    return Router(spec(entry, workers, nodes, *edges, **more), checkpoints=checkpoints, engines=engines)


def visited(result: Any) -> list[str]:
    """The nodes of a trace in order."""
    return [event.node for event in result.events]
