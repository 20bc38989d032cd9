"""Runs a batch of jobs through a causal language model, one token a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from experts.engines.answer import Draw
from experts.engines.local.batch import Batch
from experts.engines.local.job import Job
from experts.engines.local.key_values import can_split
from experts.engines.local.sampling import draw
from experts.engines.local.scoring import Scorer
from experts.engines.local.sessions import Sessions
from experts.engines.requests import TokenId


class Decoder:
    """Answers jobs with one model.

    Args:
        scorer: says which tokens are critical; None if no job asks for that.
        sessions: where keys and values wait for the request that continues an answer.
        added: the tokens that the vocabulary was extended by; to jobs that do not name them they do not exist.
    """

    def __init__(
        self, model: Any, scorer: Scorer | None, sessions: Sessions, added: Callable[[], frozenset[TokenId]]
    ) -> None:
        self._model, self._scorer, self._sessions, self._added = model, scorer, sessions, added
        self._splits = can_split(model)

    @torch.inference_mode()
    def run(
        self, jobs: Sequence[Job], shrunk: Callable[[Sequence[int]], None], joined: Callable[[int], bool]
    ) -> list[Job]:
        """One pass over what is new in the prompts, then one token a step with a key-value cache.

        A job that ends leaves the batch; a session's keys and values stay in ``sessions``.

        Args:
            shrunk: called with the rows that stay when others leave.
            joined: whether others want to join so many jobs that run.

        Returns:
            The jobs that have not ended, to be run again with those that join them.
        """
        running = list(jobs)
        pasts = [job.past or self._sessions.take(job.request) for job in running]
        batch = Batch(self._model, [job.tokens for job in running], pasts)
        del pasts
        for job in running:
            job.past = None
        while True:
            logits = batch.logits()
            draws = self._draws(logits, running)
            kept = [row for row, (job, drawn) in enumerate(zip(running, draws, strict=True)) if job.advance(drawn)]
            if self._splits:
                self._keep(batch, [(row, job) for row, job in enumerate(running) if row not in set(kept)])
                if kept and joined(len(kept)):
                    for row in kept:
                        running[row].past = batch.past(row, running[row].tokens)
                    return [running[row] for row in kept]
            if not kept:
                return []
            if len(kept) < len(running):
                shrunk(kept)
                running = [running[row] for row in kept]
            batch.go_on(kept, [job.last_token for job in running])

    def _draws(self, logits: Tensor, jobs: Sequence[Job]) -> list[Draw]:
        if added := self._added():
            for row, job in enumerate(jobs):
                logits[row, list(added - job.sampler.named)] = -torch.inf
        draws = draw(logits, [job.sampler for job in jobs])
        scored = [row for row, job in enumerate(jobs) if job.is_scored]
        if scored:
            assert self._scorer is not None, "requests that need a token router are refused without one"
            for row, score in zip(scored, self._scorer.scores(logits, scored), strict=True):
                draws[row] = replace(draws[row], criticality=score)
        return draws

    def _keep(self, batch: Batch, ended: Sequence[tuple[int, Job]]) -> None:
        for row, job in ended:
            if job.is_continued:
                self._sessions.keep(job.request, batch.past(row, job.tokens))


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
