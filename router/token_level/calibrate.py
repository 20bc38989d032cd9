"""Thresholds for shares of the large model's tokens, on prompts that are used for nothing else.

The share of a real run differs from the share over teacher-forced positions: what the pair writes is not what the
large model wrote. So thresholds are sought by running the pair; where that is too dear, by the labels.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import torch
from torch import Tensor

from experts.defer.files import ShareThreshold

ShareAt = Callable[[float], Awaitable[float]]
_NEAR = 0.95
_ROUNDS = 7


def by_labels(scores: Tensor, shares: Sequence[float]) -> list[ShareThreshold]:
    """For each share the threshold that so many of the teacher-forced positions reach; scores [n]."""
    ordered = scores.double().sort(descending=True).values
    return [ShareThreshold(share=share, threshold=_at(ordered, share)) for share in sorted(shares)]


async def by_runs(scores: Tensor, shares: Sequence[float], share_at: ShareAt) -> list[ShareThreshold]:
    """For each share the threshold whose real run comes nearest to it from below.

    Args:
        scores: of teacher-forced positions, [n]; they say where to look.
        share_at: runs the pair at a threshold and returns the large model's share of the tokens.
    """
    ordered = scores.double().sort(descending=True).values
    seen: dict[float, float] = {}  # fraction of the teacher-forced positions -> share of the run

    async def measured(fraction: float) -> float:
        if fraction not in seen:
            seen[fraction] = await share_at(_at(ordered, fraction))
        return seen[fraction]

    found = []
    for share in sorted(shares):
        low = max((f for f, s in seen.items() if s <= share), default=0.0)
        high = min((f for f, s in seen.items() if s > share and f > low), default=1.0)
        guess = min(share, (low + high) / 2) if low < share < high else (low + high) / 2
        for _ in range(_ROUNDS):
            got = await measured(guess)
            low, high = (guess, high) if got <= share else (low, guess)
            if _NEAR * share <= got <= share:
                break
            # What the run gave tells how far to go; in doubt halfway.
            scaled = guess * share / got * 0.99 if got else 2 * guess
            guess = scaled if low < scaled < high else (low + high) / 2
        found.append(ShareThreshold(share=share, threshold=_at(ordered, low)))
    return found


def _at(ordered: Tensor, fraction: float) -> float:
    """The threshold that this fraction of the scores reaches, halfway to the next lower score, so that rounding does not
    decide; above all of them for none."""
    count = round(fraction * len(ordered))
    if count == 0:
        return float(torch.nextafter(ordered[0].float(), torch.tensor(torch.inf)))
    last, following = min(count, len(ordered)) - 1, min(count, len(ordered) - 1)
    return float((ordered[last] + ordered[following]) / 2)
