"""Training tool tokens from the command line."""

from __future__ import annotations

import json
from pathlib import Path

from rich.table import Table

from experts.engines.config import LocalWorker
from router.console.batch import bar
from router.console.graphs import graph_path
from router.console.terminal import console, write_json
from router.console.training import interruptible
from router.errors import GraphError, TokenHeadError
from router.functional.progress import Progress
from router.runtime.portal import call
from router.runtime.tools import ToolPool
from router.spec import load_spec
from router.spec.models import ExpertNode, GraphSpec
from router.tools.tokens.examples import read_examples
from router.tools.tokens.file import ToolTrainingReport
from router.tools.tokens.train import ToolTraining, train_tool_tokens


def train(
    graph: Path | None,
    node: str | None,
    data: Path,
    out: Path,
    *,
    regularisation: float | None,
    seed: int,
    as_json: bool,
) -> None:
    """Trains the tool tokens of an expert node and shows the report."""
    path = graph_path(graph)
    spec = load_spec(path)
    name, expert = _expert(spec, node)
    worker = spec.workers[expert.worker]
    if not isinstance(worker, LocalWorker):
        raise TokenHeadError(
            f"expected a worker with engine: local to train {name}, found {worker.engine}. Give {expert.worker} a local "
            "model for training; the result can be served by any engine"
        )
    examples = read_examples(data, expert.tools)
    training = ToolTraining(regularisation, seed)

    def show(now: Progress) -> None:
        progress.update(task, description=now.stage, completed=now.done)

    async def work() -> ToolTrainingReport:
        pool = ToolPool(spec.tools)
        try:
            tools = [(await pool.caller(tool)).tools[tool] for tool in expert.tools]
            return await train_tool_tokens(
                worker, tools, examples, out, system=expert.system, training=training, progress=show
            )
        finally:
            await pool.close()

    with bar("training", total=1.0) as (progress, task), interruptible():
        report = call(work)
    if as_json:
        write_json({**json.loads(report.model_dump_json()), "tool_tokens": str(out)})
    else:
        _show(report, path, name, out)


def _expert(spec: GraphSpec, node: str | None) -> tuple[str, ExpertNode]:
    found = {name: each for name, each in spec.nodes.items() if isinstance(each, ExpertNode) and each.tools}
    if node is None and len(found) == 1:
        return next(iter(found.items()))
    if node is not None and node in found:
        return node, found[node]  # type: ignore[index]
    there = ", ".join(found) or "none; give an expert node `tools: [...]`"
    raise GraphError(f"expected an expert node with tools ({there}), found {node or 'no choice'}. Name one with --node")


def _show(report: ToolTrainingReport, graph: Path, node: str, out: Path) -> None:
    table = Table("", box=None, pad_edge=False, show_header=False)
    table.add_column(justify="right")
    rows = [
        ("held-out calls: the right tool", f"{report.choice:.1%}"),
        ("  before training (names and descriptions)", f"{report.prior_choice:.1%}"),
        ("  where a call begins at all", f"{report.called:.1%}"),
        ("calls where ordinary text belongs", f"{report.false_calls:.1%}"),
        ("examples, calls in them", f"{report.examples:,}, {report.calls:,}"),
        ("held-out calls", f"{report.validation_calls:,}"),
        ("regularisation", f"{report.regularisation:g}"),
        ("time", f"{report.seconds:.1f} s"),
    ]
    for name, value in rows:
        table.add_row(name, value)
    screen = console()
    screen.print(table)
    screen.print(f"\nUse them: write `tool_tokens: {out.absolute()}` below {node} in {graph}", soft_wrap=True)
