"""The best that a token router could do: labels, made while the pair writes."""

from __future__ import annotations

import torch
from torch import Tensor

from experts.engines.base import Engine
from router.token_level.branches import Mismatch, branches
from router.token_level.checkers import Verifier
from router.token_level.large import Continuation, large_of
from router.token_level.policies import Places


class Oracle:
    """Critical are the places where the large model, going on from the small model's token, does not come to the right
    answer: what labelling finds out, asked at every mismatch of the run itself.

    It knows the answers, so it is no router but a bound on them. Its scores are 0 or 1; its share cannot be chosen.
    """

    name = "oracle"

    def __init__(self, large: Engine, verifier: Verifier, max_tokens: int) -> None:
        self._engine, self._large, self._verifier = large, large_of(large), verifier
        self._how = Continuation(max_tokens=max_tokens)

    async def scores(self, places: Places) -> Tensor:
        critical = torch.zeros(len(places.contexts))
        parted = [(row, one) for row, one in enumerate(places.contexts) if one.proposal != one.reference]
        mismatches = [
            Mismatch(one.problem, one.prompt, (*one.written, one.reference), len(one.written), one.proposal)
            for _, one in parted
        ]
        found = await branches(self._engine, self._large, mismatches, self._how)
        for (row, one), branch in zip(parted, found, strict=True):
            critical[row] = not await self._verifier.grade(one.problem, branch.prefix + branch.proposal)
        return critical

    def activated(self, small: int, large: int, share: float) -> float:
        return small + share * large
