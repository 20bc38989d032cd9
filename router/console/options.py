"""What several commands have in common. It is loaded with every command, so it imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

BUNDLED = "the bundled pocket graph"

# Plain help and plain usage errors: importing rich would double the time that --help takes.
STYLE: dict[str, Any] = {"rich_markup_mode": None, "no_args_is_help": True, "pretty_exceptions_enable": False}


def graph_files(incomplete: str) -> Iterator[str]:
    """Completes the name of a graph spec."""
    from router.console.completion import graph_files

    return graph_files(incomplete)


Graph = Annotated[
    Path | None,
    typer.Option(
        "--graph", "-g", metavar="SPEC", envvar="TOKENGRAPH_GRAPH", help="Graph spec, a YAML file.",
        show_default=BUNDLED, autocompletion=graph_files,
    ),
]  # fmt: skip
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON.")]
