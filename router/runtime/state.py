"""The state of a run as LangGraph keeps it."""

from __future__ import annotations

from typing import Annotated, Any, TypedDict

from langchain_core.messages import AnyMessage
from langgraph.graph.message import add_messages

from router.runtime.work import Reply, Spent, Task, add_spent, append, merge_inbox


class GraphState(TypedDict, total=False):
    """Everything that a run knows. ``messages`` is the dialogue and outlives the run; the rest is the run's own."""

    messages: Annotated[list[AnyMessage], add_messages]
    inbox: Annotated[dict[str, Task], merge_inbox]
    spent: Annotated[Spent, add_spent]
    events: Annotated[list[dict[str, Any]], append]
    replies: Annotated[list[Reply], append]
    answer: str | None


class GraphInput(TypedDict):
    """What the compiled graph takes: a dialogue that ends with the user's turn."""

    messages: Annotated[list[AnyMessage], add_messages]


class GraphOutput(TypedDict):
    """What the compiled graph gives: the answer, also appended to the dialogue, and the trace."""

    messages: Annotated[list[AnyMessage], add_messages]
    answer: str | None
    events: list[dict[str, Any]]
    spent: Spent
