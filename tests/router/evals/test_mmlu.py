from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from experts.engines.base import Capability, EngineInfo
from experts.engines.partial import PartialEngine
from router.errors import DataError
from router.evals.mmlu import NODE_OF, PRO, SUBJECTS, halves, read_questions
from router.evals.remembering import Remembering
from router.functional.targets import router_node, targets_of
from router.spec import load_spec

if TYPE_CHECKING:
    from numpy.typing import NDArray

GRAPH = Path(__file__).parents[3] / "graph_specs" / "mmlu.yaml"


def test_every_subject_has_a_node_of_the_graph() -> None:
    spec = load_spec(GRAPH, environ={})
    assert set(SUBJECTS) == {target.node for target in targets_of(spec, router_node(spec)[0])}
    assert len(NODE_OF) == 57
    assert len(PRO) == 14


def test_halves_are_stratified_and_share_nothing(tmp_path: Path) -> None:
    file = tmp_path / "data.jsonl"
    lines = [{"subject": s, "prompt": f"{s} {i}\u2028?"} for s in ("sociology", "virology") for i in range(10)]
    file.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    questions = read_questions(file)
    learn, score = halves(questions, 0)
    assert sorted(q.prompt for q in (*learn, *score)) == sorted(line["prompt"] for line in lines)
    assert [q.node for q in learn].count("culture") == [q.node for q in score].count("culture") == 5
    assert halves(questions, 1) != (learn, score)
    file.write_text('{"subject": "alchemy", "prompt": "Why?"}\n', encoding="utf-8")
    with pytest.raises(DataError, match="alchemy"):
        read_questions(file)


class Counting(PartialEngine):
    """Counts what it embeds: a text's vectors follow from its length."""

    capabilities = frozenset({Capability.EMBED, Capability.LAYERS})
    info = EngineInfo("counting", "f", 1, 1, 1, 1)

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def embed(self, texts: Sequence[str], layers: bool = False) -> NDArray[np.float32]:
        self.asked += texts
        found = np.array([[len(t), 2 * len(t), 3 * len(t)] for t in texts], np.float32).reshape(-1, 3)
        return found if layers else found[:, 2:]


@pytest.mark.asyncio
async def test_each_text_is_embedded_once() -> None:
    inner = Counting()
    engine = Remembering(inner)
    first = await engine.embed(["ab", "abc", "ab"], layers=True)
    assert first.tolist() == [[2, 4, 6], [3, 6, 9], [2, 4, 6]]
    assert (await engine.embed(["abc"])).tolist() == [[9]]
    assert (await engine.embed([], layers=True)).shape == (0, 3)
    assert inner.asked.count("ab") == inner.asked.count("abc") == 1
