"""Runs a batch of jobs through a causal language model, one token a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from experts.engines.local import qwen3
from experts.engines.local.job import Job
from experts.engines.local.sampling import draw
from experts.engines.requests import TokenId


@torch.inference_mode()
def decode(model: Any, jobs: Sequence[Job], shrunk: Callable[[Sequence[int]], None]) -> None:
    """Answers all jobs: one pass over the prompts, then one token a step with a key-value cache.

    Prompts are padded on the left; a job that ends leaves the batch.

    Args:
        shrunk: called with the rows that stay when others leave.
    """
    ids, mask, positions = pad([job.prompt for job in jobs], model.device)
    cache = _empty_cache(model)
    running = list(jobs)
    while running:
        logits = model(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]  # fmt: skip
        draws = draw(logits, [job.sampler for job in running])
        kept = [row for row, taken in enumerate(draws) if running[row].advance(taken)]
        if not kept:
            return
        positions = positions[:, -1:] + 1
        if len(kept) < len(running):
            running = [running[row] for row in kept]
            shrunk(kept)
            rows = torch.tensor(kept, device=model.device)
            cache.batch_select_indices(rows)
            positions = positions[rows]
            mask = None if mask is None else mask[rows]
        ids = torch.tensor([[job.last_token] for job in running], device=model.device)
        if mask is not None:
            mask = torch.cat((mask, mask.new_ones(len(running), 1)), dim=1)


def _empty_cache(model: Any) -> Any:
    if isinstance(model, qwen3.Qwen3):
        return qwen3.Cache()
    from transformers.cache_utils import DynamicCache

    return DynamicCache(config=model.config)


@torch.inference_mode()
def final_states(model: Any, prompts: Sequence[tuple[TokenId, ...]]) -> Tensor:
    """The final normalised hidden state at the last position of each prompt, float32 [n, width]."""
    ids, mask, positions = pad(prompts, model.device)
    states = model.base_model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False)
    last: Tensor = states.last_hidden_state[:, -1]
    return last.float().cpu()


def pad(prompts: Sequence[tuple[TokenId, ...]], device: Any) -> tuple[Tensor, Tensor | None, Tensor]:
    """Token ids, attention mask (None if all prompts are equally long) and positions, each int64 [n, longest]."""
    longest = max(map(len, prompts))
    ids = torch.tensor([(0,) * (longest - len(prompt)) + prompt for prompt in prompts], device=device)
    if all(len(prompt) == longest for prompt in prompts):
        return ids, None, torch.arange(longest, device=device).expand(len(prompts), -1)
    padding = torch.tensor([longest - len(prompt) for prompt in prompts], device=device)[:, None]
    positions = torch.arange(longest, device=device) - padding
    return ids, (positions >= 0).long(), positions.clamp(min=0)
