from __future__ import annotations

import math
from collections import Counter

import pytest
import torch

from experts.engines.answer import Draw
from experts.engines.local.sampling import Sampler, draw
from experts.engines.requests import GenerateRequest, Sampling, TokenId

PROBABILITIES = (0.5, 0.3, 0.15, 0.05)
LOGITS = torch.tensor(PROBABILITIES).log()[None] + 3


def drawn(count: int, **changes: object) -> list[Draw]:
    sampler = Sampler(GenerateRequest(**changes))  # type: ignore[arg-type]
    return [draw(LOGITS, [sampler])[0] for _ in range(count)]


def shares(draws: list[Draw]) -> list[float]:
    counts = Counter(d.token for d in draws)
    return [counts[TokenId(token)] / len(draws) for token in range(4)]


def test_greedy() -> None:
    (one,) = drawn(1)
    assert one.token == 0
    assert one.logprob == pytest.approx(math.log(0.5))


def test_frequencies_follow_the_probabilities() -> None:
    found = shares(drawn(3000, sampling=Sampling(1.0, seed=0)))
    assert found == pytest.approx(PROBABILITIES, abs=0.03)


def test_temperature_sharpens_but_logprobs_stay() -> None:
    draws = drawn(3000, sampling=Sampling(0.5, seed=0))
    squares = [p * p for p in PROBABILITIES]
    assert shares(draws) == pytest.approx([s / sum(squares) for s in squares], abs=0.03)
    assert {d.token: d.logprob for d in draws}[TokenId(1)] == pytest.approx(math.log(0.3))


def test_nucleus_keeps_the_token_that_crosses_top_p() -> None:
    found = shares(drawn(3000, sampling=Sampling(1.0, top_p=0.7, seed=0)))
    assert found == pytest.approx((0.625, 0.375, 0, 0), abs=0.03)


def test_restrictions_renormalise() -> None:
    allowed = (TokenId(1), TokenId(2))
    first, second = drawn(2, allowed_token_ids=allowed, first_token_ids=(TokenId(3), TokenId(2)), top_logprobs=4)
    assert first.token == 2
    assert second.token == 1
    assert first.first == pytest.approx({3: math.log(0.25), 2: math.log(0.75)})
    assert second.first is None
    assert second.top == pytest.approx({1: math.log(2 / 3), 2: math.log(1 / 3)})


def test_biases_choose_but_logprobs_stay_the_models() -> None:
    one, other = draw(
        LOGITS.expand(2, -1), [Sampler(GenerateRequest(logit_bias={TokenId(3): 5.0})), Sampler(GenerateRequest())]
    )
    assert (one.token, other.token) == (3, 0)
    assert one.logprob == pytest.approx(math.log(0.05))
    found = shares(drawn(3000, sampling=Sampling(1.0, seed=0), logit_bias={TokenId(0): -100.0}))
    assert found == pytest.approx((0, 0.6, 0.3, 0.1), abs=0.03)


def test_rows_do_not_disturb_each_other() -> None:
    requests = [GenerateRequest(sampling=Sampling(1.0, seed=s)) for s in range(4)]
    alone = [[draw(LOGITS, [sampler])[0].token for _ in range(5)] for sampler in map(Sampler, requests)]
    samplers = [Sampler(request) for request in requests]
    steps = [draw(LOGITS.repeat(4, 1), samplers) for _ in range(5)]
    assert [[step[row].token for step in steps] for row in range(4)] == alone
