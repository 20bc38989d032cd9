from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from experts.engines.requests import Message
from router.functional import functional_router
from router.functional.targets import router_node, targets_of
from router.spec import load_spec

if TYPE_CHECKING:
    from experts.engines.local.encoder import SentenceEncoder

FILE = Path(__file__).parents[3] / "graph_specs" / "mmlu.yaml"
NODES = {
    "biology", "physics", "business", "chemistry", "computer_science", "math", "economics", "health", "engineering",
    "philosophy", "other", "history", "culture", "law", "psychology", "politics", "geography",
}  # fmt: skip
QUESTIONS = (
    ("What does the mitochondrion do in a muscle cell?", "biology"),
    ("How much kinetic energy does a falling ball of 2 kg have?", "physics"),
    ("How should a firm choose the price of its new brand?", "business"),
    ("Which ion does silver nitrate give in water?", "chemistry"),
    ("Why is my recursive function so slow, and would memoisation help?", "computer_science"),
    ("Factor x^2 - 5x + 6.", "math"),
    ("What does inflation do to unemployment?", "economics"),
    ("Which nerve is compressed in carpal tunnel syndrome?", "health"),
    ("What is the slew rate of an operational amplifier?", "engineering"),
    ("Is it ever morally right to break a promise?", "philosophy"),
    ("Who played the joker in the film The Dark Knight?", "other"),
    ("What started the First World War?", "history"),
    ("How does social class shape family life?", "culture"),
    ("Can the tenant sue the landlord for breach of the lease?", "law"),
    ("What is negative reinforcement?", "psychology"),
    ("How are senators elected?", "politics"),
    ("Which rivers flow through Vietnam?", "geography"),
)


def test_the_graph_is_valid_without_any_server_or_variable() -> None:
    spec = load_spec(FILE, environ={})
    name, _ = router_node(spec)
    targets = targets_of(spec, name)
    assert {target.node for target in targets} == NODES
    assert all(15 <= len(target.examples) <= 40 and target.description for target in targets)
    texts = [example for target in targets for example in target.examples]
    assert len(set(texts)) == len(texts)


async def test_descriptions_alone_send_plain_questions_right(minilm: SentenceEncoder) -> None:
    spec = load_spec(FILE, environ={})
    name, node = router_node(spec)
    router = await functional_router(node, targets_of(spec, name), minilm, None)
    decisions = await router.decide_many([[Message("user", query)] for query, _ in QUESTIONS])
    wrong = [(query, d.alternatives[0].node) for (query, right), d in zip(QUESTIONS, decisions, strict=True)
             if d.alternatives[0].node != right]  # fmt: skip
    assert not wrong
