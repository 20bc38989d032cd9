"""``tokengraph experts apply`` and ``clear``: masks on workers that run."""

from __future__ import annotations

import asyncio
from pathlib import Path

from experts.engines.config import VllmWorker
from experts.engines.vllm.everybody import clear_for_everybody, set_for_everybody
from experts.moe.mask import ExpertMask
from router.console.terminal import note
from router.errors import GraphError
from router.evals.experts.node import find_node
from router.spec import ExpertNode, load_spec


def apply_mask(spec: Path, node: str | None, file: Path) -> None:
    """Sets a mask for everybody on the servers of a node's worker."""
    name, worker = _worker(spec, node)
    mask = ExpertMask.load(file)
    servers = asyncio.run(set_for_everybody(worker, mask))
    note(f"{name} answers with mask {mask.name} now, on {servers} server{'' if servers == 1 else 's'}")


def clear_mask(spec: Path, node: str | None) -> None:
    """Takes it back."""
    name, worker = _worker(spec, node)
    had = sorted(set(asyncio.run(clear_for_everybody(worker))))
    note(f"{name} answers without mask {', '.join(had)} now" if had else f"{name} had no mask for everybody")


def _worker(spec: Path, asked: str | None) -> tuple[str, VllmWorker]:
    """The worker of a node, and its name.

    Raises:
        GraphError: it runs in the process that uses it, where nobody else can reach it.
    """
    graph = load_spec(spec)
    node = graph.nodes[find_node(graph, asked)]
    assert isinstance(node, ExpertNode), "find_node finds no other"
    worker = graph.workers[node.worker]
    if not isinstance(worker, VllmWorker):
        raise GraphError(
            f"expected a node with a vllm worker, which runs by itself, found {node.worker} with engine {worker.engine}. "
            "Write expert_mask below the node instead"
        )
    return node.worker, worker
