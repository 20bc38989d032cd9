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
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from experts.engines.base import Capability, Engine
from experts.engines.config import LocalWorker
from experts.engines.factory import create_engine
from experts.engines.requests import GenerateRequest, Message
from router.errors import DataError
from router.evals.report import Table, write_report
from router.functional.fit import Rows, fit_rows
from router.functional.head import TokenHead
from router.functional.layers import LayerScale
from router.functional.prior import NodeVectors
from router.tools.base import Tool
from router.tools.builtins.catalogue import load_builtin
from router.tools.tokens.examples import read_examples
from router.tools.tokens.train import without_numbers
from router.types import NodeId

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

log = logging.getLogger(__name__)
ROOT = Path(__file__).parents[2]
COUNTS = (1, 5, 20, 50)
_LAMBDA = 1.0  # of the regulariser, for all counts
_SCORED = 0.3
_RATE, _EPOCHS = 1e-3, 10  # ToolkenGPT's own training


@dataclass(frozen=True)
class Questions:
    """Questions as vectors.

    Attributes:
        vectors: float32 [n, layers * width].
        labels: numbers of the right tools [n].
        groups: what each is without its numbers.
        descriptions: float32 [tools, layers * width].
        width: of the last layer's vector, which stands at the end.
    """

    vectors: NDArray[np.float32]
    labels: NDArray[np.int64]
    groups: tuple[str, ...]
    descriptions: NDArray[np.float32]
    width: int

    def split(self, seed: int) -> tuple[list[int], list[int]]:
        """Questions to learn from and to score; whole groups, tool by tool."""
        learn: list[int] = []
        score: list[int] = []
        for tool in range(len(self.descriptions)):
            own = [place for place, label in enumerate(self.labels) if label == tool]
            size = Counter(self.groups[place] for place in own)
            groups = sorted(size)
            Random(seed).shuffle(groups)
            taken: set[str] = set()
            for group in groups:
                if sum(size[each] for each in (*taken, group)) <= _SCORED * len(own) * 1.25:
                    taken.add(group)
            score += [place for place in own if self.groups[place] in taken]
            learn += [place for place in own if self.groups[place] not in taken]
        scored = {self.groups[place] for place in score}  # one text may be asked of two tools
        return [place for place in learn if self.groups[place] not in scored], score

    def some(self, learn: Sequence[int], count: int, seed: int) -> list[int]:
        """At most so many questions of each tool."""
        random = Random(seed)
        order = random.sample(learn, len(learn))
        return [
            p for tool in range(len(self.descriptions)) for p in [q for q in order if self.labels[q] == tool][:count]
        ]


def trained(questions: Questions, learn: Sequence[int], tools: Sequence[int]) -> TokenHead:
    """Rows that start from descriptions and keep to them, learnt for some of the tools."""
    import numpy as np

    width, labels = questions.width, questions.labels[list(learn)]
    vectors = questions.vectors[list(learn)]
    known = {
        NodeId(str(tool)): NodeVectors(questions.descriptions[tool, -width:], vectors[labels == tool, -width:])
        for tool in tools
    }
    head = TokenHead.from_vectors(known)
    scale = LayerScale.measure(vectors, width)
    numbers = np.array([list(tools).index(label) for label in labels], np.int64)
    fitted = fit_rows(scale.apply(vectors), numbers, scale.lift(head.rows), lambdas=(_LAMBDA,))
    return replace(head, rows=scale.fold(fitted.rows))


def randomly_begun(questions: Questions, learn: Sequence[int], seed: int, *, to_the_end: bool) -> Rows:
    """Rows from random numbers without a regulariser: as ToolkenGPT trains them, or until nothing improves."""
    import numpy as np
    import torch

    width, count = questions.width, len(questions.descriptions)
    inputs = torch.tensor(questions.vectors[list(learn), -width:])
    labels = questions.labels[list(learn)]
    torch.manual_seed(seed)
    weights = torch.nn.Linear(width, count, bias=False).weight
    none = np.zeros(count, np.float32)
    if to_the_end:
        start = Rows(weights.detach().numpy(), none)
        return fit_rows(inputs.numpy(), labels, start, lambdas=(1e-6,)).rows
    optimiser = torch.optim.Adam([weights], lr=_RATE)
    for _ in range(_EPOCHS):
        for place in torch.randperm(len(labels)).tolist():
            optimiser.zero_grad()
            target = torch.tensor(labels[place])
            torch.nn.functional.cross_entropy(weights @ inputs[place], target).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return Rows(weights.detach().numpy(), none)


def scores(questions: Questions, seed: int) -> dict[str, list[float]]:
    """Percent right by method: before any example, with each of COUNTS a tool, and with all."""
    learn, score = questions.split(seed)
    width, asked, right = questions.width, questions.vectors[score], questions.labels[score]
    tools = range(len(questions.descriptions))

    def percent(rows: Rows) -> float:
        seen = asked[:, -rows.weights.shape[1] :]
        return float(100 * (rows.logits(seen).argmax(1) == right).mean())

    prior = TokenHead.from_vectors(
        {NodeId(str(t)): NodeVectors(questions.descriptions[t, -width:], questions.vectors[:0, -width:]) for t in tools}
    )
    untrained, chance = percent(prior.rows), 100 / len(questions.descriptions)
    steps = [questions.some(learn, count, seed) for count in COUNTS]
    return {
        "random initialisation, as ToolkenGPT trains": [
            chance, *(percent(randomly_begun(questions, some, seed, to_the_end=False)) for some in steps)
        ],
        "random initialisation, fitted to the end": [
            chance, *(percent(randomly_begun(questions, some, seed, to_the_end=True)) for some in steps)
        ],
        "prior only": [untrained] * (1 + len(COUNTS)),
        "prior + regularisation": [untrained, *(percent(trained(questions, some, tools).rows) for some in steps)],
    }  # fmt: skip


def added(questions: Questions, seed: int) -> tuple[float, float]:
    """A tool that is added by name and description alone, each tool in turn: percent of its questions that choose it, and
    how many points the others lose by it."""
    import numpy as np

    learn, score = questions.split(seed)
    asked, right = questions.vectors[score], questions.labels[score]
    found, lost = [], []
    for new in range(len(questions.descriptions)):
        others = [tool for tool in range(len(questions.descriptions)) if tool != new]
        head = trained(questions, [place for place in learn if questions.labels[place] != new], others)
        nodes = [NodeId(str(tool)) for tool in (*others, new)]
        layered = NodeVectors(questions.descriptions[new], questions.vectors[:0])
        choice = np.array([*others, new])[head.rows_for(nodes, {NodeId(str(new)): layered}).logits(asked).argmax(1)]
        before = np.array(others)[head.rows.logits(asked).argmax(1)]
        found.append(100 * float((choice[right == new] == new).mean()))
        known = right != new
        lost.append(100 * float((before[known] == right[known]).mean() - (choice[known] == right[known]).mean()))
    return sum(found) / len(found), sum(lost) / len(lost)


async def read_questions(engine: Engine, path: Path, tools: Sequence[Tool]) -> Questions:
    """The questions of a file as the engine encodes them; those longer than its context are left out."""
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
    return Questions(vectors, labels, tuple(without_numbers(e.query) for e in examples), about, width)


async def _states(engine: Engine, texts: Sequence[str]) -> NDArray[np.float32]:
    import numpy as np

    requests = [GenerateRequest(messages=(Message("user", text),)) for text in texts]
    states = await engine.hidden_states(requests)
    unit: NDArray[np.float32] = states / np.linalg.norm(states, axis=1, keepdims=True)
    return unit


async def measure(path: Path, worker: LocalWorker, seeds: int) -> Table:
    """The table of one backbone, averaged over the seeds."""
    tools = load_builtin("arithmetic")
    engine = await create_engine(worker)
    try:
        questions = await read_questions(engine, path, tools)
    finally:
        await engine.close()
    found: list[dict[str, list[float]]] = []
    for seed in range(seeds):
        found.append(scores(questions, seed))
        log.info("%s, seed %d: %s", worker.model, seed, found[-1])
    chosen, lost = added(questions, 0)
    rows: list[tuple[str | float, ...]] = [
        (method, *(sum(one[method][at] for one in found) / seeds for at in range(1 + len(COUNTS))))
        for method in found[0]
    ]
    note = (
        f"{len(questions.labels)} questions, {seeds} splits. A tool added by name and description alone, each in turn: chosen "
        f"for {chosen:.1f} percent of its questions; the others lose {lost:.1f} points. No tool has {COUNTS[-1]} questions "
        "left to learn from: the last column is all of them."
    )
    heads = ("examples a tool", "0", *map(str, COUNTS))
    return Table(f"The right one of {len(tools)} tools, percent: {worker.model}", heads, tuple(rows), note)


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
    tables = [asyncio.run(measure(arguments.data, worker, arguments.seeds)) for worker in workers]
    for table in tables:
        log.info("%s", table.markdown())
    command = f"python -m router.evals.tools {arguments.data.name} --seeds {arguments.seeds}"
    write_report(arguments.out, "Choosing a tool by its token", command, tables, seed=arguments.seeds)


if __name__ == "__main__":
    main()
