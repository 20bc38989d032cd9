from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from experts.engines.config import Rule, ScriptedWorker
from experts.engines.factory import create_engine
from experts.engines.local.checkpoint import resolve
from experts.engines.requests import Message
from router.errors import CheckpointError, DataError, GraphError, TokenHeadError
from router.functional import functional_router
from router.functional.progress import Progress
from router.functional.targets import router_node, targets_of
from router.functional.tokens_file import find_tokens, load_tokens, worker_for
from router.functional.train import Tune, train_functional_tokens
from router.spec.models import EdgeSpec, ExpertNode, GraphSpec, RouterNode
from router.types import NodeId, WorkerId
from tests.router.functional.conftest import MINILM

if TYPE_CHECKING:
    from experts.engines.local.encoder import SentenceEncoder

MASTER, RED, BLUE = NodeId("master"), NodeId("red"), NodeId("blue")
# The descriptions say nothing: only labels can tell that red means animals and blue means vehicles.
ANIMALS = ("dog", "cat", "horse", "cow", "sheep", "lion", "tiger", "mouse", "eagle", "shark", "rabbit", "wolf")
VEHICLES = ("car", "truck", "train", "plane", "bicycle", "tram", "ferry", "tractor", "rocket", "bus", "van", "canoe")
QUESTIONS = ("How old does a {} get?", "What colour was the {} you saw?", "Draw a {} for me.", "How fast is a {}?")


def graph() -> GraphSpec:
    edges = tuple(EdgeSpec.model_validate({"from": MASTER, "to": to}) for to in (RED, BLUE))
    expert = ExpertNode(kind="expert", worker=WorkerId("answers"))
    return GraphSpec(
        entry=MASTER,
        workers={
            WorkerId("encoder"): MINILM, WorkerId("answers"): ScriptedWorker(engine="scripted", rules=(Rule(),)),
        },
        nodes={
            MASTER: RouterNode(kind="router", worker=WorkerId("encoder")),
            RED: expert.model_copy(update={"description": "Desk one"}),
            BLUE: expert.model_copy(update={"description": "Desk two"}),
        },
        edges=edges,
    )  # fmt: skip


def labelled(folder: Path, off_topic: bool = False) -> Path:
    rows = [
        {"query": question.format(word), "node": node}
        for node, words in ((RED, ANIMALS), (BLUE, VEHICLES)) for word in words[:9] for question in QUESTIONS
    ]  # fmt: skip
    if off_topic:
        rows += [{"query": f"{a} plus {b}?", "node": None} for a in range(5) for b in range(5)]
    file = folder / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    return file


async def right(spec: GraphSpec, tokens: Path) -> float:
    node = spec.nodes[MASTER]
    assert isinstance(node, RouterNode)
    node = node.model_copy(update={"tokens": tokens})
    worker = spec.workers[node.worker]
    folder = find_tokens(node, worker)
    engine = await create_engine(worker_for(worker, folder))
    try:
        router = await functional_router(node, targets_of(spec, MASTER), engine, folder)
        asked = [(q.format(w), n) for n, ws in ((RED, ANIMALS), (BLUE, VEHICLES)) for w in ws[9:] for q in QUESTIONS]
        decisions = await router.decide_many([[Message("user", query)] for query, _ in asked])
    finally:
        await engine.close()
    return sum(d.alternatives[0].node == node for d, (_, node) in zip(decisions, asked, strict=True)) / len(asked)


@pytest.mark.parametrize("tune", ["auto", "encoder"])
async def test_labels_teach_what_descriptions_do_not_say(minilm: SentenceEncoder, tmp_path: Path, tune: Tune) -> None:
    heard: list[Progress] = []
    spec, out = graph(), tmp_path / "tokens"
    report = train_functional_tokens(spec, labelled(tmp_path), out, tune=tune, epochs=1, seed=1, progress=heard.append)
    assert report.tune == ("rows" if tune == "auto" else "encoder")
    assert (out / "model").is_dir() == (tune == "encoder")
    assert report.prior_accuracy < 0.85 <= report.accuracy
    assert report.random == 0.5
    assert report.train_rows + report.validation_rows == 72
    assert load_tokens(out).report == report
    assert load_tokens(out).layers == (7 if tune == "auto" else 1)
    assert heard[-1].done == pytest.approx(1.0)
    assert await right(spec, out) > 0.85


@pytest.mark.parametrize("tune", ["rows", "encoder"])
async def test_the_encoder_of_an_earlier_training_can_be_trained_on(
    minilm: SentenceEncoder, tmp_path: Path, tune: Tune
) -> None:
    out = tmp_path / "tokens"
    shutil.copytree(resolve(MINILM.model), out / "model")
    worker = MINILM.model_copy(update={"model": str(out / "model")})
    spec = graph()
    spec = spec.model_copy(update={"workers": {**spec.workers, WorkerId("encoder"): worker}})
    train_functional_tokens(spec, labelled(tmp_path), out, tune=tune, epochs=1, seed=1)
    assert await right(spec, out) > 0.85
    assert {entry.name for entry in out.iterdir()} == {
        "model", "functional_tokens.json", "functional_tokens.safetensors"
    }  # fmt: skip


def test_the_result_of_an_earlier_training_stays_if_there_is_no_new_one(tmp_path: Path) -> None:
    spec, model = graph(), tmp_path / "tokens" / "model"
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    missing = MINILM.model_copy(update={"model": "./no/such/encoder"})
    spec = spec.model_copy(update={"workers": {**spec.workers, WorkerId("encoder"): missing}})
    with pytest.raises(CheckpointError):
        train_functional_tokens(spec, labelled(tmp_path), model.parent, tune="encoder")
    assert (model / "config.json").is_file()


async def test_off_topic_rows_set_the_threshold(minilm: SentenceEncoder, tmp_path: Path) -> None:
    spec, out = graph(), tmp_path / "tokens"
    train_functional_tokens(spec, labelled(tmp_path, off_topic=True), out, tune="rows")
    assert 0 < load_tokens(out).threshold < 1
    router = await functional_router(router_node(spec)[1], targets_of(spec, MASTER), minilm, out)
    sums = await router.decide_many([[Message("user", f"{a} plus {a + 4}?")] for a in range(6, 16)])
    words = await router.decide_many([[Message("user", f"How old does a {word} get?")] for word in ANIMALS[9:]])
    assert sum(not decision.chosen for decision in sums) >= 7
    assert sum(bool(decision.chosen) for decision in words) >= 2


def test_what_cannot_be_trained_is_refused(tmp_path: Path) -> None:
    spec, file, out = graph(), labelled(tmp_path), tmp_path / "tokens"
    with pytest.raises(TokenHeadError, match="one of auto, rows, encoder for an encoder"):
        train_functional_tokens(spec, file, out, tune="lora")
    with pytest.raises(GraphError, match="master"):
        train_functional_tokens(spec, file, out, node=RED)
    workers = {**spec.workers, WorkerId("encoder"): spec.workers[WorkerId("answers")]}
    with pytest.raises(TokenHeadError, match="engine: local"):
        train_functional_tokens(spec.model_copy(update={"workers": workers}), file, out)
    file.write_text('{"query": "2 + 2", "node": null}\n{"query": "2 + 3", "node": null}\n')
    with pytest.raises(DataError, match="rows with a node"):
        train_functional_tokens(spec, file, out)
    assert not out.exists()
