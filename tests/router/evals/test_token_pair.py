"""The pocket pair as it is bundled: its router fits its models, and the graph answers what the small model cannot."""

from __future__ import annotations

import pytest

from experts.defer.files import load_router
from experts.pocket import resolve
from experts.pocket.word_problems.data import fixed_problems
from router.evals.token_pair import GRAPH, ROUTER, served
from router.runtime.router import Router
from router.spec import load_spec
from router.trace import Answered


def test_the_bundled_router_is_small_beside_the_models_and_has_a_threshold_for_its_target() -> None:
    network, file = load_router(ROUTER)
    assert file.target_share in {entry.share for entry in file.thresholds}
    assert file.metrics["test AUC"] >= 0.95
    parameters = sum(p.numel() for p in network.parameters())
    large = (resolve("pair_large") / "model.safetensors").stat().st_size / 4
    small = (resolve("pair_small") / "model.safetensors").stat().st_size / 4
    assert small + parameters + file.target_share * large <= large / 3


async def test_the_graph_solves_held_out_problems_within_its_bound() -> None:
    bound = load_spec(GRAPH).nodes["word_problems"].max_large_share
    found = await served(fixed_problems("test", 40, seed=3))
    assert found.right >= 0.75
    assert 0 < found.share <= 0.2
    assert found.largest <= bound


async def test_one_problem_with_its_steps() -> None:
    question = "Mia has 16 eggs. She eats 3. She sells them for 2 coins each. How many coins does she get?"
    result = await Router.from_file(GRAPH).arun(question)
    answered = result.events[-1]
    assert isinstance(answered, Answered)
    assert result.answer == "26"
    assert "16-3=13" in answered.working
    assert answered.pair.switches == pytest.approx(answered.pair.large_share * answered.generated_tokens)
