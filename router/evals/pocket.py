"""Scores the pocket family: ``python -m router.evals.pocket [--size N]`` writes docs/pocket.md.

Problems and templates of the test split alone, which no model has seen. Beside the graph stand the best single
specialist, a random specialist, the oracle (perfect routing and rewriting) and one generalist of a specialist's size.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from experts.engines.base import Engine
from experts.engines.config import LocalWorker
from experts.engines.factory import create_engine
from experts.engines.requests import GenerateRequest, Message
from experts.errors import CheckpointError
from experts.pocket import WEIGHTS, resolve
from experts.pocket.corpus import Example, fixed_set
from experts.pocket.domains import NAMES, OFF_TOPIC
from router.errors import TokengraphError
from router.evals.report import Table, write_report
from router.runtime.result import RunResult
from router.runtime.router import Router
from router.trace import Routed

log = logging.getLogger(__name__)
ROOT = Path(__file__).parents[2]
EVERYDAY = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Score:
    """Shares, in percent."""

    routes: float
    rewrites: float
    answers: float


def percent(hits: Sequence[bool]) -> float:
    """Share of hits in percent; 0 of none."""
    return 100 * sum(hits) / len(hits) if hits else 0.0


async def model_answers(engine: Engine, queries: Sequence[str]) -> list[str]:
    """What a pocket model answers, working left out."""
    requests = [GenerateRequest(messages=(Message("user", query),), max_tokens=160) for query in queries]
    generations = await asyncio.gather(*map(engine.generate, requests))
    return [generation.text.rpartition("=")[2].strip() for generation in generations]


def score_runs(examples: Sequence[Example], results: Sequence[RunResult | TokengraphError]) -> Score:
    """Compares runs of the graph with what was expected."""
    routes, rewrites, answers = [], [], []
    for example, result in zip(examples, results, strict=True):
        done = isinstance(result, RunResult)
        node = result.route[-1].node if isinstance(result, RunResult) and result.route else "?"
        first = result.events[0] if isinstance(result, RunResult) else None
        routes.append(done and node == example.domain)
        rewrites.append(isinstance(first, Routed) and first.queries == (example.canonical,))
        answers.append(isinstance(result, RunResult) and result.answer == example.answer)
    return Score(percent(routes), percent(rewrites), percent(answers))


async def specialists_table(tests: Mapping[str, Sequence[Example]]) -> tuple[Table, dict[str, float]]:
    """Every specialist on every domain's canonical queries: the oracle on the diagonal, the best single one by row."""
    rows: list[tuple[str | float, ...]] = []
    oracle: dict[str, float] = {}
    means: dict[str, float] = {}
    for name in NAMES:
        engine = await create_engine(LocalWorker(engine="local", model=f"pocket:{name}", max_batch=64))
        scores = []
        for domain in NAMES:
            answers = await model_answers(engine, [example.canonical for example in tests[domain]])
            scores.append(percent([a == e.answer for a, e in zip(answers, tests[domain], strict=True)]))
        await engine.close()
        means[name], oracle[name] = sum(scores) / len(scores), scores[NAMES.index(name)]
        rows.append((name, *scores, means[name]))
        log.info("%s: %.1f %% of its own domain", name, oracle[name])
    table = Table(
        "Specialists, exact answers in percent", ("specialist", *NAMES, "mean"), tuple(rows),
        "Canonical queries of held-out problems. Own domain: the oracle. Best row mean: the best single model; the mean of "
        "all rows: a random one.",
    )  # fmt: skip
    return table, means | {f"oracle {name}": value for name, value in oracle.items()}


async def graph_table(
    router: Router, tests: Mapping[str, Sequence[Example]], singles: Mapping[str, float], size: int
) -> Table:
    """The graph against its baselines."""
    generalist = await _generalist()
    rows: list[tuple[str | float, ...]] = []
    for name in (*NAMES, OFF_TOPIC):
        results = await router.abatch([example.query for example in tests[name]])
        score = score_runs(tests[name], results)
        own: str | float = "-"
        if generalist is not None and name != OFF_TOPIC:
            answers = await model_answers(generalist, [example.query for example in tests[name]])
            own = percent([a == e.answer for a, e in zip(answers, tests[name], strict=True)])
        oracle: str | float = singles.get(f"oracle {name}", "-")
        if name == OFF_TOPIC:
            rows.append((name, score.routes, "-", "-", oracle, own))
        else:
            rows.append((name, score.routes, score.rewrites, score.answers, oracle, own))
        log.info("graph on %s: %s", name, score)
    columns = [[row[i] for row in rows[: len(NAMES)]] for i in range(1, 6)]
    means = tuple(_mean(column) for column in columns)
    best = max(value for key, value in singles.items() if not key.startswith("oracle"))
    chance = sum(singles[name] for name in NAMES) / len(NAMES)
    return Table(
        "The graph, held-out problems in held-out phrasings, percent",
        ("domain", "routes", "rewrites", "answers", "oracle answers", "generalist answers"),
        (*rows, ("mean of the seven", *means)),
        f"{size} questions a domain. Off-topic: routes counts honest abstentions. Best single specialist, with perfect "
        f"rewriting: {best:.1f}; a random one: {chance:.1f}. The generalist has had a specialist's training budget, not that "
        "of the whole graph: it shows what one such model reaches, and is no fair rival yet.",
    )


async def everyday_table(router: Router) -> Table:
    """Free phrasings by writers who never saw the templates."""
    rows: list[tuple[str | float, ...]] = []
    for name in ("everyday_dev", "everyday_test"):
        lines = [json.loads(line) for line in (EVERYDAY / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
        results = await router.abatch([line["query"] for line in lines])
        hits: dict[str, list[tuple[bool, bool]]] = {}
        for line, result in zip(lines, results, strict=True):
            route = isinstance(result, RunResult) and result.route[-1].node == line["node"]
            answer = isinstance(result, RunResult) and result.answer.casefold() == line["answer"].casefold()
            hits.setdefault(line["node"] or OFF_TOPIC, []).append((route, answer))
        for node, pairs in hits.items():
            shown: str | float = "-" if node == OFF_TOPIC else percent([a for _, a in pairs])
            rows.append((f"{name}: {node}", percent([r for r, _ in pairs]), shown))
        subjects = [pair for node, pairs in hits.items() if node != OFF_TOPIC for pair in pairs]
        rows.append(
            (f"{name}: the seven together", percent([r for r, _ in subjects]), percent([a for _, a in subjects]))
        )
    return Table("Free everyday phrasings, percent", ("set", "routes", "answers"), tuple(rows))


async def _generalist() -> Engine | None:
    try:
        resolve("generalist")
    except CheckpointError:
        log.warning("no generalist among the bundled models: its column stays empty")
        return None
    return await create_engine(LocalWorker(engine="local", model="pocket:generalist", max_batch=64))


def sizes_table() -> Table:
    """What each model is and what training it took."""
    rows: list[tuple[str | float, ...]] = []
    for folder in sorted(WEIGHTS.glob("*/training.json")):
        facts = json.loads(folder.read_text(encoding="utf-8"))
        name = folder.parent.name
        rows.append(
            (name, f"{facts['parameters']:,}", facts["million_tokens"], facts["seconds"] / 60, str(facts["seed"]))
        )
    heads = ("model", "parameters", "training tokens (millions)", "training minutes", "seed")
    return Table("The models", heads, tuple(rows))


def _mean(column: Sequence[str | float]) -> str | float:
    numbers = [cell for cell in column if not isinstance(cell, str)]
    return sum(numbers) / len(numbers) if numbers else "-"


async def measure(size: int, seed: int) -> list[Table]:
    """All tables."""
    tests = {name: fixed_set(name, "test", size, seed=seed) for name in (*NAMES, OFF_TOPIC)}
    table, singles = await specialists_table(tests)
    async with Router.from_file(ROOT / "graph_specs" / "pocket.yaml") as router:
        return [await graph_table(router, tests, singles, size), table, await everyday_table(router), sizes_table()]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Score the pocket family on its held-out test split.")
    parser.add_argument("--size", type=int, default=300, help="questions a domain")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pocket.md")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    tables = asyncio.run(measure(arguments.size, arguments.seed))
    command = f"python -m router.evals.pocket --size {arguments.size} --seed {arguments.seed}"
    write_report(arguments.out, "Scores of the pocket family", command, tables, seed=arguments.seed)


if __name__ == "__main__":
    main()
