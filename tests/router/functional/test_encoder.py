from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from experts.engines.base import Capability
from experts.engines.partial import PartialEngine
from experts.engines.requests import Message
from experts.errors import CapabilityError, RequestError
from router.errors import TokenHeadError
from router.functional import Decision, FunctionalRouter, Target, functional_router
from router.functional.encoder import MAX_ALTERNATIVES, EncoderRouter, encode_targets
from router.functional.fit import Rows, fit_rows
from router.functional.head import TokenHead
from router.functional.layers import LayerScale
from router.functional.tokens_file import TokensFile, load_tokens, save_tokens
from router.functional.turns import blend
from router.spec.models import RouterNode
from router.types import NodeId, WorkerId

if TYPE_CHECKING:
    from experts.engines.local.encoder import SentenceEncoder

NODE = RouterNode(kind="router", worker=WorkerId("w"))
COOKING = Target(
    NodeId("cooking"), "Cooking: recipes, ingredients, baking and how to prepare food",
    ("How long do I boil an egg?", "What goes into a lasagne?", "Why did my bread not rise?", "Can I freeze soup?"),
)  # fmt: skip
MUSIC = Target(
    NodeId("music"), "Music: instruments, songs, composers, chords and how to play them",
    ("How do I tune a guitar?", "Who composed the Ninth Symphony?", "What is a minor chord?", "How fast is allegro?"),
)  # fmt: skip
SPORT = Target(
    NodeId("sport"), "Sport: football, tennis, training, rules of games and athletes",
    ("How many players does a rugby team have?", "What is offside?", "How do I train for a marathon?"),
)  # fmt: skip
GARDEN = Target(
    NodeId("garden"), "Gardening: plants, soil, seeds, pruning and pests",
    ("When should I prune roses?", "How often do tomatoes need water?", "What kills slugs?", "Is clay soil acidic?"),
)  # fmt: skip
OLD = (COOKING, MUSIC, SPORT)
QUESTIONS = {
    "cooking": ("How do I make pancakes?", "Which cheese goes on a pizza?", "How hot should the oven be for cake?"),
    "music": ("Is the violin hard to learn?", "Who wrote The Magic Flute?", "What are the keys of a piano called?"),
    "sport": ("Who won the Wimbledon final?", "How long is a football match?", "What counts as a foul in basketball?"),
    "garden": ("How deep do I plant tulip bulbs?", "Why are the leaves of my roses yellow?", "How do I compost?"),
}


def ask(*turns: str) -> list[Message]:
    return [Message("user" if i % 2 == 0 else "assistant", turn) for i, turn in enumerate(turns)]


async def answers(router: FunctionalRouter, nodes: tuple[str, ...]) -> dict[str, list[str | None]]:
    decisions = {node: await router.decide_many([ask(q) for q in QUESTIONS[node]]) for node in nodes}
    return {node: [d.alternatives[0].node for d in found] for node, found in decisions.items()}


async def trained(minilm: SentenceEncoder, folder: Path, threshold: float = 0.0, *, layers: bool = False) -> Path:
    """A tokens folder for OLD, its rows fitted hard to a few labelled queries."""
    head = TokenHead.from_vectors(await encode_targets(OLD, minilm))
    texts = [(q, i) for i, target in enumerate(OLD) for q in (*target.examples, *QUESTIONS[target.node])]
    vectors = await minilm.embed([q for q, _ in texts], layers=layers)
    scale = LayerScale.measure(vectors, minilm.width)
    labels = np.array([i for _, i in texts])
    rows = scale.fold(fit_rows(scale.apply(vectors), labels, scale.lift(head.start), lambdas=(0.01,)).rows)
    TokenHead(head.nodes, rows, head.start, head.prior).save(folder)
    tokens = {target.node: f"<t_{i}>" for i, target in enumerate(OLD)}
    save_tokens(
        TokensFile(
            backbone="encoder", tokens=tokens, fingerprint=minilm.info.fingerprint, threshold=threshold,
            layers=7 if layers else 1,
        ),
        folder,
    )  # fmt: skip
    return folder


async def test_descriptions_route_without_training(minilm: SentenceEncoder) -> None:
    router = await functional_router(NODE, (*OLD, GARDEN), minilm, None)
    for node, found in (await answers(router, tuple(QUESTIONS))).items():
        assert found.count(node) >= 2, (node, found)


async def test_a_decision(minilm: SentenceEncoder) -> None:
    router = await functional_router(NODE, OLD, minilm, None)
    decision = await router.decide(ask("How do I make pancakes?"), fan_out=2)
    assert decision.chosen[0].node == "cooking"
    assert len(decision.chosen) == 2
    assert decision.queries == ("How do I make pancakes?",) * 2
    assert decision.chosen[0].token == "<node_0>"
    probabilities = [choice.probability for choice in decision.alternatives]
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1)
    assert decision.prompt_tokens > 3
    assert decision.generated_tokens == 0


async def test_one_by_one_equals_many(minilm: SentenceEncoder) -> None:
    router = await functional_router(NODE, OLD, minilm, None)
    dialogues = [ask(q) for node in ("cooking", "music") for q in QUESTIONS[node]] + [ask("Hi", "Hello", "Guitars?")]
    many = await router.decide_many(dialogues)
    for dialogue, decision in zip(dialogues, many, strict=True):
        alone = await router.decide(dialogue)
        assert [c.node for c in alone.alternatives] == [c.node for c in decision.alternatives]
        assert alone.chosen[0].probability == pytest.approx(decision.chosen[0].probability, abs=1e-4)
    assert await router.decide_many([]) == []


async def test_last_user_turn_weighs_most_and_only_users_count(minilm: SentenceEncoder) -> None:
    router = await functional_router(NODE, OLD, minilm, None)
    pancakes, violin = "How do I make pancakes?", "Is the violin hard to learn?"
    assert (await router.decide(ask(pancakes, "Flour, milk...", violin))).chosen[0].node == "music"
    follow_up = await router.decide(ask(pancakes, "Flour, milk, eggs.", "And without milk?"))
    assert follow_up.chosen[0].node == "cooking"
    plain = await router.decide(ask(pancakes))
    talked = await router.decide(
        [Message("system", "You know football."), *ask(pancakes), Message("assistant", violin)]
    )
    assert talked.alternatives == plain.alternatives
    with pytest.raises(RequestError, match="user turn"):
        await router.decide([Message("system", "x")])


async def test_abstains_below_the_threshold(minilm: SentenceEncoder, tmp_path: Path) -> None:
    folder = await trained(minilm, tmp_path, threshold=0.999)
    vague = ask("Tell me something.")

    async def decide(node: RouterNode, threshold: float | None = None) -> Decision:
        return await (await functional_router(node, OLD, minilm, folder)).decide(vague, threshold=threshold)

    assert (await decide(NODE)).chosen == ()
    assert (await decide(NODE)).queries == ()
    assert (await decide(NODE)).alternatives
    assert (await decide(NODE.model_copy(update={"threshold": 0.1}))).chosen
    assert (await decide(NODE, 0.0)).chosen


@pytest.mark.parametrize("layers", [False, True])
async def test_a_node_added_later_gets_its_own_and_leaves_the_others(
    minilm: SentenceEncoder, tmp_path: Path, layers: bool
) -> None:
    folder = await trained(minilm, tmp_path, layers=layers)
    before = await answers(await functional_router(NODE, OLD, minilm, folder), ("cooking", "music", "sport"))
    assert all(found == [node] * 3 for node, found in before.items())
    router = await functional_router(NODE, (*OLD, GARDEN), minilm, folder)
    after = await answers(router, tuple(QUESTIONS))
    assert after.pop("garden").count("garden") >= 2
    assert after == before
    own = await router.decide_many([ask(example) for target in (*OLD, GARDEN) for example in target.examples])
    assert [d.chosen[0].node for d in own] == [target.node for target in (*OLD, GARDEN) for _ in target.examples]
    described = Target(GARDEN.node, GARDEN.description)
    router = await functional_router(NODE, (*OLD, described), minilm, folder)
    after = await answers(router, tuple(QUESTIONS))
    assert after.pop("garden").count("garden") >= 2
    assert after == before


async def test_tokens_of_another_model_or_backbone_are_refused(minilm: SentenceEncoder, tmp_path: Path) -> None:
    save_tokens(TokensFile(backbone="encoder", tokens={}, fingerprint="other"), tmp_path / "a")
    save_tokens(TokensFile(backbone="decoder", tokens={}), tmp_path / "b")
    with pytest.raises(TokenHeadError, match="fingerprint other"):
        await functional_router(NODE, OLD, minilm, tmp_path / "a")
    with pytest.raises(TokenHeadError, match="of a decoder"):
        await functional_router(NODE, OLD, minilm, tmp_path / "b")
    with pytest.raises(TokenHeadError, match="Add edges"):
        await functional_router(NODE, (), minilm, None)


async def test_a_single_target_is_certain(minilm: SentenceEncoder) -> None:
    router = await functional_router(NODE, (Target(NodeId("only"), ""),), minilm, None)
    assert (await router.decide(ask("Anything?"))).chosen[0].probability == pytest.approx(1)


async def test_ten_thousand_nodes_stay_fast(minilm: SentenceEncoder) -> None:
    count = 10_000
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(count, minilm.width)).astype(np.float32)
    nodes = [NodeId(f"n{i}") for i in range(count)]
    texts = {node: f"<node_{i}>" for i, node in enumerate(nodes)}
    router = EncoderRouter(minilm, nodes, texts, Rows(weights, np.zeros(count, np.float32)), 1.0, 0.0)
    query = "Which of these rivers is the longest, and through how many countries does it flow on its way to the sea?"
    h = minilm.embed_now([query])[0]
    decision = await router.decide(ask(query), fan_out=3)
    assert decision.chosen[0].node == nodes[int((weights @ h).argmax())]
    assert len(decision.alternatives) == MAX_ALTERNATIVES
    assert len(decision.chosen) == 3
    decided, encoded = [], []
    for _ in range(30):  # the least time of many is what is left of other load
        start = time.perf_counter()
        minilm.embed_now([query])
        middle = time.perf_counter()
        await router.decide(ask(query))
        encoded.append(middle - start)
        decided.append(time.perf_counter() - middle)
    assert min(decided) < 2 * min(encoded), "a Python loop over nodes would take ten times as long"


async def test_rows_of_every_layer_decide_dialogues_alike_one_by_one_and_many(
    minilm: SentenceEncoder, tmp_path: Path
) -> None:
    folder = await trained(minilm, tmp_path, layers=True)
    assert load_tokens(folder).layers == 7
    router = await functional_router(NODE, OLD, minilm, folder)
    pancakes, violin = "How do I make pancakes?", "Is the violin hard to learn?"
    dialogues = [ask(pancakes), ask(pancakes, "Flour, milk...", violin), ask(pancakes, "Flour.", "And without milk?")]
    many = await router.decide_many(dialogues)
    assert [d.chosen[0].node for d in many] == ["cooking", "music", "cooking"]
    for dialogue, decision in zip(dialogues, many, strict=True):
        alone = await router.decide(dialogue)
        assert alone.chosen[0].probability == pytest.approx(decision.chosen[0].probability, abs=1e-4)


async def test_rows_of_every_layer_need_an_engine_that_gives_them(minilm: SentenceEncoder, tmp_path: Path) -> None:
    class SentenceVectorsOnly(PartialEngine):
        info = minilm.info
        capabilities = frozenset({Capability.EMBED})

    folder = await trained(minilm, tmp_path, layers=True)
    with pytest.raises(CapabilityError, match="layers"):
        await functional_router(NODE, OLD, SentenceVectorsOnly(), folder)


def test_blend_of_layers_blends_each_one() -> None:
    vectors = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    mixed = blend(vectors.reshape(2, -1), 3).reshape(3, 4)
    for layer in range(3):
        np.testing.assert_allclose(mixed[layer], blend(vectors[:, layer]), rtol=1e-6)


def test_blend_has_unit_length_and_order() -> None:
    vectors = np.eye(3, dtype=np.float32)
    mixed = blend(vectors)
    assert np.linalg.norm(mixed) == pytest.approx(1)
    assert mixed[2] > mixed[1] > mixed[0] > 0
