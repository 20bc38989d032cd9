"""Both models of a pair side by side in this process, many answers at a time: what policies are measured with.

Both compute every position of the same growing answers, and a policy decides whose token is taken. That spends more than
a served pair does (there the large model computes only where it is called), but a hundred answers share each step, and a
policy may know both proposals. Greedy. What a served pair writes is the same: ``router.token_level.loop``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from experts.defer.features import TOP_K, Features, features, proposals
from experts.engines.local.batch import Batch
from experts.engines.requests import TokenId
from router.token_level.policies import Context, Places, Policy
from router.token_level.problems import Problem
from router.token_level.teacher import reading_hidden

if TYPE_CHECKING:
    from experts.engines.local.engine import LocalEngine


@dataclass
class PairAnswer:
    """What a pair wrote: tokens, who wrote each, and how critical each was."""

    problem: Problem
    prompt: tuple[TokenId, ...]
    tokens: list[TokenId] = field(default_factory=list)
    by_large: list[bool] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Lockstep:
    """Runs a pair.

    Attributes:
        max_tokens: of an answer.
        batch: answers that grow at the same time.
    """

    small: LocalEngine
    large: LocalEngine
    max_tokens: int
    system: str | None = None
    batch: int = 128

    async def run(self, problems: Sequence[Problem], policy: Policy, threshold: float) -> list[PairAnswer]:
        """Answers all problems; tokens that score at or above the threshold are the large model's."""
        answers = [
            PairAnswer(problem, self.small.render(problem.request(self.system, self.max_tokens)))
            for problem in problems
        ]
        for begin in range(0, len(answers), self.batch):
            await self._run(answers[begin : begin + self.batch], begin, policy, threshold)
        return answers

    async def _run(self, answers: list[PairAnswer], begin: int, policy: Policy, threshold: float) -> None:
        small, large = _Half(self.small), _Half(self.large)
        ends = {*self.small.info.end_ids, *self.large.info.end_ids}
        running, numbers = answers, torch.arange(begin, begin + len(answers))
        kept = list(range(len(answers)))
        first: Features | None = None
        for position in range(self.max_tokens):
            tokens = [answer.tokens[-1] if answer.tokens else None for answer in running]
            own, proposed = await small.step(running, kept, tokens)
            _, reference = await large.step(running, kept, tokens)
            first = own if first is None else _rows(first, kept)
            contexts = [
                Context(answer.problem, answer.prompt, tuple(answer.tokens), a, b)
                for answer, a, b in zip(running, proposed, reference, strict=True)
            ]
            places = Places(own, first, numbers, torch.full_like(numbers, position), contexts)
            scores = (await policy.scores(places)).tolist()
            for answer, score, context in zip(running, scores, contexts, strict=True):
                critical = score >= threshold
                answer.tokens.append(context.reference if critical else context.proposal)
                answer.by_large.append(critical)
                answer.scores.append(score)
            kept = [
                row for row, answer in enumerate(running)
                if answer.tokens[-1] not in ends and len(answer.prompt) + position + 1 < self._context
            ]  # fmt: skip
            if not kept:
                return
            running, numbers = [running[row] for row in kept], numbers[kept]

    @property
    def _context(self) -> int:
        return min(self.small.info.context_length, self.large.info.context_length)


class _Half:
    """One model of the pair and its cache."""

    def __init__(self, engine: LocalEngine) -> None:
        self._engine = engine
        self._batch: Batch | None = None

    async def step(
        self, answers: Sequence[PairAnswer], kept: Sequence[int], tokens: Sequence[TokenId | None]
    ) -> tuple[Features, list[TokenId]]:
        """Feeds the newest tokens of the answers that remain; what is known of the next place of each."""
        return await self._engine.call(lambda model: self._step(model, answers, kept, tokens))

    @torch.inference_mode()
    def _step(
        self, model: Any, answers: Sequence[PairAnswer], kept: Sequence[int], tokens: Sequence[TokenId | None]
    ) -> tuple[Features, list[TokenId]]:
        if self._batch is None:
            self._batch = Batch(model, [answer.prompt for answer in answers], [None] * len(answers))
        else:
            self._batch.go_on(kept, [token for token in tokens if token is not None])
        with reading_hidden(model) as hidden_of:
            logits = self._batch.logits()
            hidden = hidden_of()[:, -1]
        chosen = proposals(logits)
        read = features(hidden, logits, model.get_input_embeddings()(chosen), TOP_K)
        on_cpu = Features(read.hidden.cpu(), read.top_logits.cpu(), read.embeddings.cpu())
        return on_cpu, [TokenId(token) for token in chosen.tolist()]


def _rows(values: Features, rows: Sequence[int]) -> Features:
    index: Tensor = torch.tensor(rows)
    return Features(values.hidden[index], values.top_logits[index], values.embeddings[index])
