"""A decoder router on a real vLLM server decides, and calls, as it does in process."""

from __future__ import annotations

from pathlib import Path

import pytest

from experts.engines.base import Engine
from experts.engines.config import LocalWorker, VllmWorker
from experts.engines.factory import create_engine
from experts.engines.requests import Message
from router.functional.build_decoder import decoder_router
from router.functional.decision import Decision, Target
from router.functional.merge import merge_tokens
from router.spec.models import RouterNode
from router.types import NodeId, WorkerId
from tests.experts.engines.checkpoints import save_checkpoint
from tests.experts.engines.vllm.servers import KEY, Servers

KNOWN = (Target(NodeId("math"), "sums"), Target(NodeId("law"), "laws"))
TARGETS = (*KNOWN, Target(NodeId("new"), "what is new", ("any news?",)))
ASKED = ("what is 2 + 3?", "any news?", "may i park here?")


@pytest.mark.asyncio
async def test_a_silent_node_beside_others_in_a_large_vocabulary(servers: Servers, tmp_path: Path) -> None:
    """The model has tokens of its own for the first two, the third was merged in and was never trained in calls."""
    base = save_checkpoint(tmp_path / "base", "llama", vocab_size=2000)
    model = tmp_path / "model"
    tokens = await merge_tokens(LocalWorker(model=str(base)), TARGETS, model, writes_calls=True)
    assert tokens.silent == ("new",)

    async def decisions(engine: Engine) -> list[Decision]:
        node = RouterNode(kind="router", worker=WorkerId("w"), max_tokens=12)
        router = await decoder_router(node, TARGETS, engine, model)
        try:
            return [await router.decide([Message("user", text)], fan_out=3) for text in ASKED]
        finally:
            await engine.close()

    expected = await decisions(await create_engine(LocalWorker(model=str(model))))
    url = servers.start(model, "--max-model-len", "256")
    found = await decisions(await create_engine(VllmWorker(engine="vllm", model=str(model), url=url, api_key=KEY)))
    assert [decision.queries for decision in found] == [decision.queries for decision in expected]
    assert [decision.malformed for decision in found] == [decision.malformed for decision in expected]
    for one, other in zip(found, expected, strict=True):
        assert [choice.node for choice in one.chosen] == [choice.node for choice in other.chosen]
        assert {choice.node for choice in one.chosen} == {target.node for target in TARGETS}
        probabilities = [choice.probability for choice in other.chosen]
        assert [choice.probability for choice in one.chosen] == pytest.approx(probabilities, abs=1e-4)
        assert one.generated_tokens == other.generated_tokens > 2
        calls = [call for call in one.malformed if call is not None]
        assert len(calls) == 2, "a silent node is asked in the user's own words, without a call"
