"""Measures speed as ratios, side by side in one run: ``python -m router.evals.speed`` writes docs/speed.md.

Every mode runs in a process of its own. The modes take short turns while all of them live, so that a change of the
machine's pace hits all of them. Shown are medians and the median of the ratios, turn by turn.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from router.evals.report import Table, write_report

log = logging.getLogger(__name__)
ROOT = Path(__file__).parents[2]
TEXT = "How does the liver break down alcohol, and why does it take longer on an empty stomach?"
NODES = 10_000
_WARM_UP, _REPEATS, _ROUNDS = 30, 15, 20  # calls before the first turn, calls a turn, turns of a mode in one `--turns`

Work = Callable[[], object]


def bare_encoder() -> Work:
    """One forward pass of the encoder over TEXT: tokenise, run, pool, normalise; nothing else."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    from experts.engines.local.minilm import bundled_folder

    folder = bundled_folder("all-MiniLM-L6-v2")
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()

    def forward() -> None:
        with torch.inference_mode():
            batch = tokenizer(TEXT, return_tensors="pt")
            hidden = model(**batch).last_hidden_state
            mask = batch["attention_mask"].unsqueeze(-1)
            pooled = (hidden * mask).sum(1) / mask.sum(1)
            torch.nn.functional.normalize(pooled, dim=-1).numpy()

    return forward


def route_decision() -> Work:
    """One decision of graph_specs/mmlu.yaml's master about TEXT."""
    from router import Router

    router = Router.from_file(ROOT / "graph_specs" / "mmlu.yaml")
    return lambda: router.route(TEXT)


def route_decision_many_nodes() -> Work:
    """The same with 10,000 nodes."""
    from router import Router
    from router.spec.load import load_spec
    from router.spec.models import EdgeSpec, ExpertNode
    from router.types import NodeId

    spec = load_spec(ROOT / "graph_specs" / "mmlu.yaml")
    worker = next(node.worker for node in spec.nodes.values() if isinstance(node, ExpertNode))
    names = [NodeId(f"topic_{i}") for i in range(NODES)]
    nodes = {spec.entry: spec.nodes[spec.entry]} | {
        name: ExpertNode(kind="expert", worker=worker, description=f"topic number {i}") for i, name in enumerate(names)
    }
    edges = tuple(EdgeSpec(source=spec.entry, target=name) for name in names)
    router = Router(spec.model_copy(update={"nodes": nodes, "edges": edges}))
    return lambda: router.route(TEXT)


def _median(work: Work) -> float:
    times = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


MODES = {f.__name__: f for f in (bare_encoder, route_decision, route_decision_many_nodes)}


def _serve(mode: str) -> None:
    """Warms up, then measures one turn for every line of the standard input."""
    work = MODES[mode]()
    for _ in range(_WARM_UP):
        work()
    for _ in sys.stdin:
        sys.stdout.write(json.dumps(_median(work)) + "\n")
        sys.stdout.flush()


def _turns(count: int) -> list[dict[str, float]]:
    """Seconds of a call by mode, turn by turn."""
    with ExitStack() as stack:
        processes = {mode: stack.enter_context(_started(mode)) for mode in MODES}
        return [{mode: _ask(process) for mode, process in processes.items()} for _ in range(count)]


def _started(mode: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "router.evals.speed", "--mode", mode]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)  # noqa: S603


def _ask(process: subprocess.Popen[str]) -> float:
    assert process.stdin and process.stdout
    process.stdin.write("\n")
    process.stdin.flush()
    return float(json.loads(process.stdout.readline()))


def _wall(command: Sequence[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)  # noqa: S603
    return time.perf_counter() - started


def route_table(turns: int) -> Table:
    """One route decision against the bare encoder."""
    runs = _turns(_ROUNDS * turns)
    rows = []
    for mode in MODES:
        ratio = statistics.median(run[mode] / run["bare_encoder"] for run in runs)
        rows.append((mode.replace("_", " "), 1000 * statistics.median(run[mode] for run in runs), f"{ratio:.3f}"))
    return Table(
        "One route decision, encoder master", ("mode", "milliseconds", "ratio to the bare encoder"), tuple(rows)
    )


def cold_table(turns: int) -> Table:
    """``tokengraph query`` in a fresh process against the imports that it cannot do without."""
    imports = [sys.executable, "-c", "import torch, transformers"]
    query = [str(Path(sys.executable).parent / "tokengraph"), "query", "what is 347 plus 589?"]
    _wall(imports), _wall(query)
    runs = [(_wall(imports), _wall(query)) for _ in range(turns)]
    ratio = statistics.median(b / a for a, b in runs)
    rows = (
        ("import torch, transformers", statistics.median(a for a, _ in runs), "1.000"),
        ("tokengraph query", statistics.median(b for _, b in runs), f"{ratio:.3f}"),
    )
    return Table("A query in a cold process", ("command", "seconds", "ratio"), rows)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measure speed ratios.")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--mode", choices=sorted(MODES), help="measure one mode in this process, a turn a line")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "speed.md")
    arguments = parser.parse_args()
    if arguments.mode:
        _serve(arguments.mode)
        return
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    tables = [route_table(arguments.turns), cold_table(arguments.turns)]
    for table in tables:
        log.info("%s", table.markdown())
    write_report(arguments.out, "Speed", f"python -m router.evals.speed --turns {arguments.turns}", tables, seed=0)


if __name__ == "__main__":
    main()
