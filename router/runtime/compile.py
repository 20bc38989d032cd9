"""DiGraph -> LangGraph StateGraph.

Every node of the graph becomes a LangGraph node of the same name, between ``_begin`` (which turns the dialogue's last
turn into the first task) and ``_finish`` (which turns the last replies into the answer). Joins and ``_finish`` are
deferred: they run when no branch is left that could still lead to them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command

from router.errors import GraphError, RunError
from router.graph import Graph
from router.runtime.options import NO_OPTIONS, RUN_OPTIONS, RunOptions
from router.runtime.portal import call
from router.runtime.schedule import Schedule
from router.runtime.state import GraphInput, GraphOutput, GraphState
from router.runtime.step import FINISH, STREAM_TOKENS, Step, text_of
from router.runtime.structures import cannot
from router.runtime.visits import Visitor
from router.runtime.work import EVERY, Task
from router.spec.models import GraphSpec, JoinNode, RouterNode
from router.types import NodeId

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.graph.state import CompiledStateGraph

__all__ = ["BEGIN", "FINISH", "STREAM_TOKENS", "compile_graph"]

BEGIN = "_begin"


def compile_graph(
    graph: Graph, visitors: Mapping[NodeId, Visitor], *, checkpointer: BaseCheckpointSaver[str] | None = None
) -> CompiledStateGraph[GraphState, None, GraphInput, GraphOutput]:
    """The runnable of a graph: takes ``{"messages": [...]}``, gives ``messages``, ``answer``, ``events`` and ``spent``.

    Args:
        visitors: what each node does; ``router.runtime.visits.visitor`` makes them.

    Raises:
        GraphError: a node has a name that the compiled graph needs for itself.
    """
    spec: GraphSpec = graph.graph["spec"]
    schedule = Schedule(graph)
    builder: StateGraph[GraphState, None, GraphInput, GraphOutput] = StateGraph(
        GraphState, input_schema=GraphInput, output_schema=GraphOutput
    )
    builder.add_node(BEGIN, RunnableLambda(_begin(spec), name=BEGIN))
    builder.add_edge(START, BEGIN)
    builder.add_edge(BEGIN, spec.entry)
    builder.add_node(FINISH, _finish, defer=True)
    builder.add_edge(FINISH, END)
    for name, node in spec.nodes.items():
        if name in (BEGIN, FINISH):
            raise GraphError(f"expected a node of another name than {BEGIN} and {FINISH}, found {name}. Rename it")
        destinations = (*graph.successors(name), *([FINISH] if _may_end(spec, name) else []))
        step = _runnable(Step(spec, name, visitors[name], schedule), name)
        builder.add_node(name, step, defer=isinstance(node, JoinNode), destinations=destinations)
    return builder.compile(checkpointer=checkpointer, name=spec.name)


def _begin(spec: GraphSpec) -> Callable[[GraphState], dict[str, Any]]:
    def begin(state: GraphState) -> dict[str, Any]:
        if not state["messages"]:
            raise RunError("expected a dialogue that ends with a user's turn, found an empty one. Pass messages")
        query = text_of(state["messages"][-1])
        task = Task(id="0", node=spec.entry, query=query, source=None, reply=None, elapsed=0.0)
        inbox = {EVERY: None, task["id"]: task}  # whatever an earlier run of this thread left behind is dropped
        return {"inbox": inbox, "spent": None, "events": None, "replies": None, "answer": None}

    return begin


def _finish(state: GraphState, config: RunnableConfig) -> dict[str, Any]:
    """Several replies can only meet here if branches end side by side; they are put one after the other."""
    if state["inbox"]:  # a join goes on; the branch that comes after it ends here again
        return {}
    options: RunOptions = config.get("configurable", {}).get(RUN_OPTIONS) or NO_OPTIONS
    if options.structure is not None and len(state["replies"]) > 1:
        raise cannot(NodeId(state["replies"][1]["node"]), "it is not the only one that answers")
    answer = "\n\n".join(reply["text"] for reply in state["replies"])
    return {"answer": answer, "messages": [AIMessage(answer)]}


def _runnable(step: Step, name: NodeId) -> RunnableLambda[GraphState, Command[str]]:
    def run_sync(state: GraphState, config: RunnableConfig) -> Command[str]:
        return call(step.run, state, config)

    return RunnableLambda(run_sync, afunc=step.run, name=name)


def _may_end(spec: GraphSpec, name: NodeId) -> bool:
    """Whether a branch can end at a node: not if some edge is taken whatever it answers."""
    kinds = {spec.when(edge) for edge in spec.edges if edge.source == name}
    return "always" not in kinds and not (isinstance(spec.nodes[name], RouterNode) and "fallback" in kinds)
