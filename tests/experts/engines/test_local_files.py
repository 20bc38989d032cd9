"""What the local engine makes of a model's files: vocabularies that grow, adapters, damaged checkpoints."""

from __future__ import annotations

import asyncio
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from experts.engines.config import LocalWorker
from experts.engines.factory import create_engine
from experts.engines.local.engine import LocalEngine
from experts.engines.local.loading import count_parameters
from experts.engines.requests import Sampling
from experts.errors import CheckpointError, EngineError, RequestError
from tests.experts.engines.checkpoints import random_model, save_adapter, save_checkpoint
from tests.experts.engines.conformance import ASK, assert_same

GREEDY = replace(ASK, sampling=Sampling())


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["qwen3", "llama"])  # tied and untied embeddings
async def test_extend_vocabulary(checkpoints: dict[str, Path], kind: str) -> None:
    engine = LocalEngine(LocalWorker(model=str(checkpoints[kind])))
    size, fingerprint = engine.info.vocabulary_size, engine.info.fingerprint
    before = await engine.generate(replace(GREEDY, max_tokens=5))
    state = (await engine.hidden_states([ASK]))[0]
    away, towards = -10 * state, 10 * state / np.dot(state, state)
    await engine.extend_vocabulary({"<tool_add>": 10 * towards, "<node_0>": away})
    new = engine.token_id("<tool_add>")
    known = engine.token_id("<node_0>")
    assert new == size
    assert known is not None
    assert engine.info.vocabulary_size == size + 1
    assert engine.info.fingerprint == fingerprint
    assert new not in engine.encode("<tool_add>")
    assert engine.decode([new]) == "<tool_add>"
    inputs = engine.model.get_input_embeddings().weight
    torch.testing.assert_close(inputs[new], inputs[:size].mean(0))
    answer = await engine.generate(replace(GREEDY, max_tokens=5, first_token_ids=(new, known)))
    assert answer.token_ids[0] == new
    assert answer.first_logprobs[known] < -100
    others = tuple(token for token in range(size) if token != known)
    assert (
        await engine.generate(replace(GREEDY, max_tokens=5, allowed_token_ids=others))
    ).token_ids == before.token_ids
    with pytest.raises(RequestError, match=r"shape \(32,\)"):
        await engine.extend_vocabulary({"<x>": np.zeros(3, dtype=np.float32)})
    await engine.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["qwen3", "llama"])
async def test_added_tokens_exist_for_those_only_who_name_them(checkpoints: dict[str, Path], kind: str) -> None:
    engine = LocalEngine(LocalWorker(model=str(checkpoints[kind])))
    asked = [replace(GREEDY, max_tokens=5, top_logprobs=200), replace(ASK, first_token_ids=engine.encode("abc"))]
    before = [await engine.generate(request) for request in asked]
    assert engine.info.added_ids == frozenset()
    state = (await engine.hidden_states([ASK]))[0]
    wins = 100 * state / np.dot(state, state)
    await engine.extend_vocabulary({"<tool_add>": wins, "<helper>": 0.5 * wins})
    await engine.extend_vocabulary({"<tool_add>": wins, "<node_9>": 0.1 * wins})
    added = [engine.token_id(token) for token in ("<tool_add>", "<helper>", "<node_9>")]
    assert engine.info.added_ids == {*added}

    for request, answer in zip(asked, before, strict=True):
        assert_same(await engine.generate(request), answer)
    together = (*asked, replace(GREEDY, stop_token_ids=(added[1],)), replace(GREEDY, logit_bias={added[2]: 1.0}))
    *same, stopped, biased = await asyncio.gather(*map(engine.generate, together))
    for found, answer in zip(same, before, strict=True):
        assert_same(found, answer)
    assert (stopped.token_ids, stopped.stop_reason) == ((added[1],), added[1]), "the stronger <tool_add> is another's"
    assert biased.token_ids[0] == added[2]
    await engine.close()


@pytest.mark.asyncio
async def test_adapters(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    base = checkpoints["qwen3"]
    merged = {name: save_adapter(base, tmp_path / name, seed) for seed, name in enumerate(("one", "two"))}
    engine = LocalEngine(LocalWorker(model=str(base), adapters={name: tmp_path / name for name in merged}))
    requests = [replace(GREEDY, max_tokens=10, adapter=name) for name in ("one", None, "two", "one")]
    plain = await engine.generate(requests[1])
    answers = await asyncio.gather(*map(engine.generate, requests))
    assert_same(answers[1], plain)
    assert_same(answers[0], answers[3])
    prompt = torch.tensor([engine.render(requests[1])])
    for name, answer in (("one", answers[0]), ("two", answers[2])):
        ids = torch.cat((prompt, torch.tensor([answer.token_ids])), dim=1)
        with torch.inference_mode():
            logprobs = merged[name](ids).logits[0, prompt.shape[1] - 1 : -1].log_softmax(-1)
        assert list(answer.token_ids) == logprobs.argmax(-1).tolist()
        assert answer.logprobs == pytest.approx(logprobs.amax(-1).tolist(), abs=1e-4)
    assert answers[0].logprobs != pytest.approx(plain.logprobs, abs=1e-3)
    states = await engine.hidden_states(requests[:2])
    assert np.abs(states[0] - states[1]).max() > 1e-3
    with pytest.raises(RequestError, match="one, two"):
        await engine.generate(replace(ASK, adapter="three"))
    await engine.close()


def test_adapter_without_weights(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"adapter_model\.safetensors of adapter mine"):
        LocalEngine(LocalWorker(model=str(checkpoints["qwen3"]), adapters={"mine": tmp_path}))


@pytest.mark.asyncio
async def test_adapter_of_another_model(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    save_adapter(checkpoints["qwen3"], tmp_path / "a", seed=0)
    config = json.loads((tmp_path / "a/adapter_config.json").read_text())
    (tmp_path / "a/adapter_config.json").write_text(json.dumps(config | {"target_modules": ["no_such_layer"]}))
    engine = LocalEngine(LocalWorker(model=str(checkpoints["qwen3"]), adapters={"a": tmp_path / "a"}))
    with pytest.raises(CheckpointError, match="adapter a"):
        await engine.generate(replace(ASK, adapter="a"))
    await engine.generate(ASK)
    await engine.close()


def test_activated_parameters(checkpoints: dict[str, Path]) -> None:
    total, activated = count_parameters(random_model("qwen3"))
    assert total == activated
    model = random_model("qwen3_moe")
    one_expert = 3 * 32 * 16  # gate, up and down projections
    total, activated = count_parameters(model)
    assert total - activated == 2 * 2 * one_expert  # two layers, two of four experts unused


def test_fingerprint_follows_the_files(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    def fingerprint(folder: Path) -> str:
        engine = LocalEngine(LocalWorker(model=str(folder)))
        asyncio.run(engine.close())
        return engine.info.fingerprint

    copy = shutil.copytree(checkpoints["qwen3"], tmp_path / "copy")
    assert fingerprint(copy) == fingerprint(checkpoints["qwen3"])
    weights = load_file(copy / "model.safetensors")
    weights["model.norm.weight"][0] += 1
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    assert fingerprint(copy) != fingerprint(checkpoints["qwen3"])


class TestWrongCheckpoints:
    @pytest.fixture
    def folder(self, checkpoints: dict[str, Path], tmp_path: Path) -> Path:
        return shutil.copytree(checkpoints["qwen3"], tmp_path / "model")

    @staticmethod
    def load(model: Path | str) -> None:
        LocalEngine(LocalWorker(model=str(model)))

    def test_no_directory(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match="expected a model directory"):
            self.load(tmp_path / "none")

    def test_no_pocket_model(self) -> None:
        with pytest.raises(CheckpointError, match="pocket:no-such-model"):
            self.load("pocket:no-such-model")

    def test_no_configuration(self, folder: Path) -> None:
        (folder / "config.json").unlink()
        with pytest.raises(CheckpointError, match=r"config\.json"):
            self.load(folder)

    def test_pickled_weights(self, folder: Path) -> None:
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
        with pytest.raises(CheckpointError, match=r"pytorch_model\.bin, which may run code"):
            self.load(folder)

    def test_missing_shard(self, folder: Path) -> None:
        index = {"weight_map": {"model.norm.weight": "model-2.safetensors", "x": "model.safetensors"}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        with pytest.raises(CheckpointError, match=r"expected model-2\.safetensors"):
            self.load(folder)

    def test_missing_weight(self, folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        del weights["model.norm.weight"]
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(CheckpointError, match=r"none for model\.norm\.weight"):
            self.load(folder)

    def test_damaged_weights(self, folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"\x00" * 100)
        with pytest.raises(CheckpointError, match=r"transformers can load|weights of a Qwen3"):
            self.load(folder)

    def test_weights_of_another_shape(self, folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 40}))
        with pytest.raises(CheckpointError, match=r"transformers can load|weights of a Qwen3"):
            self.load(folder)

    def test_no_tokenizer(self, folder: Path) -> None:
        (folder / "tokenizer.json").unlink()
        with pytest.raises(CheckpointError, match="tokenizer"):
            self.load(folder)

    def test_no_device(self, folder: Path) -> None:
        with pytest.raises(EngineError, match="no_such_device"):
            LocalEngine(LocalWorker(model=str(folder), device="no_such_device"))


@pytest.mark.asyncio
async def test_create_engine_loads_two_at_once(checkpoints: dict[str, Path]) -> None:
    workers = [LocalWorker(model=str(checkpoints[kind])) for kind in ("qwen3", "llama")]
    for engine in await asyncio.gather(*map(create_engine, workers)):
        answer = await engine.generate(ASK)
        assert math.isfinite(answer.mean_logprob)
        await engine.close()


def test_bfloat16(tmp_path: Path) -> None:
    engine = LocalEngine(LocalWorker(model=str(save_checkpoint(tmp_path / "m", "qwen3", 1)), dtype="bfloat16"))
    assert engine.model.dtype == torch.bfloat16
    asyncio.run(engine.generate(ASK))
    asyncio.run(engine.close())
