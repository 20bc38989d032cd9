"""The two models of a ``token_pair`` node, as training and measuring need them: in this process where they are read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from experts.engines.base import Engine
from experts.engines.config import LocalWorker, VllmWorker, WorkerSpec
from experts.engines.factory import create_engine
from router.errors import GraphError
from router.spec.models import GraphSpec, TokenPairNode
from router.types import NodeId

if TYPE_CHECKING:
    from experts.engines.local.engine import LocalEngine


@dataclass(frozen=True)
class PairSpec:
    """A node of kind ``token_pair`` and its workers."""

    name: NodeId
    node: TokenPairNode
    small: WorkerSpec
    large: WorkerSpec


def pair_spec(spec: GraphSpec, name: NodeId | None) -> PairSpec:
    """The ``token_pair`` node of that name, or the only one.

    Raises:
        GraphError: there is none, or there are several and no name was given.
    """
    pairs = {node_id: node for node_id, node in spec.nodes.items() if isinstance(node, TokenPairNode)}
    known = ", ".join(pairs) or "none"
    if name is None and len(pairs) != 1:
        raise GraphError(f"expected the name of one of the token_pair nodes ({known}), found no name. Give --node")
    chosen = name if name is not None else next(iter(pairs))
    if chosen not in pairs:
        raise GraphError(f"expected a node of kind token_pair ({known}), found {chosen}. Correct --node or the spec")
    node = pairs[chosen]
    return PairSpec(chosen, node, spec.workers[node.small], spec.workers[node.large])


def in_process(worker: WorkerSpec, device: str | None, max_batch: int) -> LocalWorker:
    """A worker with the same model in this process: hidden states are read there.

    Args:
        device: a torch device; by default a local worker's own, and for a model that vLLM serves the first GPU if
            there is one.

    Raises:
        GraphError: the worker has no model.
    """
    if isinstance(worker, LocalWorker):
        return worker.model_copy(
            update={"device": device or worker.device, "max_batch": max_batch, "adapters": {}, "token_router": None}
        )
    if isinstance(worker, VllmWorker):
        import torch

        found = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = "float32" if worker.dtype == "float32" else "bfloat16"
        return LocalWorker(model=worker.model, dtype=dtype, device=device or found, max_batch=max_batch)
    raise GraphError(
        f"expected a worker with engine local or vllm in a token pair, found {worker.engine}. Name a model in the spec"
    )


@asynccontextmanager
async def running(worker: WorkerSpec) -> AsyncIterator[Engine]:
    """The engine of a worker, closed at the end."""
    engine = await create_engine(worker)
    try:
        yield engine
    finally:
        await engine.close()


@asynccontextmanager
async def running_here(worker: WorkerSpec, device: str | None, max_batch: int = 64) -> AsyncIterator[LocalEngine]:
    """The same in this process."""
    from experts.engines.local.engine import LocalEngine

    async with running(in_process(worker, device, max_batch)) as engine:
        assert isinstance(engine, LocalEngine)
        yield engine
