"""What tools are worth that come by their name and description alone, as a user adds them: a table for the scores of the
pocket model that uses tools.

Tool tokens are trained without the tools that the frozen model never met (`experts.pocket.tools.corpus.LEFT_OUT`). Then a
node offers these as well, and everything is asked, before and after.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from experts.engines.config import LocalWorker
from experts.pocket.tools.corpus import LEFT_OUT, ToolExample
from experts.pocket.tools.questions import marked_row, questions
from router.evals.pocket import percent
from router.evals.report import Table
from router.runtime.result import RunResult
from router.runtime.router import Router
from router.spec import load_spec
from router.spec.models import ExpertNode
from router.tools.builtins.catalogue import load_builtin
from router.tools.tokens.examples import read_examples
from router.tools.tokens.train import ToolTraining, train_tool_tokens
from router.trace import Answered
from router.types import NodeId

ROOT = Path(__file__).parents[2]
ROWS = ROOT / "experts" / "pocket" / "tools" / "rows.yaml"
_NODE = NodeId("exact")
_OTHERS = "the others"
_EXAMPLES = 60  # a tool, as the bundled rows have


async def later_tools_table(base: str, tested: Sequence[ToolExample], seed: int) -> Table:
    """How often the right tool is called first, before and after tools are added.

    Args:
        base: the frozen model.
        tested: questions for tools of both kinds.
    """
    worker = LocalWorker(engine="local", model=base, max_batch=64)
    every = {tool.name: tool for name in ("arithmetic", "calculator", "units", "dates") for tool in load_builtin(name)}
    asked = dict.fromkeys(example.problem.tool for example in tested)
    known = [name for name in asked if name not in LEFT_OUT]
    with tempfile.TemporaryDirectory() as folder:
        data, out = Path(folder) / "questions.jsonl", Path(folder) / "tokens"
        learnt = [example for example in questions("train", _EXAMPLES) if example.problem.tool in known]
        data.write_text("".join(json.dumps(marked_row(example)) + "\n" for example in learnt), encoding="utf-8")
        examples = read_examples(data, known)
        await train_tool_tokens(
            worker, [every[name] for name in known], examples, out, training=ToolTraining(seed=seed)
        )
        before = await _first_calls(out, known, tested)
        after = await _first_calls(out, list(asked), tested)
    rows: list[tuple[str | float, ...]] = []
    for kind in (*sorted(LEFT_OUT), _OTHERS):
        own = [number for number, example in enumerate(tested) if _kind(example) == kind]
        right = [[found[number] == tested[number].problem.tool for number in own] for found in (before, after)]
        rows.append((kind, *map(percent, right)))
    return Table(
        "Tools added by name and description alone: the right tool is called first, percent",
        ("questions for", "before they are added", "after"),
        tuple(rows),
        f"The frozen model never met {' and '.join(sorted(LEFT_OUT))}. Tool tokens of the others were trained with {_EXAMPLES} "
        "examples each; then the node offers these as well.",
    )


def _kind(example: ToolExample) -> str:
    return example.problem.tool if example.problem.tool in LEFT_OUT else _OTHERS


async def _first_calls(tokens: Path, tools: Sequence[str], tested: Sequence[ToolExample]) -> list[str | None]:
    """The tool that each question calls first."""
    graph = load_spec(ROWS)
    node, worker = graph.nodes[_NODE], graph.workers[next(iter(graph.workers))]
    assert isinstance(node, ExpertNode) and isinstance(worker, LocalWorker), "rows.yaml has one local expert"
    node = node.model_copy(update={"tools": tuple(tools), "tool_tokens": tokens})
    worker = worker.model_copy(update={"model": str(tokens / "model")})
    graph = graph.model_copy(
        update={"nodes": {_NODE: node}, "workers": dict.fromkeys(graph.workers, worker)},
    )
    async with Router(graph) as router:
        results = await router.abatch([example.question for example in tested], concurrency=4)
    return [_first_call(result) if isinstance(result, RunResult) else None for result in results]


def _first_call(result: RunResult) -> str | None:
    calls = (call.tool for event in result.events if isinstance(event, Answered) for call in event.calls)
    return next(calls, None)
