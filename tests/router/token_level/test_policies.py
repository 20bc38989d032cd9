from __future__ import annotations

import pytest
import torch
from torch import Tensor

from experts.defer.features import Features
from router.token_level.policies import Aleatoric, Entropy, Margin, Places, Policy, QueryLevel, Random


def places(top_logits: Tensor) -> Places:
    n = len(top_logits)
    hidden = torch.randn(n, 4, generator=torch.Generator().manual_seed(0))
    read = Features(hidden, top_logits, hidden)
    return Places(read, read, torch.arange(n), torch.zeros(n, dtype=torch.long))


CERTAIN, TORN, VAGUE = [12.0, 1.0, 0.5, 0.1], [6.0, 5.9, 0.5, 0.1], [2.0, 1.9, 1.8, 1.7]


@pytest.mark.parametrize("policy", [Entropy(), Margin(), Aleatoric()])
async def test_uncertain_places_score_higher(policy: Policy) -> None:
    certain, vague = (await policy.scores(places(torch.tensor([CERTAIN, VAGUE])))).tolist()
    assert certain < vague


async def test_known_values() -> None:
    two = places(torch.tensor([[3.0, 3.0]]))
    assert float(await Entropy().scores(two)) == pytest.approx(0.6931, abs=1e-4)
    assert float(await Margin().scores(two)) == pytest.approx(1.0)
    # -sum p (digamma(a + 1) - digamma(a0 + 1)) with a = 3, 3: digamma(7) - digamma(4) = 1/4 + 1/5 + 1/6
    assert float(await Aleatoric().scores(two)) == pytest.approx(1 / 4 + 1 / 5 + 1 / 6, abs=1e-4)


async def test_only_two_candidates_are_no_doubt_for_the_margin_alone() -> None:
    torn, vague = (await Margin().scores(places(torch.tensor([TORN, VAGUE])))).tolist()
    assert torn == pytest.approx(vague, abs=0.1)
    torn, vague = (await Entropy().scores(places(torch.tensor([TORN, VAGUE])))).tolist()
    assert vague > 1.5 * torn


async def test_random_places_are_the_same_with_the_same_seed() -> None:
    many = places(torch.zeros(2000, 2))
    first, again, other = [await Random(seed).scores(many) for seed in (0, 0, 1)]
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert float((first >= 0.9).float().mean()) == pytest.approx(0.1, abs=0.02)


async def test_query_level_learns_from_the_first_place_and_scores_the_whole_answer_alike() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(500, 4, generator=generator) * torch.tensor([1.0, 30.0, 1.0, 1.0])
    policy = QueryLevel.fit(hidden, (hidden[:, 1] > 10).float())
    here = Features(torch.randn(2, 4), torch.zeros(2, 2), torch.zeros(2, 4))
    for first, expected in ((40.0, 1.0), (-40.0, 0.0)):
        start = Features(torch.tensor([[0.0, first, 0.0, 0.0]] * 2), torch.zeros(2, 2), torch.zeros(2, 4))
        scores = await policy.scores(Places(here, start, torch.zeros(2), torch.arange(2)))
        assert scores.tolist() == pytest.approx([expected] * 2, abs=0.02)


def test_what_a_token_costs() -> None:
    assert Entropy().activated(100, 1000, 0.15) == pytest.approx(250)
    assert QueryLevel(torch.zeros(4), 0.0).activated(100, 1000, 0.15) == pytest.approx(235)
