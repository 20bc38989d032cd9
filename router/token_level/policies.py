"""Who says which tokens are critical: the trained router, and what it is measured against.

All answer one question from the same features: how critical is this place? Greater means sooner to the large model;
where the line is drawn is calibrated, for each policy on the same prompts to the same share.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from experts.defer.features import Features
from experts.defer.network import TokenRouter
from experts.engines.requests import TokenId
from router.token_level.problems import Problem

_EVIDENCE = 10


@dataclass(frozen=True)
class Context:
    """A place within a run.

    Attributes:
        written: the answer so far.
        proposal: what the small model would write.
        reference: what the large model would write.
    """

    problem: Problem
    prompt: tuple[TokenId, ...]
    written: tuple[TokenId, ...]
    proposal: TokenId
    reference: TokenId


@dataclass(frozen=True)
class Places:
    """n places of answers.

    Attributes:
        first: the features at the first place of the same answer.
        problem: a number of the problem, int64 [n].
        position: of the place in its answer, int64 [n].
        contexts: of places in a run, [n]; empty for labelled positions.
    """

    features: Features
    first: Features
    problem: Tensor
    position: Tensor
    contexts: Sequence[Context] = ()


class Policy(Protocol):
    """Scores places."""

    @property
    def name(self) -> str: ...

    async def scores(self, places: Places) -> Tensor:
        """The criticality of each place, float32 [n]; the greater the more critical."""
        ...

    def activated(self, small: int, large: int, share: float) -> float:
        """Weights used per token of the answer.

        Args:
            small: weights that the small model uses per token.
            large: the same of the large model.
            share: of the tokens that the large model writes.
        """
        ...


class _TokenPolicy:
    """The small model proposes every token; the large one writes some of them."""

    name: str
    parameters = 0

    def activated(self, small: int, large: int, share: float) -> float:
        return small + self.parameters + share * large


class Router(_TokenPolicy):
    """The trained network."""

    name = "router"

    def __init__(self, network: TokenRouter) -> None:
        self._network = network
        self.parameters = network.shape.parameters

    @torch.inference_mode()
    async def scores(self, places: Places) -> Tensor:
        read = replace(places.features, top_logits=places.features.top_logits[:, : self._network.shape.top_k])
        return self._network(read).sigmoid()  # type: ignore[no-any-return]


class Entropy(_TokenPolicy):
    """Entropy of the small model's next token, over its greatest logits."""

    name = "entropy"

    async def scores(self, places: Places) -> Tensor:
        logprobs = places.features.top_logits.log_softmax(-1)
        return -(logprobs.exp() * logprobs).sum(-1)


class Margin(_TokenPolicy):
    """How close the two most probable tokens are: 1 minus the difference of their probabilities."""

    name = "margin"

    async def scores(self, places: Places) -> Tensor:
        best = places.features.top_logits.softmax(-1)
        return 1 - (best[:, 0] - best[:, 1])


class Aleatoric(_TokenPolicy):
    """Aleatoric uncertainty with the ten greatest logits as the evidence of a Dirichlet distribution (Ma et al. 2025,
    "Estimating LLM Uncertainty with Evidence")."""

    name = "aleatoric"

    async def scores(self, places: Places) -> Tensor:
        evidence = places.features.top_logits[:, :_EVIDENCE].clamp_min(1e-6).double()
        total = evidence.sum(-1, keepdim=True)
        spread = torch.digamma(evidence + 1) - torch.digamma(total + 1)
        return -(evidence / total * spread).sum(-1).float()


class Random(_TokenPolicy):
    """A random share of the places; equal seeds choose the same ones."""

    name = "random"

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed

    async def scores(self, places: Places) -> Tensor:
        pairs = zip(places.problem.tolist(), places.position.tolist(), strict=True)
        return torch.tensor([self._uniform(*pair) for pair in pairs])

    def _uniform(self, problem: int, position: int) -> float:
        digest = hashlib.blake2b(f"{self._seed}/{problem}/{position}".encode(), digest_size=4).digest()
        return int.from_bytes(digest, "big") / 2**32


class QueryLevel:
    """One decision a query, before the first token: who answers all of it (as RouteLLM and its kind do).

    Logistic regression on the small model's state after the prompt; it learns whether anything that the small model
    would write is divergent.

    Args:
        weights: [width].
    """

    name = "query level"

    def __init__(self, weights: Tensor, bias: float) -> None:
        self._weights, self._bias = weights, bias

    async def scores(self, places: Places) -> Tensor:
        return (places.first.hidden @ self._weights + self._bias).sigmoid()

    def activated(self, small: int, large: int, share: float) -> float:
        return (1 - share) * small + share * large

    @classmethod
    def fit(cls, hidden: Tensor, diverges: Tensor, strength: float = 1.0) -> QueryLevel:
        """Learns from queries.

        Args:
            hidden: float32 [queries, width].
            diverges: whether an answer has a divergent position, float32 [queries].
            strength: of the L2 penalty, on standardised inputs.
        """
        mean, deviation = hidden.mean(0), hidden.std(0).clamp_min(1e-6)
        inputs = ((hidden - mean) / deviation).double()
        free = torch.zeros(hidden.shape[1] + 1, dtype=torch.float64, requires_grad=True)
        optimiser = torch.optim.LBFGS([free], max_iter=200, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimiser.zero_grad()
            logits = inputs @ free[:-1] + free[-1]
            likelihood = torch.nn.functional.binary_cross_entropy_with_logits(
                logits, diverges.double(), reduction="sum"
            )
            total = likelihood + strength * (free[:-1] ** 2).sum() / 2
            total.backward()  # type: ignore[no-untyped-call]
            return total

        optimiser.step(loss)  # type: ignore[no-untyped-call]
        weights = free[:-1].detach().float() / deviation
        return cls(weights, float(free[-1].detach()) - float(weights @ mean))


class Always(_TokenPolicy):
    """One model alone."""

    def __init__(self, *, large: bool) -> None:
        self.name = "large only" if large else "small only"
        self._large = large

    async def scores(self, places: Places) -> Tensor:
        return torch.full_like(places.position, int(self._large), dtype=torch.float32)

    def activated(self, small: int, large: int, share: float) -> float:
        return float(large if self._large else small)
