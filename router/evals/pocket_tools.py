"""Scores the pocket model that uses tools: ``python -m router.evals.pocket_tools`` writes docs/pocket_tools.md.

Held-out problems in held-out phrasings. Beside the experts of graph_specs/pocket_tools.yaml stands the same model without
tools, and beside rows that learnt from examples stand rows from descriptions alone and rows that began at random.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experts.engines.base import Engine
from experts.engines.config import LocalWorker
from experts.engines.factory import create_engine
from experts.engines.requests import NEVER, GenerateRequest, Message
from experts.pocket.tools.corpus import ToolExample
from experts.pocket.tools.questions import NODES, questions
from router.evals.everyday_tools import everyday_table
from router.evals.later_tools import later_tools_table
from router.evals.pocket import percent
from router.evals.report import Table, write_report
from router.evals.tool_calls import builtin_tools, first_call
from router.functional.fit import Rows, fit_rows
from router.runtime.result import RunResult
from router.runtime.router import Router
from router.spec import load_spec
from router.tools.tokens.file import GENERIC
from router.tools.tokens.states import describe
from router.types import NodeId

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

log = logging.getLogger(__name__)
ROOT = Path(__file__).parents[2]
COUNTS = (1, 5, 20, 50)
_DRAWS = 3  # one alone is up to ten points off where examples are few
_REGULARISATION = 3.0  # lambda, for all counts; chosen on the split `valid` (0.001 to 3)


async def expert_scores(spec: Path, examples: Sequence[ToolExample], node: str | None) -> list[tuple[bool, bool]]:
    """Of each example whether the answer is exact and whether the right tool was called first.

    Args:
        node: the expert to ask; None: the whole graph, its routing included.
    """
    graph = load_spec(spec)
    if node is not None:
        expert = NodeId(node)
        graph = graph.model_copy(update={"entry": expert, "nodes": {expert: graph.nodes[expert]}, "edges": ()})
    async with Router(graph) as router:
        results = await router.abatch([example.question for example in examples], concurrency=4)
    return [
        (
            isinstance(result, RunResult) and result.answer == example.problem.answer,
            first_call(result) == example.problem.tool,
        )
        for example, result in zip(examples, results, strict=True)
    ]


async def unaided_scores(engine: Engine, examples: Sequence[ToolExample]) -> list[bool]:
    """Of each example whether the model guesses the answer when it may not call anything."""
    generic = engine.token_id(GENERIC)
    bias = {} if generic is None else {generic: NEVER}
    requests = [
        GenerateRequest(messages=(Message("user", example.question),), max_tokens=64, logit_bias=bias)
        for example in examples
    ]
    generations = await asyncio.gather(*map(engine.generate, requests))
    return [g.text.strip() == e.problem.answer for g, e in zip(generations, examples, strict=True)]


async def answers_table(spec: Path, engine: Engine, each: int, seed: int) -> Table:
    """Exact answers, tool by tool."""
    rows: list[tuple[str | float, ...]] = []
    every: list[tuple[str, bool, bool, bool, bool]] = []
    for domain, node in NODES.items():
        examples = questions("test", each, domains=(domain,), seed=seed)
        alone, graph = await expert_scores(spec, examples, node), await expert_scores(spec, examples, None)
        without = await unaided_scores(engine, examples)
        every += [
            (example.problem.tool, *expert, whole[0], guess)
            for example, expert, whole, guess in zip(examples, alone, graph, without, strict=True)
        ]
    for tool in dict.fromkeys(tool for tool, *_ in every):
        own = [scores for name, *scores in every if name == tool]
        rows.append((tool, *(percent(column) for column in zip(*own, strict=True))))
        log.info("%s", rows[-1])
    mean = tuple(percent(column) for column in zip(*(scores for _, *scores in every), strict=True))
    return Table(
        "Exact answers, percent",
        ("tool", "expert", "right tool first", "whole graph", "without tools"),
        (*rows, ("all", *mean)),
        f"{each} questions a tool: held-out problems (numbers of up to 12 digits) in held-out phrasings, with typing errors in "
        "a quarter of them. Without tools the same model writes what it takes for the answer.",
    )


async def rows_table(engine: Engine, each: int, seed: int) -> Table:
    """The choice of the tool by rows that had so many examples; the mean of several draws of questions and examples."""
    import numpy as np

    asked = {example.problem.tool for example in questions("test", 1)}
    tools = [tool for tool in builtin_tools() if tool.name in asked]
    descriptions = np.stack([found.description for found in (await describe(engine, tools)).values()])
    names = [tool.name for tool in tools]
    draws = [await _hits(engine, names, descriptions, each, seed + number) for number in range(_DRAWS)]
    begun, kept = np.mean(draws, axis=0).tolist()
    log.info("random %s, prior and after %s", begun, kept)
    return Table(
        "The right tool, percent, by examples of each",
        ("examples a tool", "0", *map(str, COUNTS)),
        (
            ("random initialisation", *begun),
            ("prior only", *([kept[0]] * (1 + len(COUNTS)))),
            ("prior + regularisation", *kept),
        ),
        f"One of {len(names)} tools; the mean of {_DRAWS} draws of {each} questions a tool, and of the examples.",
    )


async def _hits(
    engine: Engine, names: Sequence[str], descriptions: NDArray[np.float32], each: int, seed: int
) -> tuple[list[float], list[float]]:
    """In how many percent of one draw of questions the right tool is chosen, by the number of examples, none first: by rows
    that began at random, and by rows that began with the descriptions."""
    import numpy as np

    vectors, labels = await _places(engine, questions("test", each, seed=seed), names)

    def score(rows: Rows) -> float:
        return float(100 * (rows.logits(vectors).argmax(1) == labels).mean())

    random = np.random.default_rng(seed).uniform(-1, 1, descriptions.shape).astype(np.float32)
    random /= math.sqrt(descriptions.shape[1])
    none = np.zeros(len(names), np.float32)
    begun, kept = [100 / len(names)], [score(Rows(descriptions, none))]
    for count in COUNTS:
        seen, right = await _places(engine, questions("train", count, seed=seed), names)
        begun.append(score(fit_rows(seen, right, Rows(random, none), lambdas=(1e-6,)).rows))
        kept.append(score(fit_rows(seen, right, Rows(descriptions, none), lambdas=(_REGULARISATION,)).rows))
    return begun, kept


async def _places(
    engine: Engine, examples: Sequence[ToolExample], names: Sequence[str]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The states before the answers [n, width], and the numbers of the right tools [n]."""
    import numpy as np

    requests = [GenerateRequest(messages=(Message("user", example.question),)) for example in examples]
    return await engine.hidden_states(requests), np.array([names.index(e.problem.tool) for e in examples], np.int64)


async def measure(spec: Path, model: str, each: int, seed: int) -> list[Table]:
    """All tables."""
    engine = await create_engine(LocalWorker(engine="local", model=model, max_batch=64))
    try:
        answers, rows = await answers_table(spec, engine, each, seed), await rows_table(engine, each, seed)
    finally:
        await engine.close()
    async with Router.from_file(spec) as router:
        everyday = await everyday_table(router)
    own = questions("test", each, domains=("arithmetic",), seed=seed)
    return [answers, everyday, rows, await later_tools_table(spec, own)]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Score the pocket model that uses tools on its held-out test split.")
    parser.add_argument("--each", type=int, default=40, help="questions a tool")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--base", default="pocket:tool_base", help="the model without tool tokens")
    parser.add_argument("--graph", type=Path, default=ROOT / "graph_specs" / "pocket_tools.yaml")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pocket_tools.md")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    tables = asyncio.run(measure(arguments.graph, arguments.base, arguments.each, arguments.seed))
    command = f"python -m router.evals.pocket_tools --each {arguments.each} --seed {arguments.seed}"
    write_report(arguments.out, "The pocket model that uses tools", command, tables, seed=arguments.seed)


if __name__ == "__main__":
    main()
