"""A decoder router's decisions: on a model trained to route, and on a scripted one where the exact text matters."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experts.engines.base import Engine
from experts.engines.config import LocalWorker, Rule, ScriptedWorker, WorkerSpec
from experts.engines.factory import create_engine
from experts.engines.requests import GenerateRequest, Message
from experts.errors import RequestError
from router.errors import TokenHeadError
from router.functional.build_decoder import decoder_router
from router.functional.call import format_call, parse_call
from router.functional.decision import Target
from router.functional.decoder import DecoderRouter
from router.functional.prompt import fit_context, router_prompt
from router.functional.tokens_file import TokensFile, load_tokens, save_tokens, worker_for
from router.spec.models import RouterNode
from router.types import NodeId, WorkerId

T = TypeVar("T")
TOKENS = TokensFile(backbone="decoder", tokens={})
PAIR = (Target(NodeId("math"), "sums"), Target(NodeId("law"), "laws"))


def node(**fields: Any) -> RouterNode:
    return RouterNode(kind="router", worker=WorkerId("w"), **fields)


def with_engine(worker: WorkerSpec, use: Callable[[Engine], Awaitable[T]]) -> T:
    async def run() -> T:
        engine = await create_engine(worker)
        try:
            return await use(engine)
        finally:
            await engine.close()

    return asyncio.run(run())


def with_router(trained: Any, toy: Any, use: Callable[[DecoderRouter], Awaitable[T]], **fields: Any) -> T:
    worker = worker_for(LocalWorker(model="unused"), trained.folder)

    async def build_and_use(engine: Engine) -> T:
        fields.setdefault("system", toy.SYSTEM)
        return await use(await decoder_router(node(**fields), toy.TARGETS, engine, trained.folder))

    return with_engine(worker, build_and_use)


def scripted(answer: str, *, tokens: tuple[str, ...] = ("<node_0>", "<node_1>", "<end>"), **fields: Any) -> Any:
    """The decision of a router over a scripted engine."""
    worker = ScriptedWorker(engine="scripted", rules=(Rule(answer=answer),), tokens=tokens)

    async def decide(engine: Engine) -> Any:
        router = await decoder_router(node(), PAIR, engine, None)
        return await router.decide([Message("user", "what is 1+1?")], **fields)

    return with_engine(worker, decide)


def test_it_routes_and_reformulates_as_trained(trained: Any, toy: Any) -> None:
    asked = [row for row in toy.rows(60, 9) if row.node]

    async def decide(router: DecoderRouter) -> Any:
        return await router.decide_many([row.messages for row in asked])

    decisions = with_router(trained, toy, decide)
    assert [d.chosen[0].node for d in decisions] == [row.node for row in asked]
    exact = sum(d.queries[0] == row.reformulated for d, row in zip(decisions, asked, strict=True))
    assert exact >= 0.8 * len(asked)
    assert all(d.malformed == (None,) for d in decisions)


def test_deciding_one_by_one_gives_the_same(trained: Any, toy: Any) -> None:
    asked = [row.messages for row in toy.rows(6, 10)]

    async def decide(router: DecoderRouter) -> Any:
        return await router.decide_many(asked), [await router.decide(messages) for messages in asked]

    together, alone = with_router(trained, toy, decide)
    for a, b in zip(together, alone, strict=True):
        assert (a.queries, a.generated_tokens) == (b.queries, b.generated_tokens)
        assert [c.node for c in a.chosen] == [c.node for c in b.chosen]
        assert a.alternatives[0].probability == pytest.approx(b.alternatives[0].probability, abs=1e-5)


def test_it_abstains_off_topic_with_one_token(trained: Any, toy: Any) -> None:
    decision = with_router(trained, toy, lambda router: router.decide(toy.ask("thanks, goodbye")))
    assert (decision.chosen, decision.queries) == ((), ())
    assert decision.alternatives[0].node is None
    assert decision.generated_tokens == 1


def test_alternatives_are_a_falling_distribution_over_all_outcomes(trained: Any, toy: Any) -> None:
    decision = with_router(trained, toy, lambda router: router.decide(toy.ask("more soup now")))
    probabilities = [choice.probability for choice in decision.alternatives]
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1)
    assert {choice.node for choice in decision.alternatives} == {*toy.WORDS, None}


def test_temperature_changes_probabilities_but_not_the_choice(trained: Any, toy: Any) -> None:
    async def decide(router: DecoderRouter) -> Any:
        hot = replace(router, tokens=router.tokens.model_copy(update={"temperature": 20.0}))
        return [await r.decide(toy.ask("more soup now")) for r in (router, hot)]

    usual, hot = with_router(trained, toy, decide)
    assert hot.alternatives[0].node == usual.alternatives[0].node
    assert hot.alternatives[0].probability < usual.alternatives[0].probability - 0.01


def test_fan_out_asks_every_chosen_node_in_its_own_words(trained: Any, toy: Any) -> None:
    async def decide(router: DecoderRouter) -> Any:
        without = replace(router, tokens=router.tokens.model_copy(update={"abstain": None}))
        return await without.decide(toy.ask("more soup now"), fan_out=2)

    decision = with_router(trained, toy, decide)
    assert len(decision.chosen) == len(decision.queries) == len(decision.malformed) == 2
    assert decision.chosen == decision.alternatives[:2]
    assert decision.queries[0] == "SOUP"


def test_typed_tokens_stay_characters(trained: Any, toy: Any) -> None:
    async def decide(router: DecoderRouter) -> Any:
        token = router.texts[NodeId("music")]
        prompt = router.engine.render(GenerateRequest(messages=toy.ask(f"{token}('x')<end> soup")))
        assert router.engine.token_id(token) not in prompt
        return await router.decide(toy.ask("is soup good?"))

    assert with_router(trained, toy, decide).chosen[0].node == "kitchen"


def test_long_dialogues_lose_their_oldest_turns(trained: Any, toy: Any) -> None:
    turns = [Message(role, f"{role} turn {i} about the wind") for i in range(8) for role in ("user", "assistant")]  # type: ignore[arg-type]
    dialogue = [Message("system", "be kind"), *turns, *toy.ask("i like soup")]

    async def look(router: DecoderRouter) -> Any:
        kept, room = fit_context(router.engine, router_prompt(dialogue, "route"), 30)
        assert len(router.engine.render(GenerateRequest(messages=kept))) + room <= router.engine.info.context_length
        return kept, room, await router.decide(dialogue)

    kept, room, decision = with_router(trained, toy, look, max_tokens=30)
    assert kept[0] == Message("system", "route")
    assert kept[1].role == "user" and kept[1] in turns[2:]
    assert kept[-1] == dialogue[-1]
    assert room == 30
    assert decision.prompt_tokens < 128


def test_a_query_longer_than_the_context_is_an_error(trained: Any, toy: Any) -> None:
    with pytest.raises(RequestError, match="context"):
        with_router(trained, toy, lambda router: router.decide(toy.ask("soup " * 100)))
    with pytest.raises(RequestError, match="user turn"):
        with_router(trained, toy, lambda router: router.decide([Message("assistant", "soup")]))


def test_a_call_shrinks_to_the_room_that_is_left(trained: Any, toy: Any) -> None:
    query = "soup " * 22  # with the system prompt: 119 of 128 tokens
    decision = with_router(trained, toy, lambda router: router.decide(toy.ask(query)))
    assert decision.prompt_tokens + decision.generated_tokens <= 128


def test_a_malformed_call_is_recorded_and_the_user_is_quoted() -> None:
    decision = scripted("<node_1>well, law<end>")
    assert (decision.chosen[0].node, decision.chosen[0].token) == ("law", "<node_1>")
    assert decision.queries == ("what is 1+1?",)
    assert decision.malformed == ("well, law",)


def test_a_scripted_router_calls_a_node() -> None:
    decision = scripted("<node_1>('1 + 1')<end>")
    assert decision.queries == ("1 + 1",)
    assert decision.malformed == (None,)
    assert decision.chosen[0].probability == pytest.approx(0.9)


def test_below_the_threshold_it_abstains() -> None:
    decision = scripted("<node_1>('1 + 1')<end>", threshold=0.95)
    assert decision.chosen == decision.queries == ()
    assert decision.alternatives[0].node == "law"
    assert scripted("<node_1>('1 + 1')<end>", threshold=0.85).chosen[0].node == "law"


def test_without_an_end_token_it_only_chooses() -> None:
    decision = scripted("<node_1>('1 + 1')", tokens=("<node_0>", "<node_1>"))
    assert decision.queries == ("what is 1+1?",)
    assert decision.generated_tokens == 1
    assert decision.malformed == (None,)


def test_an_engine_without_the_tokens_is_an_error() -> None:
    with pytest.raises(TokenHeadError, match=r"<node_1> for law.*train functional-tokens"):
        scripted("<node_0>('x')<end>", tokens=("<node_0>", "<end>"))


def test_tokens_of_another_model_or_backbone_are_an_error(trained: Any, toy: Any, base: Path, tmp_path: Path) -> None:
    worker = LocalWorker(model=str(base))
    with pytest.raises(TokenHeadError, match="fingerprint"):
        with_engine(worker, lambda engine: decoder_router(node(), toy.TARGETS, engine, trained.folder))
    save_tokens(load_tokens(trained.folder).model_copy(update={"backbone": "encoder", "fingerprint": None}), tmp_path)
    with pytest.raises(TokenHeadError, match="encoder"):
        with_engine(worker, lambda engine: decoder_router(node(), toy.TARGETS, engine, tmp_path))


def test_a_router_without_targets_is_an_error() -> None:
    worker = ScriptedWorker(engine="scripted", rules=(Rule(),), tokens=("<end>",))
    with pytest.raises(TokenHeadError, match="no"):
        with_engine(worker, lambda engine: decoder_router(node(), (), engine, None))


@given(st.text(min_size=1).map(str.strip).filter(bool))
def test_a_well_formed_call_is_parsed_back(query: str) -> None:
    assert parse_call(format_call(query, TOKENS), TOKENS) == query


@pytest.mark.parametrize(
    ("text", "query"),
    [
        (" ('a b') ", "a b"),
        ("( 'a b' )", "a b"),
        ('("a b")', "a b"),
        ("(“a b”)", "a b"),
        ("('it's')", "it's"),
        ("('a') and ('b')", "a') and ('b"),
        ("('')", None),
        ("(')", None),
        ("('a", None),
        ("a')", None),
        ("('a') then", None),
        ("('a\")", None),
        ("(a)", None),
        ("", None),
    ],
)
def test_what_counts_as_a_call(text: str, query: str | None) -> None:
    assert parse_call(text, TOKENS) == query


@given(st.text())
def test_any_text_is_a_call_or_none(text: str) -> None:
    query = parse_call(text, TOKENS)
    assert query is None or (query in text and query == query.strip() != "")
