"""A node that the bundled master was never told of: its description and examples win its cases, at no cost to the others.

The master's own token of the domain is forgotten (its row takes part no more), and the node is added as a new one.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from experts.engines.config import LocalWorker
from experts.engines.factory import create_engine
from experts.engines.requests import Message
from experts.pocket import resolve
from experts.pocket.corpus import fixed_set
from experts.pocket.domains import NAMES
from router.functional.build_decoder import decoder_router
from router.functional.targets import router_node, targets_of
from router.spec import load_spec

SPEC = Path(__file__).parents[4] / "graph_specs" / "pocket.yaml"
SIZE = 40


@pytest.mark.parametrize("new", ["calendar", "numerals", "logic"])
async def test_a_new_node_wins_its_cases_and_costs_the_others_nothing(new: str, tmp_path: Path) -> None:
    folder = shutil.copytree(resolve("master"), tmp_path / "master")
    file = folder / "functional_tokens.json"
    tokens = json.loads(file.read_text())
    del tokens["tokens"][new]
    file.write_text(json.dumps(tokens))
    spec = load_spec(SPEC)
    name, node = router_node(spec)
    known = [replace(target, token=None) for target in targets_of(spec, name)]
    questions = [(example.query, domain) for domain in NAMES for example in fixed_set(domain, "valid", SIZE)]
    asked = [[Message("user", query)] for query, _ in questions]

    engine = await create_engine(LocalWorker(model=str(folder), max_batch=64))
    before = await (
        await decoder_router(node, [target for target in known if target.node != new], engine, folder)
    ).decide_many(asked)
    router = await decoder_router(node, known, engine, folder)
    assert router.silent == {new}
    after = await router.decide_many(asked)
    await engine.close()

    chosen = [decision.alternatives[0].node for decision in after]
    own = [node == new for node, (_, domain) in zip(chosen, questions, strict=True) if domain == new]
    others = [
        node == domain
        for node, was, (_, domain) in zip(chosen, before, questions, strict=True)
        if domain != new and was.alternatives[0].node == domain
    ]
    assert sum(own) / len(own) >= 0.85
    assert sum(others) / len(others) >= 0.97
