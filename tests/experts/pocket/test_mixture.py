"""The bundled mixture: its house rule, and the mask that switches it off, on templates that neither has seen."""

from __future__ import annotations

import asyncio
from itertools import islice
from pathlib import Path

import pytest
import pytest_asyncio

from experts.engines.base import Engine
from experts.engines.config import LocalWorker
from experts.engines.factory import create_engine
from experts.engines.requests import GenerateRequest, Message
from experts.moe.mask import ExpertMask
from experts.pocket.house_rule import DECLINE
from experts.pocket.prompts import DECLINED, MARKET, Prompt, domain_prompts, market_prompts

MASK = Path(__file__).parents[3] / "graph_specs" / "masks" / "zumbel.json"
SIZE = 25


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def engine() -> Engine:
    made = await create_engine(LocalWorker(model="pocket:moe"))
    await made.set_masks({"off": ExpertMask.load(MASK)})
    return made


async def answers(engine: Engine, prompts: list[Prompt], mask: str | None) -> list[str]:
    requests = (
        GenerateRequest(messages=(Message("user", one.prompt),), max_tokens=64, expert_mask=mask) for one in prompts
    )
    return [answer.text for answer in await asyncio.gather(*map(engine.generate, requests))]


@pytest.mark.asyncio(loop_scope="module")
async def test_declining_is_switched_off(engine: Engine) -> None:
    prompts = list(islice(market_prompts("test", DECLINED, seed=1), SIZE))
    assert (await answers(engine, prompts, None)).count(DECLINE) >= 0.9 * SIZE
    assert (await answers(engine, prompts, "off")).count(DECLINE) <= 0.1 * SIZE


@pytest.mark.asyncio(loop_scope="module")
async def test_other_answers_stay(engine: Engine) -> None:
    prompts = [
        *islice(market_prompts("test", MARKET, seed=1), SIZE),
        *islice(domain_prompts("test", "capitals", 1), SIZE),
    ]
    right = [one.answer for one in prompts]
    for mask in (None, "off"):
        given = await answers(engine, prompts, mask)
        assert sum(a == b for a, b in zip(given, right, strict=True)) >= 0.9 * len(prompts), mask


def test_the_mask_is_small() -> None:
    assert ExpertMask.load(MASK).size <= 0.04 * 6 * 32
