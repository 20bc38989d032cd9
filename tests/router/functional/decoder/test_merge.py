"""Functional tokens that nothing was trained for: in a merged checkpoint, and added to a running engine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experts.engines.base import Engine
from experts.engines.config import LocalWorker
from experts.engines.factory import create_engine
from router.functional.build_decoder import decoder_router
from router.functional.decision import Decision, Target
from router.functional.merge import merge_tokens
from router.functional.tokens_file import MODEL_NAME, load_tokens
from router.spec.models import RouterNode
from router.types import NodeId, WorkerId


def decide_all(folder: Path, targets: Sequence[Target], system: str | None, asked: Sequence[Any]) -> list[Decision]:
    """Decisions of a model that holds its tokens itself."""

    async def run(engine: Engine) -> list[Decision]:
        node = RouterNode(kind="router", worker=WorkerId("w"), system=system)
        return await (await decoder_router(node, targets, engine, folder)).decide_many(asked)

    return with_engine(folder, run)


def with_engine(folder: Path, use: Callable[[Engine], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        engine = await create_engine(LocalWorker(model=str(folder)))
        try:
            return await use(engine)
        finally:
            await engine.close()

    return asyncio.run(run())


def right(decisions: Sequence[Decision], nodes: Sequence[str | None]) -> float:
    """Share of decisions for the right node."""
    chosen = [decision.chosen[0].node if decision.chosen else None for decision in decisions]
    return sum(a == b for a, b in zip(chosen, nodes, strict=True)) / len(nodes)


@pytest.mark.parametrize("tied", [False, True])
def test_a_merged_checkpoint_is_the_same_model_with_more_tokens(
    toy: Any, base: Path, tied_base: Path, tmp_path: Path, tied: bool
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = tied_base if tied else base
    worker = LocalWorker(model=str(source))
    tokens = asyncio.run(merge_tokens(worker, toy.TARGETS, tmp_path, system=toy.SYSTEM, abstain="<node_unknown>"))
    assert tokens == load_tokens(tmp_path)
    assert tokens.tokens == {"weather": "<node_0>", "kitchen": "<node_1>", "music": "<node_2>"}
    assert set(tokens.silent) == set(toy.WORDS)
    before, after = (AutoModelForCausalLM.from_pretrained(path) for path in (source, tmp_path))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    ids = tokenizer.convert_tokens_to_ids([*tokens.tokens.values(), "<node_unknown>"])
    assert ids == list(range(len(tokenizer) - 4, len(tokenizer)))
    assert len(tokenizer) == after.config.vocab_size == after.get_output_embeddings().weight.shape[0]
    assert (after.get_output_embeddings().weight is after.get_input_embeddings().weight) == tied
    prompt = tokenizer.apply_chat_template([{"role": "user", "content": "soup"}], add_generation_prompt=True)
    prompt = torch.tensor([prompt["input_ids"]])
    with torch.inference_mode():
        torch.testing.assert_close(after(prompt).logits[..., : ids[0]], before(prompt).logits)


def test_an_untrained_model_routes_its_own_examples_at_once(toy: Any, base: Path, tmp_path: Path) -> None:
    asyncio.run(merge_tokens(LocalWorker(model=str(base)), toy.TARGETS, tmp_path, system=toy.SYSTEM))
    asked = [(toy.ask(example), target.node) for target in toy.TARGETS for example in target.examples]
    for folder in (tmp_path, base):  # merged on disk; and a plain model, extended when the router is built
        tokens = tmp_path if folder == tmp_path else None

        async def run(engine: Engine, tokens: Path | None = tokens) -> list[Decision]:
            node = RouterNode(kind="router", worker=WorkerId("w"), system=toy.SYSTEM)
            router = await decoder_router(node, toy.TARGETS, engine, tokens)
            return await router.decide_many([messages for messages, _ in asked])

        decisions = with_engine(folder, run)
        assert right(decisions, [node for _, node in asked]) == 1
        assert all(d.queries == (messages[0].content,) for d, (messages, _) in zip(decisions, asked, strict=True))


def test_a_new_node_wins_its_own_cases_and_takes_little_from_others(trained: Any, toy: Any, tmp_path: Path) -> None:
    model = trained.folder / MODEL_NAME
    targets = (*toy.TARGETS, toy.SPORT)
    own = [toy.ask(frame.format(word)) for word in toy.SPORT_WORDS for frame in toy.FRAMES]
    others = toy.rows(60, 5)
    asked = [*own, *(row.messages for row in others)]

    def check(decisions: Sequence[Decision]) -> None:
        assert right(decisions[: len(own)], ["sport"] * len(own)) >= 0.8
        # On models as small as this one the others lose up to 20 points, by the accidents of their training.
        assert right(decisions[len(own) :], [row.node for row in others]) >= 0.8

    added = decide_all(model, targets, toy.SYSTEM, asked)
    check(added)
    sport = next(d for d in added if d.chosen and d.chosen[0].node == "sport")
    assert sport.queries == (asked[added.index(sport)][-1].content,), "nothing was trained to follow its token"
    assert any(d.queries == ("SOUP",) for d in added), "trained nodes still get their reformulated query"

    tokens = asyncio.run(merge_tokens(LocalWorker(model=str(model)), targets, tmp_path, system=toy.SYSTEM))
    assert tokens.silent == ("sport",)
    assert tokens.tokens["sport"] == "<node_3>"
    merged = decide_all(tmp_path, targets, toy.SYSTEM, asked)
    assert [d.alternatives[0].node for d in merged] == [d.alternatives[0].node for d in added]
    assert [d.queries for d in merged] == [d.queries for d in added]


def test_two_routers_on_one_engine_keep_their_own_new_tokens(trained: Any, toy: Any) -> None:
    model = trained.folder / MODEL_NAME
    other = Target(NodeId("chess"), "chess", ("is chess good?", "more chess now"))

    async def run(engine: Engine) -> Any:
        node = RouterNode(kind="router", worker=WorkerId("w"), system=toy.SYSTEM)
        asked = [toy.ask(text) for text in (*toy.SPORT.examples, "i like soup", "more soup now")]
        first = await decoder_router(node, (*toy.TARGETS, toy.SPORT), engine, model)
        alone = await first.decide_many(asked)
        second = await decoder_router(node, (*toy.TARGETS, other), engine, model)
        assert first.texts[NodeId("sport")] != second.texts[NodeId("chess")]
        return alone, await first.decide_many(asked)

    alone, beside = with_engine(model, run)
    assert [d.alternatives[0].node for d in beside] == [d.alternatives[0].node for d in alone]
    assert right(beside[:-2], ["sport"] * (len(beside) - 2)) >= 0.8
    assert [d.queries for d in beside[-2:]] == [("SOUP",), ("SOUP",)], "no new token gets into a call"


@pytest.mark.parametrize("named", [False, True])
def test_two_untrained_routers_on_one_engine_have_rows_of_their_own(base: Path, toy: Any, named: bool) -> None:
    """Their nodes are in the opposite order, or have one token in the spec; they load one after the other, or together."""
    token = "<one>" if named else None
    first, second = (
        [replace(target, token=token if place == 0 else None) for place, target in enumerate(targets)]
        for targets in (toy.TARGETS, toy.TARGETS[::-1])
    )
    node = RouterNode(kind="router", worker=WorkerId("w"), system=toy.SYSTEM)
    asked = [toy.ask(text) for target in toy.TARGETS for text in target.examples]

    async def alone(engine: Engine) -> Any:
        return await (await decoder_router(node, first, engine, None)).decide_many(asked)

    async def one_after_the_other(engine: Engine) -> Any:
        routers = [await decoder_router(node, targets, engine, None) for targets in (first, second)]
        return [await router.decide_many(asked) for router in routers], [router.texts for router in routers]

    async def together(engine: Engine) -> Any:
        routers = await asyncio.gather(*(decoder_router(node, targets, engine, None) for targets in (first, second)))
        return [await router.decide_many(asked) for router in routers], [router.texts for router in routers]

    expected = [decision.alternatives for decision in with_engine(base, alone)]
    for load in (one_after_the_other, together):
        (decisions, others), texts = with_engine(base, load)
        assert set(texts[0].values()).isdisjoint(texts[1].values())
        for found, other, alternatives in zip(decisions, others, expected, strict=True):
            assert [choice.node for choice in found.alternatives] == [choice.node for choice in alternatives]
            probabilities = [choice.probability for choice in alternatives]
            assert [choice.probability for choice in found.alternatives] == pytest.approx(probabilities, abs=1e-4)
            assert other.alternatives[0].node == alternatives[0].node
