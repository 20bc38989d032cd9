"""The ``tokengraph`` command. It only declares; what commands do is in ``router.console``, loaded when one runs."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from router.console.experts_app import app as experts_app
from router.console.options import BUNDLED, STYLE, AsJson, Graph, graph_files
from router.console.token_router_app import app as token_router_app
from router.console.tool_tokens_command import tool_tokens


class _Commands(TyperGroup):
    """Errors that are a user's to mend become one message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the command; 2 is the exit code for wrong input, 1 for a run that failed."""
        from router.errors import TokengraphError

        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except (TokengraphError, OSError) as error:
            from router.console.errors import show_error

            raise typer.Exit(show_error(error)) from error


def _router_nodes(ctx: typer.Context, incomplete: str) -> list[str]:
    from router.console.completion import router_nodes

    return router_nodes(ctx.params.get("graph"), incomplete)


def _version(asked: bool) -> None:
    if asked:
        from router.program import program

        typer.echo(program())
        raise typer.Exit


_HELP: dict[str, Any] = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(name="tokengraph", cls=_Commands, context_settings=_HELP, **STYLE)
graph_app = typer.Typer(help="Check, show and draw graph specs.", **STYLE)
train_app = typer.Typer(help="Train what a graph decides with.", **STYLE)
workers_app = typer.Typer(help="Start, watch and stop the vLLM servers that a graph names.", **STYLE)
app.add_typer(graph_app, name="graph")
app.add_typer(train_app, name="train")
train_app.add_typer(token_router_app, name="token-router")
train_app.command("tool-tokens")(tool_tokens)
app.add_typer(workers_app, name="workers")
app.add_typer(experts_app, name="experts")


def _kept_in(what: str) -> Any:
    """An option that names an SQLite file of what is to outlive the process."""
    return typer.Option(metavar="FILE", help=f"SQLite file of {what}", dir_okay=False)


Spec = Annotated[
    Path | None,
    typer.Argument(
        metavar="[SPEC]", envvar="TOKENGRAPH_GRAPH", help="Graph spec, a YAML file.", show_default=BUNDLED,
        autocompletion=graph_files,
    ),
]  # fmt: skip
Trace = Annotated[bool, typer.Option("--trace", help="Show what happened and what it cost, on standard error.")]
Thread = Annotated[
    str | None, typer.Option(metavar="ID", help="Conversation to go on with; begun if there is none of that name.")
]
Checkpoints = Annotated[Path | None, _kept_in("conversations and runs.")]
Tokens = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Functional tokens for the entry router, in place of the spec's.")
]


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """A graph of small language models that answers like one big model."""


@app.command()
def query(
    text: Annotated[str | None, typer.Argument(metavar="QUERY", help="What to ask; - reads standard input.")] = None,
    graph: Graph = None,
    as_json: AsJson = False,
    trace: Trace = False,
    thread: Thread = None,
    checkpoints: Checkpoints = None,
    resume: Annotated[bool, typer.Option("--resume", help="Finish the interrupted run of --thread.")] = False,
    approve: Annotated[
        bool | None, typer.Option("--approve/--deny", help="With --resume: answer the call that the run waits with.")
    ] = None,
    expert_mask: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE", help="Mask of experts to answer with: one of the node's, a file, or none."),
    ] = None,
) -> None:
    """Ask one query and print the answer."""
    if thread is not None and checkpoints is None:
        raise typer.BadParameter("needs --checkpoints FILE, where conversations are kept", param_hint="--thread")
    if resume and thread is None:
        raise typer.BadParameter("needs --thread ID, the run to finish", param_hint="--resume")
    if (text is None) != resume:
        raise typer.BadParameter("give either a query or --resume", param_hint="QUERY")
    if approve is not None and not resume:
        raise typer.BadParameter("needs --resume: it answers a call that a run waits with", param_hint="--approve")
    from router.console.query import query as run

    code = run(
        text or "", graph, as_json=as_json, trace=trace, thread_id=thread, checkpoints=checkpoints, resume=resume,
        approve=approve, expert_mask=expert_mask,
    )  # fmt: skip
    raise typer.Exit(code)


@app.command()
def chat(graph: Graph = None, trace: Trace = False, thread: Thread = None, checkpoints: Checkpoints = None) -> None:
    """Talk with the graph.

    It remembers the conversation. From a pipe: each line is asked, each answer written.
    """
    if thread is not None and checkpoints is None:
        raise typer.BadParameter("needs --checkpoints FILE, where conversations are kept", param_hint="--thread")
    from router.console.chat import chat as run

    raise typer.Exit(run(graph, checkpoints=checkpoints, thread_id=thread, trace=trace))


@app.command()
def route(
    text: Annotated[str | None, typer.Argument(metavar="QUERY", help="What to route; - reads standard input.")] = None,
    queries: Annotated[
        Path | None, typer.Option("--in", metavar="FILE", help='Or a file: JSON lines of {"id", "query"}.')
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where the decisions for --in go.", dir_okay=False)
    ] = None,
    graph: Graph = None,
    tokens: Tokens = None,
    as_json: AsJson = False,
) -> None:
    """Show which node would answer, without asking it."""
    if (text is None) == (queries is None):
        raise typer.BadParameter("give either a query or --in FILE", param_hint="QUERY")
    if (queries is None) != (out is None):
        raise typer.BadParameter("--in and --out go together", param_hint="--out")
    from router.console.route import route_file, route_query

    if queries is not None and out is not None:
        route_file(queries, out, graph, tokens)
    else:
        route_query(text or "", graph, tokens, as_json=as_json)


@app.command()
def batch(
    queries: Annotated[Path, typer.Argument(metavar="IN", help='JSON lines of {"id", "query"}.')],
    out: Annotated[Path, typer.Option(metavar="FILE", help="JSON lines of answers; ids in it are not asked again.")],
    graph: Graph = None,
    concurrency: Annotated[int, typer.Option(min=1, help="How many queries run at the same time.")] = 32,
) -> None:
    """Answer a file of queries.

    Was it interrupted? The same command goes on with what is missing. The exit code is 1 if some queries failed.
    """
    from router.console.batch import batch as run

    raise typer.Exit(run(queries, out, graph, concurrency))


@app.command()
def serve(
    spec: Spec = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    keys: Annotated[
        Path | None, typer.Option(metavar="FILE", help="API keys (YAML or JSON), besides those of the spec.")
    ] = None,
    open_to_all: Annotated[bool, typer.Option("--open", help="Serve other machines without keys.")] = False,
    seconds: Annotated[float, typer.Option(min=0.001, help="Longest time for one request.")] = 600,
    log_prompts: Annotated[bool, typer.Option("--log-prompts", help="Log what is asked and answered.")] = False,
    traces: Annotated[int, typer.Option(min=0, help="How many traces to keep for GET /v1/traces/ID.")] = 1000,
    otlp: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Send OpenTelemetry spans there, such as http://HOST:4318/v1/traces."),
    ] = None,
    drain: Annotated[int, typer.Option(min=0, help="Seconds for requests under way when stopped.")] = 30,
    checkpoints: Annotated[
        Path | None, _kept_in("runs in which a tool waits for a yes; without it they end here.")
    ] = None,
    spending: Annotated[Path | None, _kept_in("what API keys have used; without it budgets begin anew here.")] = None,
) -> None:
    """Serve the graph as one OpenAI model.

    Changes of the spec take over without a restart. GET /openapi.json says what there is.
    """
    from router.console.graphs import graph_path
    from router.console.serve import serve as run
    from router.gateway.gateway import Settings
    from router.gateway.server import ServeOptions

    settings = Settings(seconds=seconds, traces=traces, log_prompts=log_prompts)
    run(ServeOptions(graph_path(spec), host, port, keys, open_to_all, otlp, drain, settings, checkpoints, spending))


@graph_app.command()
def validate(spec: Spec = None) -> None:
    """Check a graph spec; every mistake is shown with its place and what to do."""
    from router.console.graph import validate as run

    run(spec)


@graph_app.command()
def show(spec: Spec = None) -> None:
    """Show a graph as a tree: nodes, workers, conditions and costs."""
    from router.console.graph import show as run

    run(spec)


@graph_app.command()
def draw(
    spec: Spec = None,
    form: Annotated[
        Literal["mermaid", "svg"] | None, typer.Option("--format", help="Default: by the name of --out, else mermaid.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to write it; default: standard output.", dir_okay=False)
    ] = None,
) -> None:
    """Draw a graph as Mermaid text or as SVG."""
    from router.console.graph import draw as run

    run(spec, form, out)


@graph_app.command()
def schema() -> None:
    """Print the JSON Schema of graph specs, for editors."""
    from router.console.graph import schema as run

    run()


@train_app.command("functional-tokens")
def functional_tokens(
    data: Annotated[Path, typer.Option(metavar="FILE", help='Labelled queries: JSON lines of {"query", "node"}.')],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the tokens.", file_okay=False)],
    graph: Graph = None,
    node: Annotated[
        str | None, typer.Option(help="The router node; needed if there are several.", autocompletion=_router_nodes)
    ] = None,
    tune: Annotated[
        Literal["auto", "rows", "encoder", "lora", "model"],
        typer.Option(help="What learns: the tokens' rows alone, the encoder, adapters of the decoder, or all of it."),
    ] = "auto",
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the data at most.")] = None,
    learning_rate: Annotated[float | None, typer.Option(min=0, help="Peak learning rate.")] = None,
    regularisation: Annotated[float | None, typer.Option(min=0, help="How strongly rows keep to their start.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of all that is random.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Teach a router node by labelled queries which node should answer."""
    from router.console.training import TrainingOptions, train

    options = TrainingOptions(node, tune, epochs, learning_rate, regularisation, seed)
    train(graph, data, out, options, as_json=as_json)


@workers_app.command()
def up(
    spec: Spec = None,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return when all are healthy, and leave them running.")
    ] = False,
) -> None:
    """Start the workers of a graph and keep them alive until Ctrl-C."""
    from router.console.workers import up as run

    run(spec, detach=detach)


@workers_app.command()
def status(spec: Spec = None, as_json: AsJson = False) -> None:
    """Show how the workers of a graph are."""
    from router.console.workers import status as run

    run(spec, as_json=as_json)


@workers_app.command()
def down(spec: Spec = None) -> None:
    """Stop the workers that were started from a graph."""
    from router.console.workers import down as run

    run(spec)


def main() -> None:
    """The entry point."""
    # Nothing that modules make while they load is garbage; by default Python looks for some 800 times in a cold query.
    gc.set_threshold(20_000)
    app()


if __name__ == "__main__":
    main()
