"""Measures what the gateway adds, side by side in one run: ``python -m router.evals.gateway`` writes docs/gateway.md.

A stub that answers at once stands behind everything: the gateway with a graph of one node (``engine: vllm``), a
minimal pass-through (Starlette and httpx), and, with ``--litellm COMMAND`` (the ``litellm`` command of an environment
that has ``litellm[proxy]``), LiteLLM's proxy. They take turns, so that a change of the machine's pace hits all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from router.errors import EngineUnavailable
from router.evals.load import Load, load
from router.evals.ports import free_port
from router.evals.report import Table, write_report
from router.evals.stub import TEXT

log = logging.getLogger(__name__)
ROOT = Path(__file__).parents[2]
WORKER = "pocket:spelling"
MODEL = "one"
_LITELLM = {"LITELLM_LOG": "ERROR", "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true"}
_MEDIANS = (
    "Medians over the turns. What is added and the rates' ratio are taken turn by turn, so they are not those of the medians "
    "shown."
)
_MEMORY_STREAMS, _MEMORY_CONCURRENCY = 1000, 64


@dataclass(frozen=True)
class Case:
    """One kind of load; ``total`` requests a turn."""

    name: str
    total: int
    concurrency: int
    stream: bool


CASES = (
    Case("one at a time", 200, 1, False),
    Case("32 at a time", 1000, 32, False),
    Case("streams of 50 chunks, 32 at a time", 320, 32, True),
)


@dataclass(frozen=True)
class Server:
    """A server under load."""

    url: str
    process: subprocess.Popen[bytes]

    @property
    def memory(self) -> int:
        """Resident bytes."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")


@contextlib.contextmanager
def started(command: Sequence[str], port: int, ready: str, folder: Path, **environ: str) -> Iterator[Server]:
    """A server process, ended with the block.

    Raises:
        EngineUnavailable: it does not answer at ``ready`` within three minutes.
    """
    with (folder / f"{port}.log").open("wb") as out:
        process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out, env={**os.environ, **environ})  # noqa: S603
        try:
            until = time.monotonic() + 180
            url = f"http://127.0.0.1:{port}"
            while not _answers(url + ready):
                if process.poll() is not None or time.monotonic() > until:
                    said = Path(out.name).read_text()[-2000:]
                    raise EngineUnavailable(f"expected a server of {' '.join(command)}, found:\n{said}")
                time.sleep(0.1)
            yield Server(url, process)
        finally:
            process.terminate()
            process.wait(30)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code < 500
    except httpx.TransportError:
        return False


@contextlib.contextmanager
def servers(litellm: str | None, folder: Path) -> Iterator[dict[str, Server]]:
    """The stub and all that stands in front of it, by name."""
    from experts.engines.local.checkpoint import resolve
    from experts.engines.prompt import PromptTokenizer

    tokenizer = PromptTokenizer.load(resolve(WORKER))
    tokens = ",".join(map(str, (*tokenizer.encode(TEXT), tokenizer.end_id)))
    stub_port, gateway_port, pass_port, litellm_port = (free_port() for _ in range(4))
    stub_url = f"http://127.0.0.1:{stub_port}"
    spec = folder / f"{MODEL}.yaml"
    workers = {"w": {"engine": "vllm", "model": WORKER, "url": stub_url}}
    nodes = {"a": {"kind": "expert", "worker": "w"}}
    spec.write_text(json.dumps({"version": 1, "name": MODEL, "entry": "a", "workers": workers, "nodes": nodes}))
    python = sys.executable
    with contextlib.ExitStack() as stack:

        def start(command: Sequence[str], port: int, ready: str, **environ: str) -> Server:
            return stack.enter_context(started(command, port, ready, folder, **environ))

        found: dict[str, Server] = {}
        stub = ("-m", "router.evals.stub", "--port", str(stub_port), "--model", WORKER, "--tokens", tokens)
        found["the stub alone"] = start([python, *stub], stub_port, "/health")
        serve = [python, "cli.py", "serve", str(spec), "--port", str(gateway_port)]
        found["tokengraph"] = start(serve, gateway_port, "/health")
        relay = [python, "-m", "router.evals.passthrough", "--port", str(pass_port), "--upstream", stub_url]
        found["pass-through"] = start(relay, pass_port, "/health")
        if litellm is not None:
            config = folder / "litellm.yaml"
            upstream = {"model": f"openai/{MODEL}", "api_base": f"{stub_url}/v1", "api_key": "none"}
            config.write_text(json.dumps({"model_list": [{"model_name": MODEL, "litellm_params": upstream}]}))
            command = [litellm, "--config", str(config), "--port", str(litellm_port), "--host", "127.0.0.1"]
            found["LiteLLM"] = start(command, litellm_port, "/health/liveliness", **_LITELLM)
        yield found


def measure(found: Mapping[str, Server], turns: int) -> dict[str, dict[str, list[Load]]]:
    """The loads by case and server, after one turn that does not count."""
    import uvloop

    loads: dict[str, dict[str, list[Load]]] = {case.name: {name: [] for name in found} for case in CASES}
    for turn in range(turns + 1):
        for case in CASES:
            for name, server in found.items():
                work = load(server.url, MODEL, total=case.total, concurrency=case.concurrency, stream=case.stream)
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    got = runner.run(work)
                if got.failed:
                    raise EngineUnavailable(f"expected {case.total} good responses of {name}, found {got.failed} bad")
                if turn:
                    loads[case.name][name].append(got)
                    log.info("%s: %s: %.0f/s, %.2f ms", case.name, name, got.rate, 1000 * got.median)
    return loads


def table(case: Case, loads: Mapping[str, Sequence[Load]]) -> Table:
    """One case: medians, and the median of the ratios turn by turn."""
    own = loads["tokengraph"]
    stub = loads["the stub alone"]
    rows = []
    for name, theirs in loads.items():
        ratio = statistics.median(mine.rate / other.rate for mine, other in zip(own, theirs, strict=True))
        added = statistics.median(other.median - bare.median for other, bare in zip(theirs, stub, strict=True))
        rate, median = statistics.median(t.rate for t in theirs), statistics.median(t.median for t in theirs)
        rows.append((name, f"{rate:.0f}", f"{1000 * median:.2f}", f"{1000 * added:.2f}", f"{ratio:.2f}"))
    header = ("server", "responses/s", "p50 ms", "added ms", "tokengraph's rate to this one's")
    return Table(case.name.capitalize(), header, tuple(rows), _MEDIANS)


def memory_table(server: Server) -> Table:
    """Resident memory of the gateway before and after a thousand streams, and after another thousand."""
    sizes = [server.memory]
    for _ in range(2):
        work = load(server.url, MODEL, total=_MEMORY_STREAMS, concurrency=_MEMORY_CONCURRENCY, stream=True)
        got = asyncio.run(work)
        if got.failed:
            raise EngineUnavailable(f"expected {_MEMORY_STREAMS} whole streams, found {got.failed} broken")
        sizes.append(server.memory)
    rows = tuple(
        (f"after {_MEMORY_STREAMS * turn:,} streams", f"{size / 2**20:.1f}", f"{size / sizes[0] - 1:+.1%}")
        for turn, size in enumerate(sizes)
    )
    return Table(f"Memory, {_MEMORY_CONCURRENCY} streams at a time", ("when", "MiB", "growth"), rows)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measure what the gateway adds.")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--litellm", help="the `litellm` command of an environment that has litellm[proxy]")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "gateway.md")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder, servers(arguments.litellm, Path(folder)) as found:
        loads = measure(found, arguments.turns)
        tables = [*(table(case, loads[case.name]) for case in CASES), memory_table(found["tokengraph"])]
    for each in tables:
        log.info("%s", each.markdown())
    command = f"python -m router.evals.gateway --turns {arguments.turns}"
    if arguments.litellm:
        command += " --litellm COMMAND"
    write_report(arguments.out, "Gateway", command, tables, seed=0)


if __name__ == "__main__":
    main()
