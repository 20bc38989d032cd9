"""Which graph a command works on."""

from __future__ import annotations

from pathlib import Path

import router


def graph_path(path: Path | None) -> Path:
    """The graph that was named, else the bundled pocket graph."""
    return path or Path(router.__file__).parent.parent / "graph_specs" / "pocket.yaml"
