"""Scores the choice of a tool: ``python -m router.evals.tools FUNCQA.jsonl`` writes docs/tools_eval.md.

FUNCQA has lines ``{"text", "call"}`` (ToolkenGPT's FuncQA): questions for one of 13 tools of arithmetic. About 30 percent of
each tool's questions are scored, the others are learnt from, a few a tool or all; questions that differ in numbers only
are on one side. The choice is made from the question alone, by rows for an encoder's sentence vector (with the states of
its layers) or for a decoder's last state before its answer.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experts.engines.base import Capability, Engine
from experts.engines.config import LocalWorker
from experts.engines.factory import create_engine
from experts.engines.requests import GenerateRequest, Message
from router.errors import DataError
from router.evals.report import Table, write_report
from router.evals.tools_choice import COUNTS, SHARES, Questions, added, scores
from router.evals.tools_prompted import Prompted, prompted
from router.functional.head_rivals import TAKEN
from router.tools.base import Tool
from router.tools.builtins.catalogue import load_builtin
from router.tools.tokens.examples import MarkedExample, read_examples
from router.tools.tokens.train import without_numbers

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

log = logging.getLogger(__name__)
ROOT = Path(__file__).parents[2]


async def read_questions(
    engine: Engine, path: Path, tools: Sequence[Tool]
) -> tuple[Questions, tuple[MarkedExample, ...]]:
    """The questions of a file as the engine encodes them, and as they are; those longer than its context are left out."""
    import numpy as np

    names = [tool.name for tool in tools]
    examples = [example for example in read_examples(path, names) if len(example.calls) == 1]
    descriptions = [f"{tool.name}: {tool.description}" for tool in tools]
    if Capability.EMBED in engine.capabilities:
        every = Capability.LAYERS in engine.capabilities
        width = (await engine.embed(["-"])).shape[1]
        vectors = await engine.embed([example.query for example in examples], layers=every)
        about = await engine.embed(descriptions, layers=every)
    else:
        examples = [e for e in examples if len(engine.encode(e.query)) < engine.info.context_length - 8]
        vectors = await _states(engine, [example.query for example in examples])
        about, width = await _states(engine, descriptions), vectors.shape[1]
    if not examples:
        raise DataError(str(path), "questions with one call", "none that fits the model's context")
    labels = np.array([names.index(example.calls[0].tool) for example in examples], np.int64)
    groups = tuple(without_numbers(example.query) for example in examples)
    return Questions(vectors, labels, groups, about, width), tuple(examples)


async def _states(engine: Engine, texts: Sequence[str]) -> NDArray[np.float32]:
    import numpy as np

    requests = [GenerateRequest(messages=(Message("user", text),)) for text in texts]
    states = await engine.hidden_states(requests)
    unit: NDArray[np.float32] = states / np.linalg.norm(states, axis=1, keepdims=True)
    return unit


async def measure(path: Path, worker: LocalWorker, seeds: int) -> tuple[Table, Table]:
    """The tables of one backbone, averaged over the seeds: the choice by examples, and that of an added tool."""
    tools = load_builtin("arithmetic")
    engine = await create_engine(worker)
    try:
        questions, examples = await read_questions(engine, path, tools)
        writes = Capability.GENERATE in engine.capabilities
        without = await prompted(engine, examples, tools) if writes else None
    finally:
        await engine.close()
    found: list[dict[str, list[float]]] = []
    shares: list[list[tuple[float, float, float]]] = []
    for seed in range(seeds):
        found.append(scores(questions, seed))
        shares.append(added(questions, seed))
        log.info("%s, seed %d: %s %s", worker.model, seed, found[-1], shares[-1])
    rows: list[tuple[str | float, ...]] = [
        (method, *(sum(one[method][at] for one in found) / seeds for at in range(1 + len(COUNTS))))
        for method in found[0]
    ]
    note = (
        f"{len(questions.labels)} questions, {seeds} splits. No tool has {COUNTS[-1]} questions left to learn from: the last "
        "column is all of them. "
    )
    return (
        Table(
            f"The right one of {len(tools)} tools, percent: {worker.model}",
            ("examples a tool", "0", *map(str, COUNTS)),
            (*_rows_without(without), *rows),
            note + _note_without(without),
        ),
        Table(
            f"A tool added by name and description alone: {worker.model}",
            ("percent it may take", "chosen for its own", "others lose", "at most"),
            tuple(
                (f"{100 * share:g}", *(sum(one[at][column] for one in shares) / seeds for column in range(3)))
                for at, share in enumerate(SHARES)
            ),
            f"Each tool in turn, {seeds} splits: in how many percent of its own questions it is chosen, how many points the others "
            "lose by it on average, and the most that they lose by one tool. What it may take are questions that the others "
            f"learnt from; by default {100 * TAKEN:g} percent.",
        ),
    )


def _rows_without(found: Prompted | None) -> tuple[tuple[str | float, ...], ...]:
    """No examples and no tokens: the same in every column."""
    cells: tuple[str | float, str | float] = ("-", "-") if found is None else (found.answered, found.named)
    names = ("no tools: answered right", "in-context description: named right")
    return tuple((name, *[cell] * (1 + len(COUNTS))) for name, cell in zip(names, cells, strict=True))


def _note_without(found: Prompted | None) -> str:
    if found is None:
        return "An encoder writes nothing: it cannot answer without tools, nor name one."
    return (
        f"Descriptions and question fitted the context for {found.read:.0f} percent of the questions; for the others the "
        "prompt had the tools' names alone, where they fitted."
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Score the choice of a tool on FuncQA questions.")
    parser.add_argument("data", type=Path, help="JSON lines with text and call")
    parser.add_argument("--encoder", default="all-MiniLM-L6-v2")
    parser.add_argument("--decoder", default="pocket:master", help="a causal model with a chat template")
    parser.add_argument("--seeds", type=int, default=3, help="how many splits")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "tools_eval.md")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    workers = (LocalWorker(model=arguments.encoder, task="embed"), LocalWorker(model=arguments.decoder))
    tables = [table for worker in workers for table in asyncio.run(measure(arguments.data, worker, arguments.seeds))]
    for table in tables:
        log.info("%s", table.markdown())
    command = f"python -m router.evals.tools {arguments.data.name} --seeds {arguments.seeds}"
    write_report(arguments.out, "Choosing a tool by its token", command, tables, seed=0)


if __name__ == "__main__":
    main()
