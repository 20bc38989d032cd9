"""Do tool nodes call tools that there are, and is each tool there once?"""

from __future__ import annotations

from collections.abc import Iterator

from router.spec.models import ExpertNode, GraphSpec, NodeSpec, ToolNode
from router.spec.positions import Finding, Findings, KeyPath
from router.spec.tools import BuiltinTools, names_of
from router.spec.wording import did_you_mean, listed, quoted


def check_tools(spec: GraphSpec) -> Findings:
    """Names of tools; what an MCP server brings is known without asking it only where ``only`` says so."""
    known: dict[str, int] = {}
    complete = True
    for index, source in enumerate(spec.tools):
        names = names_of(source)
        complete = complete and names is not None
        for name in names or ():
            if name in known:
                found = f"{quoted(name)} also from tools[{known[name]}]"
                yield Finding(("tools", index), "tools of different names", found, "remove or rename one")
            known.setdefault(name, index)
        if isinstance(source, BuiltinTools):
            yield from _check_builtin(("tools", index), source)
    for node_id, node in spec.nodes.items():
        for path, name in _called(node):
            if name not in known and complete:
                otherwise = (
                    f"name one of {listed(known)}" if known else "add `tools: [{builtin: calculator}]` to the graph"
                )
                fix = did_you_mean(name, known, otherwise)
                yield Finding(("nodes", node_id, *path), "the name of a tool", quoted(name), fix)


def _called(node: NodeSpec) -> Iterator[tuple[KeyPath, str]]:
    """The tools that a node names, each with its place."""
    if isinstance(node, ToolNode):
        yield ("tool",), node.tool
    elif isinstance(node, ExpertNode):
        for index, name in enumerate(node.tools):
            yield ("tools", index), name
        for name in node.tool_bias if isinstance(node.tool_bias, dict) else ():
            yield ("tool_bias", name), name


def _check_builtin(path: KeyPath, source: BuiltinTools) -> Findings:
    if source.builtin != "sql":
        for key in ("files", "rows", "seconds"):
            if getattr(source, key):
                fix = "remove it"
                yield Finding((*path, key), f"`{key}` only with `builtin: sql`", f"`builtin: {source.builtin}`", fix)
    elif not source.files:
        yield Finding((*path, "builtin"), "`files` with `builtin: sql`", "none", "add `files: [table.csv]`")
