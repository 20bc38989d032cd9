from __future__ import annotations

import math
from pathlib import Path

import pytest

from experts.engines.base import EngineInfo
from experts.engines.config import LocalWorker, Rule, ScriptedWorker, VllmWorker
from router.errors import TokenHeadError
from router.functional.decision import Target
from router.functional.report import TrainingReport
from router.functional.tokens_file import (
    TokensFile,
    check_model,
    description_hash,
    find_tokens,
    load_tokens,
    save_tokens,
    token_texts,
    worker_for,
)
from router.spec.models import RouterNode
from router.types import NodeId, WorkerId

A, B, C = NodeId("a"), NodeId("b"), NodeId("c")
REPORT = TrainingReport(
    backbone="encoder", tune="rows", seed=0, train_rows=1, validation_rows=1, accuracy=1.0, prior_accuracy=1.0,
    best_single=1.0, random=0.5, ece_before=0.1, ece_after=0.0, regularisation=math.inf,
)  # fmt: skip
TOKENS = TokensFile(backbone="encoder", tokens={A: "<node_0>"}, fingerprint="abc", report=REPORT)


def router(tokens: Path | None = None) -> RouterNode:
    return RouterNode(kind="router", worker=WorkerId("w"), tokens=tokens)


def info(fingerprint: str) -> EngineInfo:
    return EngineInfo("m", fingerprint, 1, 1, 1, 1)


def test_round_trip_keeps_everything(tmp_path: Path) -> None:
    save_tokens(TOKENS, tmp_path / "deep" / "folder")
    assert load_tokens(tmp_path / "deep" / "folder") == TOKENS


@pytest.mark.parametrize("text", ["", "{", "[]", '{"backbone": "encoder"}', '{"backbone": "x", "tokens": {}}'])
def test_damaged_files_are_one_kind_of_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "functional_tokens.json").write_text(text)
    with pytest.raises(TokenHeadError, match=r"functional_tokens\.json"):
        load_tokens(tmp_path)


def test_finds_own_tokens_then_the_models(tmp_path: Path) -> None:
    own, model = tmp_path / "own", tmp_path / "model"
    save_tokens(TOKENS, own)
    save_tokens(TOKENS, model)
    worker = LocalWorker(model=str(model))
    assert find_tokens(router(own), worker) == own
    assert find_tokens(router(), worker) == model
    assert find_tokens(router(), LocalWorker(model=str(tmp_path))) is None
    assert find_tokens(router(), LocalWorker(model="org/model")) is None
    assert find_tokens(router(), ScriptedWorker(engine="scripted", rules=(Rule(),))) is None
    with pytest.raises(TokenHeadError, match="train functional-tokens"):
        find_tokens(router(tmp_path / "nowhere"), worker)


def test_worker_gets_the_tuned_model(tmp_path: Path) -> None:
    worker = LocalWorker(model="base", device="cpu", max_batch=3)
    assert worker_for(worker, None) == worker
    assert worker_for(worker, tmp_path) == worker
    (tmp_path / "model").mkdir()
    tuned = worker_for(worker, tmp_path)
    assert tuned == worker.model_copy(update={"model": str(tmp_path / "model")})
    started = VllmWorker(engine="vllm", model="base")
    assert worker_for(started, tmp_path).model_dump()["model"] == str(tmp_path / "model")
    for addresses in ({"url": "http://localhost:1"}, {"urls": ("http://localhost:1", "http://localhost:2")}):
        served = VllmWorker.model_validate({"engine": "vllm", "model": "base", **addresses})
        assert worker_for(served, tmp_path) == served


def test_another_model_is_refused(tmp_path: Path) -> None:
    check_model(TOKENS, info("abc"), tmp_path)
    check_model(TOKENS, info(""), tmp_path)
    with pytest.raises(TokenHeadError, match=r"abc.*def"):
        check_model(TOKENS, info("def"), tmp_path)


def test_token_texts_by_spec_then_folder_then_position() -> None:
    targets = [Target(A, ""), Target(B, "", token="<mine>"), Target(C, "")]
    assert token_texts(targets, {}) == {A: "<node_0>", B: "<mine>", C: "<node_2>"}
    assert token_texts(targets, {C: "<node_0>"}) == {A: "<node_1>", B: "<mine>", C: "<node_0>"}
    with pytest.raises(TokenHeadError, match="both a and b"):
        token_texts([Target(A, "", token="<x>"), Target(B, "", token="<x>")], {})


def test_description_hash_sees_every_change() -> None:
    hashes = {description_hash(*key) for key in [("a", ()), ("a", ("b",)), ("b", ()), ("ab", ()), ("a", ("b", ""))]}
    assert len(hashes) == 5
