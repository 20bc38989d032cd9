"""One node of the compiled graph: makes the visits that are due at it and says where the run goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.runnables import RunnableConfig
from langgraph.config import get_stream_writer
from langgraph.errors import GraphInterrupt
from langgraph.types import Command

from experts.engines.requests import Message
from experts.errors import EngineError
from router.runtime.budget import Allowance
from router.runtime.consent import RunConsent
from router.runtime.moves import Move, Outcome, WaysOut
from router.runtime.options import RUN_OPTIONS, RunOptions
from router.runtime.schedule import Schedule
from router.runtime.state import GraphState
from router.runtime.structures import cannot, check_node
from router.runtime.together import seconds_of, together
from router.runtime.unfinished import milliseconds_since, telling
from router.runtime.visits import Visit, Visitor
from router.runtime.work import NOTHING_SPENT, Reply, Spent, Task
from router.runtime.writer import Writer
from router.spec.models import GraphSpec, JoinNode, RouterNode, ToolNode
from router.tools.errors import ToolError
from router.trace import Delta, Event, Failed
from router.types import NodeId

FINISH = "_finish"
STREAM_TOKENS = "stream_tokens"
"""Key of ``config["configurable"]``: send text and events to LangGraph's custom stream as they come."""


class Step:
    """What LangGraph calls at one node."""

    def __init__(self, spec: GraphSpec, name: NodeId, visitor: Visitor, schedule: Schedule) -> None:
        self._spec, self._name, self._visitor, self._schedule = spec, name, visitor, schedule

    @cached_property
    def _ways_out(self) -> WaysOut:
        return WaysOut(self._spec, self._name)  # when first visited: of a large graph, a run visits few nodes

    async def run(self, state: GraphState, config: RunnableConfig) -> Command[str]:
        """Makes the visits one after the other (several only if several branches ask the same node at once).

        A tool is visited once in a superstep: if a later call had to ask the user, the calls before it would be made
        again when the run goes on.
        """
        visits = self._schedule.visits(state["inbox"])
        mine = [(place, tasks) for place, tasks in enumerate(visits) if tasks[0]["node"] == self._name]
        if not mine:
            # A join that another join may still lead to waits on; without a task, an earlier run of the thread, which
            # failed, had called for it.
            waits = any(task["node"] == self._name for task in state["inbox"].values())
            return Command(goto=[self._name] if waits else [])
        later: list[str] = []
        if isinstance(self._spec.nodes[self._name], ToolNode) and len(mine) > 1:
            mine, later = mine[:1], [self._name]
        asked = config.get("configurable", {})
        send = get_stream_writer() if asked.get(STREAM_TOKENS) else None
        options: RunOptions = asked.get(RUN_OPTIONS) or RunOptions()
        parts: list[Command[str]] = []
        for place, tasks in mine:
            allowance = Allowance(
                self._spec.budget, state["spent"] or NOTHING_SPENT, place, len(visits),
                max(task["elapsed"] for task in tasks) + seconds_of(parts),
            )  # fmt: skip
            consent = RunConsent(asked, tasks[0]["id"])
            parts.append(await self._visit(state, tasks, allowance, send, options, consent))
        return together(parts, later)

    async def _visit(
        self,
        state: GraphState,
        tasks: Sequence[Task],
        allowance: Allowance,
        send: Callable[[Delta | Event], None] | None,
        options: RunOptions,
        consent: RunConsent,
    ) -> Command[str]:
        original = text_of(state["messages"][-1])
        node = self._spec.nodes[self._name]
        joins = isinstance(node, JoinNode)
        query = original if joins else tasks[0]["query"]
        writer = None if send is None else Writer(send, self._spec, self._name)
        write = None if writer is None else writer.write
        visit = Visit(query, tasks, _history(state), allowance, write, options, consent=consent)
        with telling(self._name, visit, before=state["events"], pauses=(GraphInterrupt,)):
            allowance.check(writes=not isinstance(node, (JoinNode, ToolNode)))
            outcome = await self._attempt(visit)
            taken = self._ways_out.moves(outcome, query=query, original=original)
            if outcome.failure is not None and not taken:
                raise outcome.failure
            if options.structure is not None and outcome.reply is None and not taken:
                raise cannot(self._name, "it found no node to ask, and says so in words")
        event = outcome.event
        if isinstance(event, Failed):
            event = event.model_copy(update={"next": tuple(move.edge.target for move in taken)})
        reply = None if taken else self._last_reply(outcome)
        if writer is not None:
            writer.end(event, None if reply is None else reply["text"])
        options.tell(event)
        elapsed = allowance.elapsed + event.milliseconds / 1000
        update: dict[str, Any] = {
            "events": [event.model_dump(mode="json")],
            "spent": Spent(steps=1, tokens=event.generated_tokens, cost=sum(move.edge.cost for move in taken)),
            "inbox": {**{task["id"]: None for task in tasks}, **self._tasks(tasks[0]["id"], taken, outcome, elapsed)},
            "replies": [] if reply is None else [reply],
        }
        return Command(update=update, goto=[move.edge.target for move in taken] or [FINISH])

    async def _attempt(self, visit: Visit) -> Outcome:
        """What came of a visit. Its time begins when its models are loaded."""
        started = time.perf_counter()
        try:
            check_node(self._spec, self._name, visit.options)
            await self._visitor.load(visit)
            started = time.perf_counter()
            outcome = await visit.allowance.in_time(self._visitor.visit(visit))
        except (EngineError, ToolError) as error:
            taken = visit.meter.taken(error)
            outcome = Outcome(Failed(node=self._name, query=visit.query, error=str(error), **taken), failure=error)
        event = outcome.event.model_copy(update={"milliseconds": milliseconds_since(started)})
        return replace(outcome, event=event)

    def _tasks(self, done: str, taken: Sequence[Move], outcome: Outcome, elapsed: float) -> dict[str, Task]:
        ids = [done] if len(taken) == 1 else [f"{done}.{way}" for way in range(len(taken))]
        return {
            task_id: Task(
                id=task_id,
                node=move.edge.target,
                query=move.query,
                source=self._name,
                reply=outcome.reply,
                elapsed=elapsed,
            )
            for task_id, move in zip(ids, taken, strict=True)
        }

    def _last_reply(self, outcome: Outcome) -> Reply:
        """What the user gets from a branch that ends here."""
        if outcome.reply is not None:
            return outcome.reply
        node = self._spec.nodes[self._name]
        own = node.answer if isinstance(node, RouterNode) else None
        return Reply(node=self._name, text=own or self._honest(), logprob=0.0)

    def _honest(self) -> str:
        """The answer of a router that abstains, if the spec has none."""
        known = [self._spec.nodes[e.target].description or e.target for e in self._spec.edges if e.source == self._name]
        return "I cannot answer that: it belongs to none of the subjects that I know. I know: " + "; ".join(known) + "."


def text_of(message: BaseMessage) -> str:
    """The plain text of a message; other content (pictures) is left out."""
    return str(message.text)


def _history(state: GraphState) -> tuple[Message, ...]:
    """The dialogue before the last turn; turns without text (a call of a tool) and tools' own are left out."""
    turns: list[Message] = []
    for message in state["messages"][:-1]:
        text = text_of(message)
        if text and isinstance(message, HumanMessage):
            turns.append(Message("user", text))
        elif text and isinstance(message, AIMessage):
            turns.append(Message("assistant", text))
        elif text and isinstance(message, SystemMessage):
            turns.append(Message("system", text))
    return tuple(turns)
