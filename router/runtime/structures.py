"""Answers that are held to JSON: which nodes can be, and a run that would end with anything else is refused."""

from __future__ import annotations

from experts.engines.base import Capability, Engine
from experts.errors import CapabilityError
from router.runtime.engines import EnginePool
from router.runtime.options import RunOptions, answers
from router.spec.models import ExpertNode, GraphSpec, JoinNode, TokenPairNode, ToolNode
from router.types import NodeId


def obstacle(spec: GraphSpec, name: NodeId, pool: EnginePool | None = None) -> str | None:
    """Why what a node says cannot be held to JSON, as far as that is known before a model runs; None if it can.

    Args:
        pool: to look at the node's worker, too.
    """
    match spec.nodes[name]:
        case TokenPairNode():
            return "two models write its answer"
        case ToolNode():
            return "it says what its tool says"
        case JoinNode(method="concat"):
            return "it puts answers one after the other"
        case ExpertNode(tools=tools) if tools:
            return "its answer has calls of tools in it"
        case ExpertNode(worker=worker) if pool is not None and pool.lacks(worker, Capability.STRUCTURED_OUTPUTS):
            return f"its worker {worker} has an engine that can only write text"
    return None


def check_node(spec: GraphSpec, name: NodeId, options: RunOptions) -> None:
    """To be called before a node is visited.

    Raises:
        CapabilityError: the run asks for JSON, the user may get what this node says, and it cannot be held to it.
    """
    if options.structure is not None and answers(spec, name) and (why := obstacle(spec, name)):
        raise cannot(name, why)


def check_engine(name: NodeId, engine: Engine) -> None:
    """Raises CapabilityError unless a node's engine can hold an answer to JSON."""
    if Capability.STRUCTURED_OUTPUTS not in engine.capabilities:
        raise cannot(name, f"the engine of {engine.info.model} can only write text")


def cannot(name: NodeId, why: str) -> CapabilityError:
    """The error of a run that asks for JSON and would get something else of a node."""
    return CapabilityError(
        f"expected an answer that is held to JSON, found that the node {name} cannot give one: {why}. Ask a node with "
        "engine: vllm, or ask for text"
    )
