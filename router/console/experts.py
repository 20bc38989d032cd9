"""``tokengraph experts``: scan, mask, eval, show."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from experts.errors import MaskError
from experts.moe.mask import ExpertMask
from experts.moe.scan import Scan
from experts.moe.score import contrast, risk_difference
from experts.moe.select import make_mask, random_like, select_top
from router.console.batch import bar
from router.console.terminal import console, note, write_json
from router.errors import DataError
from router.evals.experts.draw import heat_map, sweep_plot
from router.evals.experts.measure import Evaluation, variants
from router.evals.experts.measure import evaluate as measure
from router.evals.experts.node import AskedNode, find_node
from router.evals.experts.prompts import (
    OTHER,
    SHOWN,
    Behaviour,
    LabelledPrompt,
    read_behaviour,
    read_prompts,
)
from router.evals.experts.report import outcome_table, summary_table
from router.evals.report import write_report
from router.runtime.router import Router

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

Score = Literal["contrast", "weights", "risk"]


@dataclass(frozen=True)
class Choice:
    """Which experts a mask is made of, and what happens to them."""

    count: int | None
    share: float | None
    score: Score
    per_layer: int | None
    use: Literal["off", "force", "bias"]
    bias: float
    mode: Literal["before", "after"]


@dataclass(frozen=True)
class Trial:
    """What the command line says about an evaluation."""

    mask: Path
    target: str
    pattern: str | None
    checker: str | None
    scan: Path | None
    score: Score
    sweep: str
    random: int
    bias: float
    limit: int | None
    seed: int


def scan(
    spec: Path, node: str | None, prompts: Path, out: Path, *, pattern: str | None, checker: str | None, limit: int | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Scans labelled prompts, with a progress bar, and says what the scan holds."""
    if out.suffix != ".safetensors":
        raise DataError("--out", "a name that ends in .safetensors", str(out))
    behaviour = read_behaviour(pattern, checker)
    labelled = read_prompts(prompts, classes=behaviour is None, limit=limit)
    texts = [one.prompt for one in labelled]

    async def run(asked: AskedNode, done: Callable[[int], None]) -> Scan:
        groups = [str(one.group) for one in labelled]
        if behaviour is not None:
            answers = await asked.answers(texts, None, done)
            groups = [SHOWN if behaviour(*one) else OTHER for one in zip(texts, answers, strict=True)]
        shape = await (await asked.engine()).moe_shape()
        return Scan.of(shape, zip(groups, await asked.activations(texts, done), strict=True))

    with _asking(spec, node, "scanning", len(texts) * (1 if behaviour is None else 2)) as (asked, runner, done):
        found = runner.run(run(asked, done))
    out.parent.mkdir(parents=True, exist_ok=True)
    found.save(out)
    classes = {name: {"prompts": p, "tokens": t} for name, p, t in zip(found.classes, found.prompts, found.tokens, strict=True)}  # fmt: skip
    if as_json:
        write_json({"scan": str(out), "fingerprint": found.shape.fingerprint, "classes": classes})
    else:
        counted = ", ".join(
            f"{name}: {of['prompts']:,} prompts, {of['tokens']:,} tokens" for name, of in classes.items()
        )
        note(f"{out}: {len(found.layers)} layers, {found.shape.experts:,} experts; {counted}")


def mask(scan_file: Path, target: str, out: Path, choice: Choice, *, random: int | None, name: str | None) -> None:
    """Makes a mask of a scan, and says what it does."""
    found = Scan.load(scan_file)
    if (choice.count is None) == (choice.share is None):
        raise DataError("the size of the mask", "--count or --share", "both" if choice.count else "neither")
    count = choice.count or int(found.shape.experts * (choice.share or 0))
    selection = select_top(score_of(found, target, choice.score), found.layers, count, per_layer=choice.per_layer)
    made: dict[str, str | int | float | bool] = {"method": choice.score, "target": target, "scan": scan_file.name}
    chosen = make_mask(
        name or out.stem, found.shape, selection, use=choice.use, bias=choice.bias, mode=choice.mode, made=made
    )
    if random is not None:
        chosen = random_like(chosen, found.shape, random).model_copy(update={"name": name or out.stem})
    out.parent.mkdir(parents=True, exist_ok=True)
    chosen.save(out)
    note(
        f"{out}: mask {chosen.name} names {chosen.size} of {found.shape.experts} experts ({chosen.size / found.shape.experts:.1%})"
    )


def evaluate(spec: Path, node: str | None, prompts: Path, out: Path, trial: Trial, *, as_json: bool) -> None:
    """Measures a mask, writes the report and the pictures, and shows the figures that it is judged by."""
    behaviour = read_behaviour(trial.pattern, trial.checker)
    if behaviour is None:
        raise DataError("the behaviour", "--pattern or --checker", "neither")
    labelled = read_prompts(prompts, classes=True, limit=trial.limit)
    chosen = ExpertMask.load(trial.mask)
    found = None if trial.scan is None else Scan.load(trial.scan)
    sweep = [] if found is None else list(_sweep(found, chosen, trial))
    total = len(labelled) * (4 + trial.random + len(sweep))
    with _asking(spec, node, "measuring", total) as (asked, runner, done):
        evaluation = runner.run(_measured(asked, labelled, trial, behaviour, chosen, sweep, done))
    out.mkdir(parents=True, exist_ok=True)
    (out / "evaluation.json").write_text(json.dumps(evaluation.plain(), indent=2) + "\n", encoding="utf-8")
    tables = [summary_table(evaluation), outcome_table(evaluation)]
    command = shlex.join(["tokengraph", *sys.argv[1:]])
    write_report(out / "evaluation.md", f"Mask {chosen.name}", command, tables, seed=trial.seed)
    (out / "sweep.svg").write_text(sweep_plot(evaluation), encoding="utf-8")
    if found is not None:
        (out / "heat_map.svg").write_text(heat_map(found, trial.target, chosen), encoding="utf-8")
    if as_json:
        write_json(evaluation.plain())
    else:
        for heading, value in summary_table(evaluation).rows:
            console().print(f"{heading}: {value}", soft_wrap=True)
        note(f"the tables and pictures are in {out}")


def show(file: Path, target: str | None, mask_file: Path | None, out: Path | None, top: int) -> None:
    """Shows a scan, as a list of its most telling experts and as a heat map, or a mask."""
    if file.suffix != ".safetensors":
        given = [name for name, value in (("--target", target), ("--mask", mask_file), ("--out", out)) if value]
        if given:
            raise DataError(" and ".join(given), "a scan, a file that ends in .safetensors", f"{file}. Leave them out")
        _show_mask(ExpertMask.load(file))
        return
    if mask_file is not None and out is None:
        raise DataError("--mask", "--out beside it, for the picture in which its experts are framed", "none")
    found = Scan.load(file)
    screen = console()
    for name, prompts, tokens in zip(found.classes, found.prompts, found.tokens, strict=True):
        screen.print(f"{name}: {prompts:,} prompts, {tokens:,} tokens", soft_wrap=True)
    if target is not None:
        scores = score_of(found, target, "risk")
        screen.print(f"chosen more often per token in {target} than in the others:", soft_wrap=True)
        for cell in (-scores).argsort(axis=None, kind="stable")[:top]:
            row, expert = divmod(int(cell), scores.shape[1])
            screen.print(f"  layer {found.layers[row]}, expert {expert}: {scores[row, expert]:+.4f}", soft_wrap=True)
    if out is not None:
        chosen = None if mask_file is None else ExpertMask.load(mask_file)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(heat_map(found, target, chosen), encoding="utf-8")
        note(f"heat map in {out}")


def score_of(found: Scan, target: str, score: Score) -> NDArray[float64]:
    """The scores of a scan's experts for a class."""
    if score == "risk":
        return risk_difference(found, target)
    return contrast(found, target, weighted=score == "weights")


def _show_mask(mask: ExpertMask) -> None:
    screen = console()
    screen.print(f"mask {mask.name}: {mask.size} experts, {mask.mode} the choice", soft_wrap=True)
    screen.print(f"of the model with fingerprint {mask.fingerprint}", style="dim", soft_wrap=True)
    if mask.made:
        screen.print("made by " + ", ".join(f"{key} {value}" for key, value in mask.made.items()), style="dim", soft_wrap=True)  # fmt: skip
    for index, layer in sorted(mask.layers.items()):
        parts = [
            f"{word} {', '.join(map(str, ids))}" for word, ids in (("off", layer.off), ("force", layer.force)) if ids
        ]
        parts += (
            [f"bias {', '.join(f'{expert}: {bias:+g}' for expert, bias in layer.bias.items())}"] if layer.bias else []
        )
        screen.print(f"  layer {index}: {'; '.join(parts)}", soft_wrap=True)


def _sweep(found: Scan, chosen: ExpertMask, trial: Trial) -> Iterator[ExpertMask]:
    """Masks of other sizes, made as the command ``mask`` makes them."""
    if found.shape.fingerprint != chosen.fingerprint:
        raise MaskError(f"expected the scan that mask {chosen.name} was made of, found another model's. Name that scan")
    scores = score_of(found, trial.target, trial.score)
    for text in trial.sweep.split(","):
        if not text.strip().isdecimal():
            raise DataError("--sweep", "numbers of experts, such as 1,2,4", repr(trial.sweep))
        selection = select_top(scores, found.layers, int(text))
        yield make_mask(f"top-{int(text)}", found.shape, selection, mode=chosen.mode)


async def _measured(
    asked: AskedNode, labelled: list[LabelledPrompt], trial: Trial, behaviour: Behaviour, chosen: ExpertMask,
    sweep: list[ExpertMask], done: Callable[[int], None],
) -> Evaluation:  # fmt: skip
    shape = await (await asked.engine()).moe_shape()
    tried = list(variants(chosen, shape, randoms=trial.random, bias=trial.bias, sweep=sweep, seed=trial.seed))
    return await measure(asked, labelled, trial.target, behaviour, tried, done)


@contextmanager
def _asking(
    spec: Path, node: str | None, what: str, total: int
) -> Iterator[tuple[AskedNode, asyncio.Runner, Callable[[int], None]]]:
    """A node to ask, with a progress bar; its engine is closed afterwards."""
    router = Router.from_file(spec)
    asked = AskedNode(router, find_node(router.spec, node))
    with asyncio.Runner() as runner, bar(what) as (progress, task):
        progress.update(task, total=total)

        def done(count: int) -> None:
            progress.advance(task, count)

        try:
            yield asked, runner, done
        finally:
            runner.run(router.aclose())
