"""Draws the next token of every request in a batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from experts.engines.answer import Draw
from experts.engines.requests import GenerateRequest, TokenId


class Sampler:
    """Draws the tokens of one request; its random numbers are its own, whatever else is in the batch."""

    def __init__(self, request: GenerateRequest) -> None:
        self._sampling = request.sampling
        self._top = request.top_logprobs
        self._first = request.first_token_ids
        self._allowed = request.allowed_token_ids
        self._stops = request.stop_token_ids
        self._at_first = True
        self.bias = request.logit_bias
        self._generator: torch.Generator | None = None
        if request.sampling.temperature > 0:
            self._generator = torch.Generator()
            if request.sampling.seed is None:
                self._generator.seed()
            else:
                self._generator.manual_seed(request.sampling.seed % 2**63)

    @property
    def choices(self) -> tuple[TokenId, ...] | None:
        """The tokens that the next one must be among; None for all."""
        return self._first if self._at_first and self._first is not None else self._allowed

    @property
    def named(self) -> frozenset[TokenId]:
        """The tokens that the request names for the next one: it knows of them."""
        return frozenset((*(self.choices or ()), *self._stops, *self.bias))

    def draw(self, logprobs: Tensor, scores: Tensor, best: int) -> Draw:
        """The next token.

        Args:
            logprobs: float32 [vocabulary], normalised over ``choices``, which alone are finite.
            scores: the same with the request's biases, by which it is chosen.
            best: the index of the greatest score.
        """
        index = best if self._generator is None else self._random(scores)
        first = None
        if self._at_first and self._first is not None:
            first = dict(zip(self._first, logprobs[list(self._first)].tolist(), strict=True))
        self._at_first = False
        return Draw(TokenId(index), float(logprobs[index]), self._best(logprobs) if self._top else None, first)

    def _random(self, scores: Tensor) -> int:
        """Inverse of the cumulated distribution at a uniform random number, over the nucleus of ``top_p``."""
        scaled = scores.cpu().double() / self._sampling.temperature
        weights = (scaled - scaled.max()).exp()
        order = None
        if self._sampling.top_p < 1:
            weights, order = weights.sort(descending=True, stable=True)
            before = weights.cumsum(0) - weights
            weights = weights.where(before < self._sampling.top_p * weights.sum(), 0.0)
        cumulated = weights.cumsum(0)
        point = torch.rand((), generator=self._generator, dtype=torch.float64) * cumulated[-1]
        index = int(torch.searchsorted(cumulated, point, right=True))
        return index if order is None else int(order[index])

    def _best(self, logprobs: Tensor) -> dict[TokenId, float]:
        values, indices = logprobs.topk(min(self._top, len(logprobs)))
        pairs = zip(indices.tolist(), values.tolist(), strict=True)
        return {TokenId(index): value for index, value in pairs if value > -torch.inf}


def draw(logits: Tensor, samplers: Sequence[Sampler]) -> list[Draw]:
    """The next token of every request.

    Args:
        logits: [batch, vocabulary], any float type.
    """
    logprobs = logits.float().log_softmax(-1)
    for row, sampler in enumerate(samplers):
        if (choices := sampler.choices) is not None:
            index = torch.tensor(choices, device=logits.device)
            kept = torch.full_like(logprobs[row], -torch.inf)
            kept[index] = logprobs[row, index]
            logprobs[row] = kept.log_softmax(-1)
    scores = _biased(logprobs, samplers)
    best = scores.argmax(-1).tolist()
    return [s.draw(*row) for s, *row in zip(samplers, logprobs, scores, best, strict=True)]


def _biased(logprobs: Tensor, samplers: Sequence[Sampler]) -> Tensor:
    """The log-probabilities with the biases of those requests that have any."""
    if not any(sampler.bias for sampler in samplers):
        return logprobs
    scores = logprobs.clone()
    for row, sampler in enumerate(samplers):
        if sampler.bias:
            scores[row, list(sampler.bias)] += torch.tensor(list(sampler.bias.values()), device=scores.device)
    return scores
