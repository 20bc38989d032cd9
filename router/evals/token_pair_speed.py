"""Measures what token-level routing costs and gains on vLLM: ``python -m router.evals.token_pair_speed`` writes
docs/token_pair_speed.md.

Models of real shapes with random weights run on real servers, and the modes take turns, so that a change of the machine's
pace hits all of them. Shown are medians, and medians of the ratios turn by turn. The share of the large model is forced:
everything is critical, and ``max_large_share`` holds.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from experts.engines.base import Engine
from experts.engines.config import VllmWorker
from experts.engines.requests import Defer, GenerateRequest
from router.evals.random_models import SHAPES, save_model, save_outline, save_token_router
from router.evals.report import Table, write_report
from router.evals.vllm_server import serving
from router.token_level.loop import Switching, TokenPair

log = logging.getLogger(__name__)
ROOT = Path(__file__).parents[2]
SEED = 0
_PROMPT, _LENGTH = 32, 256  # tokens of the prompt; most tokens of a prompt and its answer
_MOST = 8  # requests at once
_CACHE = 200 << 20  # bytes of keys and values
Mode = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Settings:
    """How long to measure, and on what."""

    tokens: int
    turns: int
    dtype: Literal["bfloat16", "float32"]
    threads: int
    share: float


def worker(model: Path, settings: Settings, token_router: Path | None = None) -> VllmWorker:
    """A worker with little room, so that two fit."""
    arguments: dict[str, str | int | float | bool] = {
        "max-model-len": _LENGTH, "max-num-seqs": _MOST, "kv-cache-memory-bytes": _CACHE,
    }  # fmt: skip
    found = None if token_router is None else str(token_router)
    return VllmWorker(engine="vllm", model=str(model), token_router=found, dtype=settings.dtype, arguments=arguments)


def ask(settings: Settings, defer: Defer | None = None) -> GenerateRequest:
    """The same for all modes; the first turn leaves the prompt in every prefix cache."""
    prompt = tuple(range(10, 10 + _PROMPT))
    return GenerateRequest(prompt_ids=prompt, max_tokens=settings.tokens, ignore_eos=True, defer=defer)  # type: ignore[arg-type]


async def measure(modes: Mapping[str, Mode], turns: int) -> dict[str, list[float]]:
    """Seconds of each mode by turn, after one turn that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in modes}
    for turn in range(turns + 1):
        for name, mode in modes.items():
            begun = time.perf_counter()
            await mode()
            if turn:
                seconds[name].append(time.perf_counter() - begun)
                log.info("%s: %.2f s", name, seconds[name][-1])
    return seconds


def writes(engine: Engine, request: GenerateRequest) -> Mode:
    """An engine writes an answer alone."""

    async def mode() -> None:
        await engine.generate(request)

    return mode


async def cost_table(name: str, settings: Settings, folder: Path) -> Table:
    """A server without a token router beside one with it that scores every token and leaves none."""
    model = save_model(folder / name, SHAPES[name], SEED)
    router = save_token_router(folder / f"{name} router", model, model, SEED)
    with ExitStack() as stack:
        workers = (worker(model, settings), worker(model, settings, router))
        served = [stack.enter_context(serving(one, folder, threads=settings.threads)) for one in workers]
        engines = [await one.connect() for one in served]
        never = Defer(threshold=2.0)
        modes = {
            "without": writes(engines[0], ask(settings)),
            "with, but not asked for": writes(engines[1], ask(settings)),
            "with": writes(engines[1], ask(settings, never)),
        }
        seconds = await measure(modes, settings.turns)
        for engine in engines:
            await engine.close()
    rows = []
    for mode, times in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(seconds["without"], times, strict=True))
        rows.append((mode, f"{settings.tokens / statistics.median(times):.2f}", f"{ratio:.3f}"))
    title = f"The token router in a worker of a {name} shape, {settings.dtype}"
    return Table(title, ("token router", "tokens/s", "ratio to without (bar 0.92)"), tuple(rows))


async def pair_table(small_name: str, large_name: str, settings: Settings, folder: Path) -> Table:
    """The pair against each of its models alone."""
    small_model = save_model(folder / f"small {small_name}", SHAPES[small_name], SEED)
    large_model = save_outline(folder / f"large {large_name}", SHAPES[large_name])
    router = save_token_router(folder / "pair router", small_model, large_model, SEED)
    with ExitStack() as stack:
        routed, plain = worker(small_model, settings, router), worker(large_model, settings)
        small_server = stack.enter_context(serving(routed, folder, threads=settings.threads))
        large_server = stack.enter_context(serving(plain, folder, threads=settings.threads, dummy=True))
        small, large = await small_server.connect(), await large_server.connect()
        pair = TokenPair(small, large)
        switching = Switching(threshold=0.0, max_large_share=settings.share)
        shares: list[float] = []

        async def together() -> None:
            shares.append((await pair.generate(ask(settings), switching)).large_share)

        modes = {
            "large only": writes(large, ask(settings)),
            "small only": writes(small, ask(settings)),
            "pair": together,
        }
        seconds = await measure(modes, settings.turns)
        await asyncio.gather(small.close(), large.close())
    return _pair_rows(
        f"A pair of {small_name} and {large_name} shapes, {settings.dtype}", seconds, shares[-1], settings
    )


def _pair_rows(title: str, seconds: Mapping[str, Sequence[float]], share: float, settings: Settings) -> Table:
    turns = list(zip(seconds["large only"], seconds["small only"], seconds["pair"], strict=True))
    gain = statistics.median(large / pair for large, _, pair in turns)
    ideal = statistics.median(large / (share * large + (1 - share) * small) for large, small, _ in turns)
    reached = statistics.median((share * large + (1 - share) * small) / pair for large, small, pair in turns)
    rows = [(mode, f"{settings.tokens / statistics.median(times):.2f}") for mode, times in seconds.items()]
    rows += [
        ("large share", f"{share:.3f}"),
        ("pair to large only (bar 1.8)", f"{gain:.2f}"),
        ("ideal by the two rates", f"{ideal:.2f}"),
        ("share of the ideal (bar 0.80)", f"{reached:.2f}"),
    ]
    note = (
        f"Answers of {settings.tokens} tokens, turns: {settings.turns}. The ideal takes 1/rate of its author for each token, "
        "and nothing for switching or for the proposals that are not taken."
    )
    return Table(title, ("mode", "tokens/s, or ratio"), tuple(rows), note)


async def _tables(arguments: argparse.Namespace, settings: Settings) -> list[Table]:
    tables = []
    with tempfile.TemporaryDirectory() as folder:
        if arguments.cost:
            tables.append(await cost_table(arguments.cost, settings, Path(folder)))
        if arguments.pair:
            tables.append(await pair_table(arguments.pair[0], arguments.pair[1], settings, Path(folder)))
    return tables


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measure what token-level routing costs and gains on vLLM.")
    shapes = ", ".join(SHAPES)
    parser.add_argument("--cost", default="0.5b", help=f"shape whose router's cost is measured ({shapes}); empty: none")
    parser.add_argument("--pair", nargs=2, default=["0.6b", "4b"], metavar=("SMALL", "LARGE"), choices=SHAPES)
    parser.add_argument("--no-pair", dest="pair", action="store_const", const=None)
    parser.add_argument("--tokens", type=int, default=54, help="length of each answer")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--share", type=float, default=0.13, help="of the large model")
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float32"))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "token_pair_speed.md")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    settings = Settings(arguments.tokens, arguments.turns, arguments.dtype, arguments.threads, arguments.share)
    tables = asyncio.run(_tables(arguments, settings))
    for table in tables:
        log.info("%s", table.markdown())
    pair = f"--pair {' '.join(arguments.pair)}" if arguments.pair else "--no-pair"
    command = (
        f"python -m router.evals.token_pair_speed --cost '{arguments.cost}' {pair} --tokens {settings.tokens} "
        f"--turns {settings.turns} --share {settings.share} --dtype {settings.dtype} --threads {settings.threads}"
    )
    write_report(arguments.out, "Speed of token pairs", command, tables, seed=SEED)


if __name__ == "__main__":
    main()
