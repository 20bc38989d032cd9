"""``tokengraph train token-router``: label, fit, calibrate and eval."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import Any, Literal

from rich.table import Table as Grid

from experts.defer.files import TokenRouterFile
from router.console.batch import bar
from router.console.graphs import graph_path
from router.console.terminal import console, note, write_json
from router.console.training import interruptible
from router.evals.report import Table, machine, write_report
from router.spec import load_spec
from router.spec.models import GraphSpec
from router.token_level.bench import Runs
from router.token_level.evaluate import Evaluation
from router.token_level.fit import FitOptions
from router.token_level.judge import PROMPT
from router.token_level.large import Continuation, Until
from router.token_level.pair import PairSpec, pair_spec
from router.token_level.progress import Progress, Report
from router.token_level.steps import (
    SHARES,
    TARGET_SHARE,
    Labelling,
    calibrate_router,
    evaluate_router,
    fit_router,
    label_pair,
)
from router.types import NodeId, WorkerId

_OUTCOMES_NOTE = (
    "Of the gap: the share of the way from the small model's accuracy to the large one's. Every threshold was calibrated by "
    "runs on the same prompts, which were used for nothing else. The oracle knows the answers: it bounds what a router can do."
)


def labelling(
    checker: str | None, mark: str | None, judge: str | None, judge_prompt: Path | None, until: Until, sentences: int,
    shard: int,
) -> Labelling:  # fmt: skip
    """What the command line says about labelling; the length of responses is the node's."""
    prompt = PROMPT if judge_prompt is None else judge_prompt.read_text(encoding="utf-8")
    worker = None if judge is None else WorkerId(judge)
    return Labelling(Continuation(until, sentences), checker, mark, worker, prompt, shard)


def label(
    graph: Path | None, node: str | None, data: Path, out: Path, how: Labelling, *, max_tokens: int | None,
    device: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Labels prompts, with a progress bar, and shows how many positions are what."""
    spec, pair = _pair(graph, node)
    how = replace(how, continuation=replace(how.continuation, max_tokens=max_tokens or pair.node.max_tokens))
    with _progress("labelling") as report:
        counted = asyncio.run(label_pair(spec, pair, data, out, how, device=device, report=report))
    if as_json:
        write_json({**counted, "labels": str(out)})
        return
    table = _grid("split", "responses", "of them unusable", "positions", "identical", "neutral", "divergent", "unclear")
    for split, positions in counted["positions"].items():
        responses, total = counted["responses"][split], sum(positions.values())
        unusable = sum(responses.get(kind, 0) for kind in ("wrong", "cut"))
        shares = [_percent(positions.get(kind, 0), total) for kind in ("identical", "neutral", "divergent", "unclear")]
        table.add_row(split, f"{sum(responses.values()):,}", f"{unusable:,}", f"{total:,}", *shares)
    console().print(table)
    note(f"Unusable: the large model's own response is wrong, or has no end. Labels are in {out}.")


def fit(
    graph: Path | None, node: str | None, labels: Path, out: Path, options: FitOptions, *, target_share: float,
    as_json: bool,
) -> None:  # fmt: skip
    """Trains a token router, with a progress bar."""
    _, pair = _pair(graph, node)
    with _progress("training") as report:
        fitted = asyncio.run(fit_router(pair, labels, out, options, target_share=target_share, report=report))
    shape = fitted.router.shape
    facts: dict[str, Any] = {
        "validation AUC": max(fitted.curve), "epochs": len(fitted.curve), "parameters": shape.parameters,
        "width": shape.width, "blocks": shape.blocks, "weight of a divergent position": fitted.positive_weight,
        "router": str(out),
    }  # fmt: skip
    _facts(facts, as_json=as_json)
    if not as_json:
        note("It has no thresholds yet: run `tokengraph train token-router calibrate`.")


def calibrate(
    graph: Path | None, node: str | None, labels: Path, router: Path, *, by: Literal["runs", "labels"],
    shares: Sequence[float] | None, target_share: float | None, runs: Runs, as_json: bool,
) -> None:  # fmt: skip
    """Finds thresholds, with a progress bar, and shows them."""
    _, pair = _pair(graph, node)
    with _progress("calibrating") as report:
        file: TokenRouterFile = asyncio.run(
            calibrate_router(
                pair,
                labels,
                router,
                by=by,
                shares=shares or SHARES,
                target_share=target_share,
                runs=runs,
                report=report,
            )
        )
    if as_json:
        write_json({"target_share": file.target_share, "thresholds": [entry.model_dump() for entry in file.thresholds]})
        return
    table = _grid("large share", "threshold")
    for entry in file.thresholds:
        target = " (target)" if entry.share == file.target_share else ""
        table.add_row(f"{entry.share:.1%}{target}", f"{entry.threshold:.4f}")
    console().print(table)


def evaluate(
    graph: Path | None, node: str | None, labels: Path, router: Path, *, data: Path | None,
    shares: Sequence[float] | None, out: Path | None, markdown: Path | None, seed: int, runs: Runs, as_json: bool,
) -> None:  # fmt: skip
    """Measures a token router and its rivals, with a progress bar, and shows the tables."""
    _, pair = _pair(graph, node)
    with _progress("measuring") as report:
        found = asyncio.run(
            evaluate_router(
                pair, labels, router, data=data, shares=shares or (TARGET_SHARE,), seed=seed, runs=runs, report=report
            )
        )
    result = {"seed": seed, "machine": machine(), "date": date.today().isoformat(), **asdict(found)}
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(result, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    tables = (outcomes_table(found), qualities_table(found))
    if markdown is not None:
        command = shlex.join(["tokengraph", *sys.argv[1:]])
        write_report(markdown, f"The token pair {pair.name}, measured", command, tables, seed=seed)
    if as_json:
        write_json(result)
    else:
        for table in tables:
            _show(table)


def outcomes_table(found: Evaluation) -> Table:
    """What each policy reaches at which share."""
    rows = []
    for one in found.outcomes:
        name = one.policy if one.target is None else f"{one.policy}, calibrated to {one.target:.0%}"
        gap = "-" if one.recovered is None else f"{one.recovered:.1%}"
        rows.append(
            (name, f"{one.share:.1%}", f"{one.accuracy:.1%}", gap, f"{one.activated:,.0f}", f"{one.relative:.1%}")
        )
    heads = ("policy", "large share", "right", "of the gap", "weights per token", "of large only")
    return Table(f"{found.problems:,} test prompts", heads, tuple(rows), _OUTCOMES_NOTE)


def qualities_table(found: Evaluation) -> Table:
    """How well each policy ranks labelled positions."""
    rows = []
    for quality in found.qualities:
        recall = ", ".join(f"{value:.1%} at {float(share):.0%}" for share, value in quality.recall.items())
        error = "-" if quality.calibration_error is None else f"{quality.calibration_error:.4f}"
        positive = ", ".join(f"{value:.1%}" for value in quality.positive_rate.values())
        rows.append((quality.policy, f"{quality.auc:.4f}", recall, positive, error))
    title = f"{found.positions:,} held-out positions, {found.divergent:,} of them divergent"
    return Table(
        title,
        ("policy", "AUC", "recall at the threshold of a share", "positions above it", "calibration error"),
        tuple(rows),
    )


def _pair(graph: Path | None, node: str | None) -> tuple[GraphSpec, PairSpec]:
    spec = load_spec(graph_path(graph))
    return spec, pair_spec(spec, None if node is None else NodeId(node))


def _show(table: Table) -> None:
    shown = _grid(*table.heads)
    for row in table.rows:
        shown.add_row(*map(str, row))
    screen = console()
    screen.print(f"{table.title}\n", shown, "" if not table.note else f"\n{table.note}\n", soft_wrap=True, sep="\n")


@contextmanager
def _progress(what: str) -> Iterator[Report]:
    with bar(what, total=1.0) as (progress, task), interruptible():

        def show(now: Progress) -> None:
            progress.update(task, description=now.stage, completed=now.done / max(now.total, 1), remark=now.remark)

        yield show


def _facts(facts: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        write_json(facts)
        return
    table = _grid(*facts)
    table.add_row(
        *(
            f"{value:,.4f}".rstrip("0").rstrip(".") if isinstance(value, float) else f"{value}"
            for value in facts.values()
        )
    )
    console().print(table)


def _grid(*heads: str) -> Grid:
    table = Grid(box=None, pad_edge=False)
    for number, head in enumerate(heads):
        table.add_column(head, justify="left" if number == 0 else "right")
    return table


def _percent(part: int, whole: int) -> str:
    return f"{part:,} ({part / whole:.1%})" if whole else "0"
