"""What the bundled graph says of itself is true: its nodes' example queries, and what the README and the demo ask."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from router import Router
from router.spec.models import ExpertNode

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def router() -> Iterator[Router]:
    with Router.from_file(ROOT / "graph_specs" / "pocket.yaml") as opened:
        yield opened


def test_every_example_goes_to_its_node(router: Router) -> None:
    examples = [
        (query, name)
        for name, node in router.spec.nodes.items()
        if isinstance(node, ExpertNode)
        for query in node.examples
    ]
    assert len(examples) >= 14
    decisions = router.route_many([query for query, _ in examples])
    assert [[choice.node for choice in decision.chosen] for decision in decisions] == [[name] for _, name in examples]


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        ("hi, what's 347 plus 589?", "936"),
        ("how do you write 1984 in roman numerals", "MCMLXXXIV"),
        ("which country has ouagadougou as its capital?", "Burkina Faso"),
        ("is 2100 a leap year?", "no"),
        ("capital of france", "Paris"),
        ("please spell banana backwards", "ananab"),
        ("what day is 10 days after monday?", "Thursday"),
    ],
)
def test_what_the_readme_asks(router: Router, query: str, answer: str) -> None:
    assert router.run(query).answer == answer


def test_what_it_cannot_know_it_says(router: Router) -> None:
    assert router.run("what will the weather be like tomorrow?").answer.startswith("I can't answer that")
