"""Does every edge say something that its nodes can do?"""

from __future__ import annotations

import re
from collections.abc import Sequence

from router.spec.check.workers import check_token
from router.spec.models import EdgeSpec, ExpertNode, GraphSpec, RouterNode, ToolNode
from router.spec.positions import Finding, Findings, KeyPath
from router.spec.wording import did_you_mean, quoted

_FIELD = re.compile(r"\{(\w+)\}")
_FIELDS = ("query", "answer", "original")
_Numbered = tuple[int, EdgeSpec]


def check_edges(spec: GraphSpec) -> Findings:
    """Problems of edges, one by one."""
    for index, edge in enumerate(spec.edges):
        yield from _check_edge(spec, index, edge)
    outgoing: dict[str, list[_Numbered]] = {}
    for index, edge in enumerate(spec.edges):
        outgoing.setdefault(edge.source, []).append((index, edge))
    for edges in outgoing.values():
        yield from _check_together(spec, edges)
    for node_id, node in spec.nodes.items():
        if isinstance(node, RouterNode):
            yield from _check_router(spec, node_id, node, [edge for _, edge in outgoing.get(node_id, ())])


def _check_edge(spec: GraphSpec, index: int, edge: EdgeSpec) -> Findings:
    path: KeyPath = ("edges", index)
    when, source = spec.when(edge), spec.nodes.get(edge.source)
    if edge.below is not None and when != "low_confidence":
        fix = "add `when: low_confidence`, or remove `below`"
        yield Finding((*path, "below"), "`below` only with `when: low_confidence`", f"`when: {when}`", fix)
    if edge.below is None and when == "low_confidence":
        fix = "add `below: 0.8`, the mean token probability under which the edge is taken"
        yield Finding((*path, "when"), "`below` with `when: low_confidence`", "none", fix)
    if edge.token is not None:
        if when != "token":
            fix = "add `when: token`, or remove `token`"
            yield Finding((*path, "token"), "`token` only with `when: token`", f"`when: {when}`", fix)
        yield from check_token((*path, "token"), edge.token)
    for field in _FIELD.findall(edge.query or ""):
        if field not in _FIELDS:
            fix = did_you_mean(field, _FIELDS, f"write one of those, or {{ {field} }} if this is meant literally")
            expected = f"a query with the fields {', '.join(f'{{{name}}}' for name in _FIELDS)}"
            yield Finding((*path, "query"), expected, f"{{{field}}}", fix)
    if source is None:
        return
    kind = f"{edge.source}, a {source.kind.replace('_', ' ')}"
    if when == "token" and not isinstance(source, (RouterNode, ExpertNode)):
        yield Finding((*path, "when"), "token edges out of routers and experts", kind, "use another `when`")
    if when == "low_confidence" and isinstance(source, (RouterNode, ToolNode)):
        fix = "use `when: fallback`" if isinstance(source, RouterNode) else "use `when: error`"
        yield Finding((*path, "when"), "low_confidence out of a node whose model answers", kind, fix)


def _check_together(spec: GraphSpec, edges: Sequence[_Numbered]) -> Findings:
    """The edges out of one node, against each other."""
    tokens: dict[str, int] = {}
    same: dict[object, int] = {}
    fallback: int | None = None
    for index, edge in edges:
        when = spec.when(edge)
        key = (edge.target, when, edge.token)
        if key in same:
            found = f"another one from {edge.source} to {edge.target} for the same case (edges[{same[key]}])"
            yield Finding(("edges", index), "one edge for each case", found, "remove one")
            continue
        same[key] = index
        if edge.token is not None and edge.token in tokens:
            found = f"{quoted(edge.token)} also on edges[{tokens[edge.token]}]"
            fix = f"give each edge out of {edge.source} its own token"
            yield Finding(("edges", index, "token"), f"one edge for each token of {edge.source}", found, fix)
        elif edge.token is not None:
            tokens[edge.token] = index
        if when == "fallback":
            if fallback is not None:
                found = f"another one (edges[{fallback}])"
                yield Finding(("edges", index, "when"), f"one fallback edge out of {edge.source}", found, "keep one")
            fallback = index


def _check_router(spec: GraphSpec, node_id: str, node: RouterNode, edges: Sequence[EdgeSpec]) -> Findings:
    path: KeyPath = ("nodes", node_id)
    targets = [edge.target for edge in edges if spec.when(edge) == "token"]
    if not targets:
        fix = f"add edges `{{from: {node_id}, to: ...}}`; out of a router they are token edges by default"
        yield Finding(path, "token edges out of a router", "none", fix)
    elif set(targets) == {node_id}:
        fix = "add an edge to another node"
        yield Finding(path, "token edges to other nodes", f"edges from {node_id} to itself alone", fix)
    elif node.fan_out > len(targets):
        found = f"{node.fan_out}, but {node_id} has {len(targets)}"
        fix = f"write at most {len(targets)}, or add edges"
        yield Finding((*path, "fan_out"), "at most as many as there are token edges", found, fix)
