"""Measures what masks of experts cost on vLLM: ``python -m router.evals.mask_speed`` writes docs/mask_speed.md.

A mixture of experts with random weights runs on two real servers, one with masks and one without, and the modes take
turns, so that a change of the machine's pace hits all of them. Every mode writes the same number of tokens for as many
requests at once. Shown are medians, and medians of the ratios turn by turn.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experts.engines.base import Engine
from experts.engines.config import VllmWorker
from experts.engines.requests import GenerateRequest, TokenId
from experts.moe.mask import ExpertMask
from experts.moe.select import make_mask, random_like, select_top
from experts.moe.shape import MoeShape
from router.evals.report import Table, write_report
from router.evals.vllm_server import serving

log = logging.getLogger(__name__)
ROOT = Path(__file__).parents[2]
SEED = 0
WIDTHS = (256, 512, 1024)
_LAYERS, _EXPERTS, _TOP_K, _VOCABULARY, _CONTEXT = 12, 64, 8, 8192, 512
_PROMPT = 32
_SHARE = 0.04  # of the experts, in a mask


@dataclass(frozen=True)
class Settings:
    """How long to measure, and on what."""

    width: int
    requests: int
    tokens: int
    turns: int
    threads: int


def save_mixture(folder: Path, width: int) -> Path:
    """A Qwen3-MoE with random weights, the experts of a token as wide as the model, in float32."""
    import torch
    from transformers import AutoModelForCausalLM, Qwen3MoeConfig

    from experts.pocket.tokenizer import build_tokenizer

    torch.manual_seed(SEED)
    config = Qwen3MoeConfig(
        vocab_size=_VOCABULARY, hidden_size=width, intermediate_size=2 * width, moe_intermediate_size=width // 2,
        num_hidden_layers=_LAYERS, num_attention_heads=width // 64, num_key_value_heads=width // 64, head_dim=64,
        num_experts=_EXPERTS, num_experts_per_tok=_TOP_K, norm_topk_prob=True, max_position_embeddings=_CONTEXT,
        tie_word_embeddings=True, architectures=["Qwen3MoeForCausalLM"],
    )  # fmt: skip
    model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    return folder


def random_masks(shape: MoeShape, count: int) -> list[ExpertMask]:
    """Masks that switch different experts off, in every layer some."""
    import numpy as np

    generator = np.random.default_rng(SEED)
    layers = sorted(shape.layers)
    scores = generator.random((len(layers), _EXPERTS))
    first = make_mask("mask", shape, select_top(scores, layers, int(_SHARE * shape.experts), per_layer=4))
    return [first, *(random_like(first, shape, seed) for seed in range(1, count))]


async def write_all(engine: Engine, settings: Settings, names: Sequence[str | None]) -> float:
    """Seconds for one answer under each mask, all at once."""
    prompt = tuple(TokenId(10 + place) for place in range(_PROMPT))
    requests = [
        GenerateRequest(
            prompt_ids=(*prompt, TokenId(100 + at)),
            max_tokens=settings.tokens,
            ignore_eos=True,
            expert_mask=name,
        )
        for at, name in enumerate(names)
    ]
    begun = time.perf_counter()
    await asyncio.gather(*map(engine.generate, requests))
    return time.perf_counter() - begun


async def measure(settings: Settings, folder: Path) -> dict[str, list[float]]:
    """Seconds of each mode by turn, after one turn that does not count."""
    model = save_mixture(folder / "mixture", settings.width)
    arguments: dict[str, str | int | float | bool] = {
        "max-model-len": _CONTEXT, "max-num-seqs": settings.requests, "kv-cache-memory-bytes": 512 << 20,
    }  # fmt: skip
    worker = VllmWorker(engine="vllm", model=str(model), dtype="float32", arguments=arguments)
    with ExitStack() as stack:
        servers = [
            stack.enter_context(serving(one, folder, threads=settings.threads))
            for one in (worker, worker.model_copy(update={"mask_slots": 32}))
        ]
        plain, masked = [await server.connect() for server in servers]
        masks = random_masks(await masked.moe_shape(), settings.requests)
        await masked.set_masks({mask.name: mask for mask in masks})
        every: list[str | None] = [mask.name for mask in masks]
        none: list[str | None] = [None] * settings.requests
        modes: Mapping[str, tuple[Engine, list[str | None]]] = {
            "no masks in the server": (plain, none),
            "masks in the server, none used": (masked, none),
            "one mask for all (per node)": (masked, every[:1] * settings.requests),
            "another mask for each request": (masked, every),
        }
        seconds: dict[str, list[float]] = {name: [] for name in modes}
        for turn in range(settings.turns + 1):
            for name, (engine, names) in modes.items():
                taken = await write_all(engine, settings, names)
                if turn:
                    seconds[name].append(taken)
                    log.info("%s: %.2f s", name, taken)
        await asyncio.gather(plain.close(), masked.close())
    return seconds


def speed_table(seconds: Mapping[str, Sequence[float]], settings: Settings) -> Table:
    """Tokens a second, and the ratios to a server without masks."""
    base = next(iter(seconds.values()))
    rows = []
    for mode, times in seconds.items():
        ratios = [before / now for before, now in zip(base, times, strict=True)]
        rate = settings.requests * settings.tokens / statistics.median(times)
        rows.append(
            (mode, f"{rate:.1f}", f"{statistics.median(ratios):.3f}", f"{min(ratios):.3f} to {max(ratios):.3f}")
        )
    title = f"Masks in a mixture of {_LAYERS} layers of {_EXPERTS} experts, width {settings.width}, float32"
    note = (
        f"{settings.requests} requests at once, {settings.tokens} tokens each, {settings.turns} turns, "
        f"{settings.threads} threads. Bars: 0.97 for one mask, 0.90 for many."
    )
    return Table(title, ("mode", "tokens/s", "ratio to no masks", "least and most"), tuple(rows), note)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measure what masks of experts cost on vLLM.")
    parser.add_argument("--width", type=int, default=512, choices=WIDTHS)
    parser.add_argument("--requests", type=int, default=8, help="at once")
    parser.add_argument("--tokens", type=int, default=128, help="length of each answer")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "mask_speed.md")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    settings = Settings(arguments.width, arguments.requests, arguments.tokens, arguments.turns, arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        seconds = asyncio.run(measure(settings, Path(folder)))
    table = speed_table(seconds, settings)
    log.info("%s", table.markdown())
    command = "python -m router.evals.mask_speed " + " ".join(
        f"--{name} {getattr(settings, name)}" for name in ("width", "requests", "tokens", "turns", "threads")
    )
    write_report(arguments.out, "Speed with masks of experts", command, [table], seed=SEED)


if __name__ == "__main__":
    main()
