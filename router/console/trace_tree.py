"""A run's trace as a tree: what happened and what it cost."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rich.console import Group, RenderableType
from rich.text import Text
from rich.tree import Tree

from router.console.authors import by_author
from router.console.terminal import duration, one_line, quantity
from router.runtime.result import RunResult, Usage
from router.spec import GraphSpec
from router.trace import Answered, Called, Event, Failed, Joined, Pick, Routed, Stopped, WrittenCall
from router.types import NodeId

Edges = Collection[tuple[NodeId, NodeId]]


def trace_tree(result: RunResult, spec: GraphSpec) -> RenderableType:
    """The visits below the query that they answer, and what they cost together."""
    root = Tree(Text(one_line(result.query), "bold"), guide_style="dim")
    branches: list[Tree] = []
    edges = {(edge.source, edge.target) for edge in spec.edges}
    for event, parent in zip(result.events, parents(result.events, edges), strict=True):
        above = None if parent is None else result.events[parent]
        asked = (result.query,) if above is None else _asked(above)
        branches.append((root if parent is None else branches[parent]).add(label(event, asked)))
    return Group(root, Text(totals(result.usage), "dim"))


def parents(events: Sequence[Event], edges: Edges) -> list[int | None]:
    """For each event the position of the one that led to it; None for the first.

    A join belongs below the visit that all the branches that it joins have in common.
    """
    found: list[int | None] = []
    for i, event in enumerate(events):
        before = range(i - 1, -1, -1)
        if isinstance(event, Joined):
            latest = {events[j].node: j for j in reversed(before) if (events[j].node, event.node) in edges}
            found.append(_common([_line_of(j, found) for j in latest.values()]))
        else:
            fits = [j for j in before if _leads(events[j], event, edges)]
            exact = (j for j in fits if event.query in _asked(events[j]))
            found.append(next(exact, fits[0] if fits else None))
    return found


def _leads(source: Event, target: Event, edges: Edges) -> bool:
    match source:
        case Routed(chosen=picks) if picks:
            return any(pick.node == target.node for pick in picks)
        case Answered(chosen=pick) if pick is not None:
            return pick.node == target.node
        case Failed(next=nodes):
            return target.node in nodes
    return (source.node, target.node) in edges


def _asked(source: Event) -> tuple[str, ...]:
    """Texts that the next node may have been asked."""
    match source:
        case Routed(queries=queries):
            return queries
        case Called(text=answer) | Answered(answer=answer) | Joined(answer=answer):
            return answer, source.query
    return ("", source.query)


def _line_of(position: int, found: Sequence[int | None]) -> list[int]:
    """A visit and those above it, from the top."""
    line = [position]
    while (above := found[line[0]]) is not None:
        line.insert(0, above)
    return line


def _common(lines: Sequence[list[int]]) -> int | None:
    common = None
    for level in zip(*lines, strict=False):
        if len(set(level)) > 1:
            break
        common = level[0]
    return common


def label(event: Event, asked: Collection[str] = ()) -> Text:
    """What a visit did, with details below it and its cost at the end of the first line.

    Args:
        asked: texts that stand above it already; the visit's query is named only if it is another one.
    """
    match event:
        case Routed():
            first, details = _routed(event)
        case Answered():
            first, details = _answered(event)
        case Called():
            given = ", ".join(f"{name}={value!r}" for name, value in event.arguments.items())
            first = [(event.node, "bold yellow"), f" calls {event.tool}({one_line(given)})"]
            details = [("answer", one_line(event.text))]
        case Joined():
            first = [(event.node, "bold cyan"), f" joins {', '.join(event.sources)} ({event.method})"]
            details = [("answer", one_line(event.answer))]
        case Failed():
            onward = f", goes on to {', '.join(event.next)}" if event.next else ""
            first = [(event.node, "bold red"), (f" failed{onward}", "red")]
            details = [("error", one_line(event.error))]
        case Stopped():
            first, details = [(event.node, "bold yellow"), (f" stopped: {event.reason}", "yellow")], []
    if not isinstance(event, Joined) and event.query not in asked:
        details.insert(0, ("asked", one_line(event.query)))
    text = Text.assemble(*first, (f"  {_cost(event)}", "dim"))
    if isinstance(event, Answered) and event.pair is not None and event.pair.tokens:
        text.append("\n").append_text(by_author(event.pair))
    for name, value in details:
        text.append(f"\n{name:<9} ", "dim")
        text.append(value, "dim" if name == "working" else "")
    return text


_Parts = list[str | tuple[str, str]]


def _routed(event: Routed) -> tuple[_Parts, list[tuple[str, str]]]:
    first: _Parts = [(event.node, "bold blue")]
    first += [f" → {', '.join(map(_pick, event.chosen))}"] if event.chosen else [(" abstains", "yellow")]
    others = [pick for pick in event.alternatives if pick not in event.chosen]
    details = [("else" if event.chosen else "found", ", ".join(map(_pick, others)))] if others else []
    details += [("asks", one_line(query)) for query in event.queries if query != event.query]
    details += [("malformed", one_line(call)) for call in event.malformed if call is not None]
    return first, details


def _answered(event: Answered) -> tuple[_Parts, list[tuple[str, str]]]:
    first: _Parts = [(event.node, "bold green")]
    if event.chosen is not None:
        first.append(f" hands on → {_pick(event.chosen)}")
    else:
        first.append(f" answers {event.probability:.1%}")
    if event.pair is not None:
        calls = "once" if event.pair.switches == 1 else f"{event.pair.switches} times"
        first.append(f", {event.pair.large_share:.1%} by the large model, called {calls}")
    if event.finish_reason == "length":
        first.append((" cut off at its token limit", "yellow"))
    shown = event.pair is not None and event.pair.tokens  # all of the text, by its authors
    texts = (("working", "" if shown else event.working), ("answer", event.answer))
    details = [("calls", _call(call)) for call in event.calls]
    details += [(name, one_line(text)) for name, text in texts if text]
    return first, details


def _call(call: WrittenCall) -> str:
    return f"{call.tool}{one_line(call.written)} {'failed:' if call.failed else '='} {one_line(call.text)}"


def _pick(pick: Pick) -> str:
    token = f" {pick.token}" if pick.token else ""
    return f"{pick.node or 'none'}{token} {pick.probability:.1%}"


def _cost(event: Event) -> str:
    parts = [duration(event.milliseconds)]
    if event.prompt_tokens or event.generated_tokens:
        parts.append(f"{event.prompt_tokens:,} tokens read, {event.generated_tokens:,} written")
    if event.activated_parameters:
        parts.append(f"{quantity(event.activated_parameters)} parameters active")
    return " · ".join(parts)


def totals(usage: Usage) -> str:
    """What a run took, on one line."""
    parts = [
        f"{usage.steps} {'visit' if usage.steps == 1 else 'visits'}",
        f"{usage.prompt_tokens:,} tokens read, {usage.generated_tokens:,} written",
    ]
    if usage.large_share is not None:
        parts.append(f"{usage.large_share:.1%} by large models")
    if usage.activated_parameters:
        parts.append(f"{quantity(usage.activated_parameters)} parameters active per written token")
    parts.append(duration(1000 * usage.seconds))
    return " · ".join([*parts, f"cost {usage.cost:g}"] if usage.cost else parts)
