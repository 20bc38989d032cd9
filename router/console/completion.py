"""What the shell completes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def graph_files(incomplete: str) -> Iterator[str]:
    """YAML files, and folders on the way to them."""
    folder, _, name = incomplete.rpartition("/")
    base = Path(f"{folder}/" if "/" in incomplete else ".")
    for path in sorted(base.iterdir()) if base.is_dir() else ():
        if path.name.startswith(name) and (name.startswith(".") or not path.name.startswith(".")):
            begin = incomplete[: len(incomplete) - len(name)]
            if path.is_dir():
                yield f"{begin}{path.name}/"
            elif path.suffix in (".yaml", ".yml"):
                yield f"{begin}{path.name}"


def router_nodes(graph: Path | None, incomplete: str) -> list[str]:
    """The router nodes of a graph; none if it is not valid."""
    from router.console.graphs import graph_path
    from router.errors import SpecError
    from router.spec import RouterNode, load_spec

    try:
        spec = load_spec(graph_path(graph))
    except SpecError:
        return []
    return [name for name, node in spec.nodes.items() if isinstance(node, RouterNode) and name.startswith(incomplete)]
