"""Measures policies end to end: the accuracy that each reaches with the same share of the large model's tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from experts.defer.files import ShareThreshold
from experts.defer.network import TokenRouter
from router.errors import DataError
from router.token_level import metrics
from router.token_level.calibrate import by_runs
from router.token_level.checkers import Verifier
from router.token_level.dataset import LabelledRows, Rows
from router.token_level.lockstep import Lockstep, PairAnswer
from router.token_level.oracle import Oracle
from router.token_level.policies import Aleatoric, Always, Entropy, Margin, Places, Policy, QueryLevel, Random, Router
from router.token_level.problems import Problem
from router.token_level.progress import Progress, Report, silent

_ROWS_AT_ONCE = 65536


@dataclass(frozen=True)
class Outcome:
    """One policy at one share.

    Attributes:
        target: the share that its threshold was calibrated to; None where nothing can be chosen.
        share: of the test run's tokens that the large model wrote.
        accuracy: share of the test prompts that were answered right.
        recovered: of the gap in accuracy between the small and the large model; None if there is no gap.
        activated: weights used per token.
        relative: the same as a share of the large model's.
    """

    policy: str
    target: float | None
    threshold: float | None
    share: float
    accuracy: float
    recovered: float | None
    activated: float
    relative: float


@dataclass(frozen=True)
class Quality:
    """How well a policy's scores tell divergent positions of held-out responses from harmless ones.

    Attributes:
        recall: share of the divergent positions that reach the threshold of a share, by the share.
        positive_rate: share of all positions that reach it.
        calibration_error: of scores that are probabilities; None for others.
    """

    policy: str
    auc: float
    recall: dict[str, float]
    positive_rate: dict[str, float]
    calibration_error: float | None = None


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        problems: number of test prompts.
        positions: number of labelled test positions.
        divergent: how many of them are divergent.
    """

    problems: int
    positions: int
    divergent: int
    outcomes: tuple[Outcome, ...]
    qualities: tuple[Quality, ...]


@dataclass(frozen=True)
class Evaluator:
    """What is needed to measure policies of one pair.

    Attributes:
        verifier: grades answers, so it has to be a task checker.
        embeddings: the small model's table, [vocabulary, width].
    """

    pair: Lockstep
    verifier: Verifier
    embeddings: Tensor
    report: Report = silent

    async def evaluate(
        self, router: TokenRouter, train: LabelledRows, calibration: tuple[LabelledRows, Sequence[Problem]],
        test: tuple[LabelledRows, Sequence[Problem]], shares: Sequence[float], seed: int = 0,
    ) -> Evaluation:  # fmt: skip
        """Measures all policies.

        Args:
            train: what the query-level baseline learns from.
            calibration: labelled positions and prompts for the thresholds.
            test: labelled positions and prompts that nothing else has seen.
            shares: of the large model's tokens.
        """
        rows, held_out = calibration[0].whole(), test[0].whole()
        learnt: tuple[Policy, ...] = (
            Router(router),
            Entropy(),
            Margin(),
            Aleatoric(),
            Random(seed),
            self.query_level(train),
        )
        steps = 3 + len(learnt)
        names = ["small only", "large only", "oracle", *(policy.name for policy in learnt)]

        def tell(step: int) -> None:
            self.report(Progress("measuring", step, steps, names[step] if step < steps else ""))

        oracle = Oracle(self.pair.large, self.verifier, self.pair.max_tokens)
        base: tuple[tuple[Policy, float], ...] = ((Always(large=False), 0.5), (Always(large=True), 0.5), (oracle, 0.5))
        found: list[tuple[Policy, float | None, float, float, float]] = []
        qualities = []
        for step, (policy, threshold) in enumerate(base):
            tell(step)
            found.append((policy, None, threshold, *await self.measure(policy, threshold, test[1])))
        for step, policy in enumerate(learnt, start=len(base)):
            tell(step)
            thresholds = await self.thresholds(policy, rows, calibration[1], shares)
            for share, threshold in ((entry.share, entry.threshold) for entry in thresholds):
                measured = await self.measure(policy, threshold, test[1])
                found.append((policy, share, threshold, *measured))
            qualities.append(await self.quality(policy, held_out, thresholds))
        tell(steps)
        accuracy = {policy.name: right for policy, _, _, _, right in found[:2]}
        gap = (accuracy["small only"], accuracy["large only"])
        outcomes = tuple(self._outcome(*one, gap) for one in found)
        return Evaluation(len(test[1]), len(held_out), int(held_out.divergent.sum()), outcomes, tuple(qualities))

    async def thresholds(
        self, policy: Policy, rows: Rows, problems: Sequence[Problem], shares: Sequence[float]
    ) -> list[ShareThreshold]:
        """Thresholds for shares, from real runs on the calibration prompts."""
        scores = await self.scores(policy, rows)

        async def share_at(threshold: float) -> float:
            return large_share(await self.pair.run(problems, policy, threshold))

        return await by_runs(scores, shares, share_at)

    async def measure(self, policy: Policy, threshold: float, problems: Sequence[Problem]) -> tuple[float, float]:
        """Share of the large model's tokens and share of right answers.

        Raises:
            DataError: the answers cannot be graded.
        """
        answers = await self.pair.run(problems, policy, threshold)
        right = 0
        for answer in answers:
            graded = await self.verifier.grade(answer.problem, self.pair.large.decode(answer.tokens, plain=True))
            if graded is None:
                raise DataError("the test prompts", "an `answer` for each, and a task checker", "none")
            right += graded
        return large_share(answers), right / len(answers)

    async def scores(self, policy: Policy, rows: Rows) -> Tensor:
        """The scores of labelled positions, float32 [n]."""
        parts = []
        for index in torch.split(torch.arange(len(rows)), _ROWS_AT_ONCE):
            first = rows.first[index]
            places = Places(
                rows.features(index, self.embeddings), rows.features(first, self.embeddings), rows.problem[index],
                index - first,
            )  # fmt: skip
            parts.append(await policy.scores(places))
        return torch.cat(parts)

    async def quality(self, policy: Policy, rows: Rows, thresholds: Sequence[ShareThreshold]) -> Quality:
        """How well a policy ranks labelled positions."""
        scores = await self.scores(policy, rows)
        recall = {f"{t.share:g}": metrics.recall(scores, rows.divergent, t.threshold) for t in thresholds}
        positive = {f"{t.share:g}": metrics.positive_rate(scores, t.threshold) for t in thresholds}
        error = metrics.calibration_error(scores, rows.divergent) if isinstance(policy, Router) else None
        return Quality(policy.name, metrics.auc(scores, rows.divergent), recall, positive, error)

    def query_level(self, train: LabelledRows) -> QueryLevel:
        """The query-level baseline, taught by the same labels as the router."""
        hidden, diverges = [], []
        for rows in train.portions():
            starts = (rows.first == torch.arange(len(rows))).nonzero().squeeze(-1)
            worst = torch.zeros(len(rows)).scatter_reduce(0, rows.first, rows.divergent, "amax")
            hidden.append(rows.hidden[starts].float())
            diverges.append(worst[starts])
        return QueryLevel.fit(torch.cat(hidden), torch.cat(diverges))

    def _outcome(
        self, policy: Policy, target: float | None, threshold: float, share: float, right: float,
        gap: tuple[float, float],
    ) -> Outcome:  # fmt: skip
        small, large = self.pair.small.info.activated_parameters, self.pair.large.info.activated_parameters
        activated = policy.activated(small, large, share)
        recovered = None if gap[0] == gap[1] else (right - gap[0]) / (gap[1] - gap[0])
        return Outcome(
            policy.name, target, None if target is None else threshold, share, right, recovered, activated,
            activated / large,
        )  # fmt: skip


def large_share(answers: Sequence[PairAnswer]) -> float:
    """Share of all tokens that the large model wrote."""
    total = sum(len(answer.tokens) for answer in answers)
    return sum(sum(answer.by_large) for answer in answers) / total
