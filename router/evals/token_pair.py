"""Makes and scores the token router of the pocket pair: ``python -m router.evals.token_pair``.

Prompts, labels, fit, calibration and evaluation, all from this one command; it writes the router beside the small model's
weights, and docs/pocket_pair.md. Labels stay in ``--work``, so a run that was interrupted goes on. Problems of the router's
test split share neither sequences of sentences nor of equations with any that a model or the router has seen.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from experts.engines.config import WorkerSpec
from experts.engines.requests import GenerateRequest, Message
from experts.pocket.word_problems.data import fixed_problems, is_correct, prompt_row, router_prompts
from experts.pocket.word_problems.story import WordProblem
from router.errors import TokengraphError
from router.evals.report import Table, write_report
from router.runtime.router import Router
from router.spec import load_spec
from router.token_level.bench import Runs
from router.token_level.evaluate import Evaluation
from router.token_level.fit import FitOptions
from router.token_level.label import statistics
from router.token_level.large import Continuation
from router.token_level.pair import pair_spec, running
from router.token_level.progress import Progress, Report
from router.token_level.shards import LabelFolder
from router.token_level.steps import Labelling, calibrate_router, evaluate_router, fit_router, label_pair
from router.trace import Answered

log = logging.getLogger(__name__)
ROOT = Path(__file__).parents[2]
GRAPH = ROOT / "graph_specs" / "pocket_pair.yaml"
ROUTER = ROOT / "experts" / "pocket" / "weights" / "pair_small" / "token_router"
SHARES = (0.15,)
TARGET = 0.15
MARK = "####"


async def make_router(work: Path, router: Path, prompts: int, seed: int) -> None:
    """Labels, fits and calibrates."""
    spec = load_spec(GRAPH)
    pair = pair_spec(spec, None)
    data = work / "prompts.jsonl"
    _write(data, list(router_prompts(prompts, seed=seed)))
    labelling = Labelling(Continuation(max_tokens=pair.node.max_tokens), checker="number", mark=MARK)
    await label_pair(spec, pair, data, work / "labels", labelling, report=_tell())
    fitted = await fit_router(pair, work / "labels", router, FitOptions(seed=seed), target_share=TARGET, report=_tell())
    log.info("validation AUC %.4f after %d epochs", max(fitted.curve), len(fitted.curve))
    file = await calibrate_router(pair, work / "labels", router, report=_tell())
    log.info("thresholds: %s", {entry.share: round(entry.threshold, 4) for entry in file.thresholds})


async def score(work: Path, router: Path, tests: Sequence[WordProblem], seed: int) -> Evaluation:
    """The router and its rivals on these problems."""
    data = work / "tests.jsonl"
    _write(data, [prompt_row(problem, "test") for problem in tests])
    pair = pair_spec(load_spec(GRAPH), None)
    found = await evaluate_router(
        pair, work / "labels", router, data=data, shares=SHARES, seed=seed, runs=Runs(), report=_tell()
    )
    (work / "results.json").write_text(json.dumps(asdict(found), indent=2) + "\n", encoding="utf-8")
    return found


@dataclass(frozen=True)
class Served:
    """What the graph did: shares of right answers, of the large model's tokens, and the latter's largest in one answer."""

    right: float
    share: float
    largest: float


async def served(tests: Sequence[WordProblem]) -> Served:
    """The graph as a user runs it.

    Raises:
        TokengraphError: a run failed.
    """
    results = await Router.from_file(GRAPH).abatch([problem.text for problem in tests])
    right, written, by_large, largest = 0, 0, 0.0, 0.0
    for problem, result in zip(tests, results, strict=True):
        if isinstance(result, TokengraphError):
            raise result
        answered = next(event for event in result.events if isinstance(event, Answered))
        assert answered.pair is not None
        share = answered.pair.large_share
        right += result.answer == str(problem.answer)
        written += answered.generated_tokens
        by_large += share * answered.generated_tokens
        largest = max(largest, share)
    return Served(right / len(tests), by_large / written, largest)


async def alone(worker: WorkerSpec, tests: Sequence[WordProblem], max_tokens: int) -> float:
    """Share of right answers of one model."""
    async with running(worker) as engine:
        asked = (GenerateRequest(messages=(Message("user", p.text),), max_tokens=max_tokens) for p in tests)
        written = await asyncio.gather(*map(engine.generate, asked))
    right = (is_correct(p.text, str(p.answer), w.text) for p, w in zip(tests, written, strict=True))
    return sum(right) / len(tests)


async def served_table(sets: Mapping[str, Sequence[WordProblem]]) -> Table:
    """The graph beside each of its models, on several sets of problems."""
    pair = pair_spec(load_spec(GRAPH), None)
    rows: list[tuple[str | float, ...]] = []
    for name, tests in sets.items():
        small, large = [await alone(worker, tests, pair.node.max_tokens) for worker in (pair.small, pair.large)]
        graph = await served(tests)
        figures = (small, large, graph.right, graph.share, graph.largest)
        rows.append((f"{len(tests)} {name}", *(100 * figure for figure in figures)))
    heads = ("problems", "small alone", "large alone", "the graph", "large share", "largest in one answer")
    note = (
        f"`{GRAPH.relative_to(ROOT)}` through the runtime, which holds every answer to a share of at most "
        f"{100 * pair.node.max_large_share:g}. New sentences: problems told in sentences alone that nobody has trained on."
    )
    return Table("As a graph, right answers in percent", heads, tuple(rows), note)


def outcomes_table(title: str, found: Evaluation, note: str) -> Table:
    """Policies by share."""
    rows = []
    for one in found.outcomes:
        target = "-" if one.target is None else f"{100 * one.target:g}"
        gap = "-" if one.recovered is None else f"{100 * one.recovered:.1f}"
        rows.append((one.policy, target, 100 * one.share, 100 * one.accuracy, gap, 100 * one.relative))
    heads = ("who decides", "share calibrated for", "large share", "right", "of the gap", "activated, of large only")
    return Table(title, heads, tuple(rows), note)


def quality_table(found: Evaluation) -> Table:
    """How well scores rank held-out positions."""
    rows = []
    for one in found.qualities:
        recalls = tuple(f"{one.recall[f'{share:g}']:.3f}" for share in SHARES)
        error = "-" if one.calibration_error is None else f"{one.calibration_error:.4f}"
        rows.append((one.policy, f"{one.auc:.4f}", *recalls, error))
    heads = ("scores", "AUC", *(f"recall at {share:.0%}" for share in SHARES), "calibration error")
    note = f"{found.positions:,} labelled positions of test responses, {found.divergent:,} of them divergent."
    return Table("Labelled positions of held-out responses", heads, tuple(rows), note)


def labels_table(folder: LabelFolder) -> Table:
    """What the positions of each split are."""
    counted = statistics(folder)
    kinds = ("identical", "neutral", "divergent")
    rows = []
    for split, positions in counted["positions"].items():
        total = sum(positions.values())
        shares = (100 * positions.get(kind, 0) / total for kind in kinds)
        rows.append((split, f"{sum(counted['responses'][split].values()):,}", f"{total:,}", *shares))
    note = "Percent of the positions of the large model's right responses."
    return Table("Labels", ("split", "responses", "positions", *kinds), tuple(rows), note)


def _write(path: Path, rows: Sequence[dict[str, str]]) -> None:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


def _tell() -> Report:
    """Logs each tenth of a stage."""
    last: tuple[str, int] | None = None

    def report(now: Progress) -> None:
        nonlocal last
        reached = (now.stage, int(10 * now.done / max(now.total, 1)))
        if reached != last:
            log.info("%s %d/%d %s", now.stage, now.done, now.total, now.remark)
            last = reached

    return report


async def run(arguments: argparse.Namespace) -> None:
    """Everything, then the report."""
    work, router, seed = arguments.work, arguments.router, arguments.seed
    work.mkdir(parents=True, exist_ok=True)
    if not arguments.score_only:
        await make_router(work, router, arguments.prompts, seed)
    tests = fixed_problems("test", arguments.tests, seed=seed + 1)
    found = await score(work, router, tests, seed)
    tables = [
        outcomes_table("Held-out problems, percent", found, f"{len(tests)} problems."),
        quality_table(found),
        labels_table(LabelFolder(work / "labels")),
    ]
    if router == ROUTER:  # the graph uses no other
        reworded = fixed_problems("test", arguments.tests // 2, seed=seed + 1, new_wording=True)
        tables.insert(1, await served_table({"held-out": tests, "in new sentences": reworded}))
    command = f"python -m router.evals.token_pair --prompts {arguments.prompts} --tests {arguments.tests} --seed {seed}"
    write_report(arguments.out, "Scores of the pocket pair", command, tables, seed=seed)


def main() -> None:
    """Makes the router and writes the report."""
    parser = argparse.ArgumentParser(description="Label, fit, calibrate and score the pocket pair's token router.")
    parser.add_argument("--prompts", type=int, default=1000, help="to make the router with, all splits together")
    parser.add_argument("--tests", type=int, default=200, help="held-out problems for the scores")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "pocket_pair", help="where labels are kept")
    parser.add_argument("--router", type=Path, default=ROUTER, help="folder for the token router")
    parser.add_argument("--score-only", action="store_true", help="score the router that is there already")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pocket_pair.md")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    asyncio.run(run(arguments))


if __name__ == "__main__":
    main()
