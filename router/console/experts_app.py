"""``tokengraph experts``. It only declares, as ``cli.py`` does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from router.console.options import STYLE, AsJson, graph_files

app = typer.Typer(help="Find, switch off and force experts of a mixture.", **STYLE)

Spec = Annotated[
    Path,
    typer.Argument(
        metavar="SPEC", envvar="TOKENGRAPH_GRAPH", help="Graph spec, a YAML file.", autocompletion=graph_files
    ),
]
Node = Annotated[str | None, typer.Option("--node", help="The expert node; needed if there are several.")]
Prompts = Annotated[Path, typer.Option(metavar="FILE", help='JSON lines of {"prompt", "class", "answer"}.')]
Limit = Annotated[int | None, typer.Option(min=1, help="Of each class at most so many prompts.")]
Pattern = Annotated[
    str | None, typer.Option(metavar="REGEX", help="The behaviour: answers in which this is found show it.")
]
Checker = Annotated[
    str | None, typer.Option(metavar="MODULE:FUNCTION", help="The behaviour: a function of prompt and answer says it.")
]
Score = Annotated[
    Literal["contrast", "weights", "risk"],
    typer.Option(help="Difference of the classes' mean counts, of their mean weights, or of their rates per token."),
]


@app.command()
def scan(
    spec: Spec,
    prompts: Prompts,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where it goes: safetensors; a .json beside it.")],
    node: Node = None,
    pattern: Pattern = None,
    checker: Checker = None,
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """Count which experts a node's model chooses for labelled prompts.

    With --pattern or --checker the answers decide the classes: shown and other.
    """
    from router.console.experts import scan as run

    run(spec, node, prompts, out, pattern=pattern, checker=checker, limit=limit, as_json=as_json)


@app.command()
def mask(
    scan_file: Annotated[Path, typer.Argument(metavar="SCAN", help="What `scan` wrote.")],
    target: Annotated[str, typer.Option(metavar="CLASS", help="The class whose experts are looked for.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the mask goes, as JSON to read and edit.")],
    count: Annotated[int | None, typer.Option(min=1, help="How many experts.")] = None,
    share: Annotated[float | None, typer.Option(min=0, max=1, help="Or which share of all.")] = None,
    score: Score = "contrast",
    per_layer: Annotated[int | None, typer.Option(min=1, help="Of one layer at most.")] = None,
    use: Annotated[Literal["off", "force", "bias"], typer.Option(help="What happens to them.")] = "off",
    bias: Annotated[float, typer.Option(help="What is added, with --use bias.")] = 0.0,
    mode: Annotated[
        Literal["before", "after"], typer.Option(help="Others take their places, or fewer take part.")
    ] = "before",
    random: Annotated[
        int | None, typer.Option(metavar="SEED", help="A control instead: as many in each layer, at random.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="What requests call it; default: the file's name.")] = None,
) -> None:
    """Make a mask of the experts that set one class of a scan apart."""
    from router.console.experts import Choice
    from router.console.experts import mask as run

    run(scan_file, target, out, Choice(count, share, score, per_layer, use, bias, mode), random=random, name=name)


@app.command("eval")
def evaluate(
    spec: Spec,
    prompts: Prompts,
    mask_file: Annotated[Path, typer.Option("--mask", metavar="FILE", help="The mask.")],
    target: Annotated[str, typer.Option(metavar="CLASS", help="The class whose behaviour the mask is for.")],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for the table, the JSON and the pictures.", file_okay=False)
    ],
    node: Node = None,
    pattern: Pattern = None,
    checker: Checker = None,
    scan_file: Annotated[
        Path | None, typer.Option("--scan", metavar="FILE", help="The scan, for masks of other sizes and a heat map.")
    ] = None,
    score: Score = "contrast",
    sweep: Annotated[str, typer.Option(metavar="K,K,...", help="Sizes of other masks, with --scan.")] = "1,2,4,8,16",
    random: Annotated[int, typer.Option(min=0, help="How many random masks.")] = 20,
    bias: Annotated[float, typer.Option(help="What is added where the experts are biased on.")] = 2.0,
    limit: Limit = None,
    seed: Annotated[int, typer.Option(help="Seed of the random masks.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Measure a mask: what the node answers without it, with it, with random ones, and with its experts on."""
    from router.console.experts import Trial
    from router.console.experts import evaluate as run

    trial = Trial(mask_file, target, pattern, checker, scan_file, score, sweep, random, bias, limit, seed)
    run(spec, node, prompts, out, trial, as_json=as_json)


@app.command()
def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A scan or a mask.")],
    target: Annotated[
        str | None, typer.Option(metavar="CLASS", help="Of a scan: compare this class with the others.")
    ] = None,
    mask_file: Annotated[
        Path | None, typer.Option("--mask", metavar="FILE", help="Of a scan: frame its experts.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Of a scan: write a heat map there, as SVG.", dir_okay=False)
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Of a scan: how many experts to list.")] = 10,
) -> None:
    """Show what is in a scan or a mask."""
    from router.console.experts import show as run

    run(file, target, mask_file, out, top)


@app.command("apply")
def apply_mask(
    spec: Spec,
    mask_file: Annotated[Path, typer.Argument(metavar="MASK", help="The mask.")],
    node: Node = None,
) -> None:
    """Let a running vLLM worker answer with a mask from now on, whoever asks it and names no other."""
    from router.console.experts_live import apply_mask as run

    run(spec, node, mask_file)


@app.command("clear")
def clear_mask(spec: Spec, node: Node = None) -> None:
    """Take back what `apply` did."""
    from router.console.experts_live import clear_mask as run

    run(spec, node)
