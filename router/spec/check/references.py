"""Do the names in a spec name something?"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from router.spec.models import ExpertNode, GraphSpec, NodeSpec, RouterNode, TokenPairNode
from router.spec.positions import Finding, Findings, KeyPath
from router.spec.wording import did_you_mean, listed, quoted

_NAME = re.compile(r"(?!__)\w[\w.-]*")


def check_references(spec: GraphSpec) -> Findings:
    """Names that name nothing."""
    for kind, names in (("nodes", spec.nodes), ("workers", spec.workers)):
        for name in names:
            if not _NAME.fullmatch(name):
                expected = "a name of letters, digits, _ . and -, not beginning with __"
                yield Finding((kind, name), expected, quoted(name), "rename it", on_key=True)
    yield from _known(("entry",), spec.entry, "node", spec.nodes)
    for index, edge in enumerate(spec.edges):
        yield from _known(("edges", index, "from"), edge.source, "node", spec.nodes)
        yield from _known(("edges", index, "to"), edge.target, "node", spec.nodes)
    for node_id, node in spec.nodes.items():
        for key, worker in workers_of(node):
            yield from _known(("nodes", node_id, key), worker, "worker", spec.workers)
        if isinstance(node, ExpertNode) and node.adapter is not None and node.worker in spec.workers:
            adapters = getattr(spec.workers[node.worker], "adapters", {})
            what = f"adapter of worker {node.worker}"
            yield from _known(("nodes", node_id, "adapter"), node.adapter, what, adapters)


def workers_of(node: NodeSpec) -> Iterator[tuple[str, str]]:
    """The keys of a node that name workers, with the workers."""
    if isinstance(node, (RouterNode, ExpertNode)):
        yield "worker", node.worker
    elif isinstance(node, TokenPairNode):
        yield "small", node.small
        yield "large", node.large


def _known(path: KeyPath, name: str, what: str, known: Iterable[str]) -> Findings:
    names = list(known)
    if name not in names:
        plural = f"{what}s" if " of " not in what else what.replace(" of ", "s of ", 1)
        otherwise = (
            f"define it, or name one of the {plural}: {listed(names)}" if names else f"define a {what} of that name"
        )
        yield Finding(
            path, f"a {what}" if what[0] != "a" else f"an {what}", quoted(name), did_you_mean(name, names, otherwise)
        )
