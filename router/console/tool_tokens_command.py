"""``tokengraph train tool-tokens``. It only declares, as ``cli.py`` does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from router.console.options import AsJson, Graph


def tool_tokens(
    data: Annotated[
        Path, typer.Option(metavar="FILE", help="Examples with marked calls: JSON lines; docs/tools.md has the forms.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the tokens.", file_okay=False)],
    graph: Graph = None,
    node: Annotated[str | None, typer.Option(help="The expert node with `tools`; needed if there are several.")] = None,
    regularisation: Annotated[float | None, typer.Option(min=0, help="How strongly rows keep to their start.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of all that is random.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Teach a frozen model by examples which tool to call where."""
    from router.console.tool_tokens import train

    train(graph, node, data, out, regularisation=regularisation, seed=seed, as_json=as_json)
