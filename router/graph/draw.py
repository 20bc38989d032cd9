"""A graph as a tree for the terminal, as Mermaid text and as SVG."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from router.graph.svg import svg
from router.graph.wording import condition, detail

if TYPE_CHECKING:
    from rich.tree import Tree

    from router.graph.build import Graph

__all__ = ["mermaid", "svg", "tree"]

_SHAPES = {
    "router": ("{{", "}}"), "expert": ("(", ")"), "token_pair": ("[[", "]]"), "tool": ("[/", "/]"),
    "join": ("((", "))"),
}  # fmt: skip
_COLOURS = {"router": "blue", "expert": "green", "token_pair": "magenta", "tool": "yellow", "join": "cyan"}


def tree(graph: Graph) -> Tree:
    """The graph from its entry on, as a rich tree. A node with out-edges that comes up again is not unfolded again."""
    from rich.text import Text
    from rich.tree import Tree

    def label(node: str, before: str, after: str) -> Text:
        spec = graph.nodes[node]["spec"]
        parts: list[str | tuple[str, str]] = [(before, "dim"), (node, f"bold {_COLOURS[spec.kind]}"), f" {spec.kind}"]
        return Text.assemble(*parts, (f" {detail(spec)}" if detail(spec) else "", "dim"), (after, "dim"))

    entry: str = graph.graph["entry"]
    root = Tree(label(entry, "", ""))
    unfolded = {entry}
    pending = [(entry, root)]
    while pending:
        source, branch = pending.pop(0)
        for target, data in graph.adj[source].items():
            texts = dict.fromkeys(condition(graph.graph["spec"], edge) for edge in data["edges"])
            before = "".join(f"{text} " for text in texts if text)
            again = target in unfolded and bool(graph.adj[target])
            child = branch.add(label(target, before, " (see above)" if again else ""))
            if target not in unfolded:
                unfolded.add(target)
                pending.append((target, child))
    return root


def mermaid(graph: Graph) -> str:
    """A Mermaid flowchart: shapes for kinds, conditions on edges, dotted lines for what is not the normal way."""
    spec = graph.graph["spec"]
    ids = {node: f"n{index}" for index, node in enumerate(graph)}
    lines = ["flowchart LR"]
    for node, data in graph.nodes(data=True):
        begin, end = _SHAPES[data["spec"].kind]
        below = f"<br/><small>{_escaped(detail(data['spec']))}</small>" if detail(data["spec"]) else ""
        lines.append(f'    {ids[node]}{begin}"{_escaped(node)}{below}"{end}')
    for source, target, data in graph.edges(data=True):
        for edge in data["edges"]:
            arrow = "-->" if spec.when(edge) in ("always", "token") else "-.->"
            text = condition(spec, edge)
            lines.append(f"    {ids[source]} {arrow}" + (f'|"{_escaped(text)}"| ' if text else " ") + ids[target])
    lines += [f"    classDef {kind} {_mermaid_style(kind)}" for kind in _SHAPES]
    for kind in _SHAPES:
        if members := [ids[node] for node, data in graph.nodes(data=True) if data["spec"].kind == kind]:
            lines.append(f"    class {','.join(members)} {kind}")
    return "\n".join(lines) + "\n"


def _mermaid_style(kind: str) -> str:
    from router.graph.svg import PALETTE

    fill, line, text = PALETTE[kind][0]
    return f"fill:{fill},stroke:{line},color:{text}"


def _escaped(text: str) -> str:
    """Any character that Mermaid or HTML could take as syntax becomes a character code."""
    return re.sub(r"[^\w .,:/()=+-]", lambda match: f"#{ord(match.group())};", text)
