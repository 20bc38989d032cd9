"""``tokengraph train token-router``. It only declares, as ``cli.py`` does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from router.console.options import STYLE, AsJson, Graph

app = typer.Typer(help="Train when a small model leaves a token to a large one.", **STYLE)

PairNode = Annotated[str | None, typer.Option("--node", help="The token_pair node; needed if there are several.")]
Labels = Annotated[Path, typer.Option(metavar="DIR", help="Folder that `label` made.", file_okay=False)]
TokenRouter = Annotated[Path, typer.Option("--router", metavar="DIR", help="Folder that `fit` made.", file_okay=False)]
Device = Annotated[str | None, typer.Option(help="Torch device of the models; default: the worker's.")]
Shares = Annotated[
    list[float] | None, typer.Option("--share", min=0, max=1, help="Share of the large model's tokens; repeatable.")
]
TargetShare = Annotated[float, typer.Option(min=0, max=1, help="Share of the large model's tokens to aim at.")]
Prompts = Annotated[int | None, typer.Option(min=1, help="How many prompts to run at most.")]
PairBatch = Annotated[int, typer.Option("--batch", min=1, help="How many answers grow at the same time.")]


@app.command("label")
def label_tokens(
    data: Annotated[Path, typer.Option(metavar="FILE", help='JSON lines of {"prompt", "answer"}.')],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the labels.", file_okay=False)],
    graph: Graph = None,
    node: PairNode = None,
    checker: Annotated[
        str | None, typer.Option(help="Who compares answers: exact, number, or a function of yours, MODULE:FUNCTION.")
    ] = None,
    mark: Annotated[str | None, typer.Option(help="What precedes the final answer, such as ####.")] = None,
    judge: Annotated[str | None, typer.Option(metavar="WORKER", help="Or a model that compares meanings.")] = None,
    judge_prompt: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What the judge is asked.", dir_okay=False, exists=True)
    ] = None,
    until: Annotated[
        Literal["answer", "sentence"], typer.Option(help="How far both ways go on: a checker needs the answer.")
    ] = "answer",
    sentences: Annotated[int, typer.Option(min=1, help="With --until sentence: after so many.")] = 2,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Of a response; default: the node's.")] = None,
    shard: Annotated[int, typer.Option(min=1, help="Prompts that are labelled and written together.")] = 64,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Find out at which tokens of the large model's answers the small model would go astray.

    Was it interrupted? The same command goes on with what is missing.
    """
    from router.console.token_router import label as run
    from router.console.token_router import labelling

    how = labelling(checker, mark, judge, judge_prompt, until, sentences, shard)
    run(graph, node, data, out, how, max_tokens=max_tokens, device=device, as_json=as_json)


@app.command("fit")
def fit_token_router(
    labels: Labels,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the token router.", file_okay=False)],
    graph: Graph = None,
    node: PairNode = None,
    width: Annotated[int | None, typer.Option(min=1, help="Of the network; default: fits the small model.")] = None,
    blocks: Annotated[int | None, typer.Option(min=0, help="Residual blocks; default: fits the width.")] = None,
    dropout: Annotated[float, typer.Option(min=0, max=0.9, help="In the blocks.")] = 0.1,
    learning_rate: Annotated[float | None, typer.Option(min=0, help="Peak; default: fits the width.")] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the labels at most.")] = 50,
    patience: Annotated[int, typer.Option(min=1, help="Epochs without a better validation AUC, then stop.")] = 10,
    batch: Annotated[int, typer.Option(min=1, help="Positions a step.")] = 1024,
    heaviest: Annotated[
        float,
        typer.Option(min=1, help="A divergent position weighs as many harmless ones as there are to one, at most."),
    ] = 100,
    target_share: TargetShare = 0.15,
    seed: Annotated[int, typer.Option(help="Seed of all that is random.")] = 0,
    device: Annotated[str, typer.Option(help="Torch device that the network is trained on.")] = "cpu",
    as_json: AsJson = False,
) -> None:
    """Train a token router on labels."""
    from router.console.token_router import fit as run
    from router.token_level.fit import FitOptions

    options = FitOptions(
        width=width, blocks=blocks, dropout=dropout, learning_rate=learning_rate, epochs=epochs, patience=patience,
        batch=batch, heaviest=heaviest, seed=seed, device=device,
    )  # fmt: skip
    run(graph, node, labels, out, options, target_share=target_share, as_json=as_json)


@app.command("calibrate")
def calibrate_token_router(
    labels: Labels,
    router: TokenRouter,
    graph: Graph = None,
    node: PairNode = None,
    by: Annotated[
        Literal["runs", "labels"], typer.Option(help="Measure the share of real runs, or estimate it from the labels.")
    ] = "runs",
    share: Shares = None,
    target_share: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share to aim at from now on; default: as it is.")
    ] = None,
    prompts: Prompts = None,
    batch: PairBatch = 128,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Find the thresholds for shares of the large model's tokens, on prompts that nothing else has used."""
    from router.console.token_router import calibrate as run
    from router.token_level.bench import Runs

    runs = Runs(device, prompts, batch)
    run(graph, node, labels, router, by=by, shares=share, target_share=target_share, runs=runs, as_json=as_json)


@app.command("eval")
def evaluate_token_router(
    labels: Labels,
    router: TokenRouter,
    graph: Graph = None,
    node: PairNode = None,
    data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Other test prompts; default: the test split of the labels.")
    ] = None,
    share: Shares = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the figures there as JSON.")] = None,
    report: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the tables there as Markdown.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the random policy.")] = 0,
    prompts: Prompts = None,
    batch: PairBatch = 128,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Measure a token router against other ways to share the work, all at the same share."""
    from router.console.token_router import evaluate as run
    from router.token_level.bench import Runs

    runs = Runs(device, prompts, batch)
    run(
        graph, node, labels, router, data=data, shares=share, out=out, markdown=report, seed=seed, runs=runs,
        as_json=as_json,
    )  # fmt: skip
