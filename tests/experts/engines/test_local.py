from __future__ import annotations

import asyncio
import json
import math
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from experts.engines.config import LocalWorker
from experts.engines.factory import create_engine
from experts.engines.local.engine import LocalEngine
from experts.engines.local.loading import count_parameters
from experts.engines.requests import GenerateRequest, Message, Sampling
from experts.errors import CheckpointError, EngineError, EngineUnavailable, RequestError
from tests.experts.engines.checkpoints import KINDS, random_model, save_adapter, save_checkpoint
from tests.experts.engines.conformance import ASK, EngineConformance, assert_same

LONG = replace(ASK, max_tokens=200, sampling=Sampling())


def ask(text: str, **changes: object) -> GenerateRequest:
    return replace(ASK, messages=(Message("user", text),), **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=KINDS)
def any_engine(request: pytest.FixtureRequest, checkpoints: dict[str, Path]) -> Iterator[LocalEngine]:
    engine = LocalEngine(LocalWorker(model=str(checkpoints[request.param])))
    yield engine
    asyncio.run(engine.close())


@pytest_asyncio.fixture
async def engine(checkpoints: dict[str, Path]) -> AsyncIterator[LocalEngine]:
    """Tests of one architecture; fresh, as some change the model."""
    made = LocalEngine(LocalWorker(model=str(checkpoints["qwen3"])))
    yield made
    await made.close()


class TestLocalConformance(EngineConformance):
    @pytest.fixture
    def engine(self, any_engine: LocalEngine) -> LocalEngine:
        return any_engine


@pytest.mark.asyncio
async def test_greedy_equals_transformers(any_engine: LocalEngine) -> None:
    request = replace(LONG, max_tokens=25, top_logprobs=2)
    answer = await any_engine.generate(request)
    prompt = torch.tensor([any_engine.render(request)])
    model = AutoModelForCausalLM.from_pretrained(any_engine.info.model)
    expected = model.generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=25, do_sample=False, eos_token_id=None
    )
    assert list(answer.token_ids) == expected[0, prompt.shape[1] :].tolist()
    with torch.inference_mode():  # log-probabilities from one pass without a cache
        logprobs = model(expected).logits[0, prompt.shape[1] - 1 : -1].log_softmax(-1)
    chosen = logprobs[torch.arange(25), torch.tensor(answer.token_ids)]
    assert answer.logprobs == pytest.approx(chosen.tolist(), abs=1e-5)
    assert [list(top) for top in answer.top_logprobs] == logprobs.topk(2).indices.tolist()


@pytest.mark.asyncio
async def test_mixed_batch_equals_single_runs(any_engine: LocalEngine) -> None:
    whole = await any_engine.generate(ASK)
    digits = any_engine.encode("0123456789")
    requests = [
        ask("a", max_tokens=3),
        ask("something much longer than the others" * 3, sampling=Sampling(0.7, top_p=0.9, seed=3)),
        ask("first", first_token_ids=digits, max_tokens=1),
        ask("digits", allowed_token_ids=digits, top_logprobs=4),
        ask("end", ignore_eos=False, max_tokens=40),
        replace(ASK, stop=(whole.text[4:7],), max_tokens=50),
        replace(ASK, messages=(), prompt_ids=any_engine.encode("exact"), stop_token_ids=(whole.token_ids[2],)),
    ]
    alone = [await any_engine.generate(request) for request in requests]
    together = await asyncio.gather(*map(any_engine.generate, requests))
    for one, other in zip(alone, together, strict=True):
        assert_same(one, other)


@pytest.mark.asyncio
async def test_waiting_requests_share_forward_passes(engine: LocalEngine) -> None:
    passes = await engine.call(_count_passes)
    await asyncio.gather(*(engine.generate(ask("x" * n, max_tokens=5)) for n in range(1, 9)))
    assert len(passes) <= 2 * 5  # eight of them one after the other would take 40


@pytest.mark.asyncio
async def test_max_batch(checkpoints: dict[str, Path]) -> None:
    engine = LocalEngine(LocalWorker(model=str(checkpoints["qwen3"]), max_batch=2))
    passes = await engine.call(_count_passes)
    await asyncio.gather(*(engine.generate(ask("x", max_tokens=2)) for _ in range(6)))
    assert max(passes) == 2
    await engine.close()


@pytest.mark.asyncio
async def test_seeds(engine: LocalEngine) -> None:
    def drawn(seed: int | None) -> GenerateRequest:
        return replace(ASK, max_tokens=30, sampling=Sampling(temperature=2.0, seed=seed))

    one, same, other, free, free_again = await asyncio.gather(*map(engine.generate, map(drawn, (1, 1, 2, None, None))))
    assert one.token_ids == same.token_ids
    assert len({one.token_ids, other.token_ids, free.token_ids, free_again.token_ids}) == 4


@pytest.mark.asyncio
async def test_tiny_nucleus_is_greedy(engine: LocalEngine) -> None:
    greedy = await engine.generate(replace(ASK, sampling=Sampling()))
    assert_same(greedy, await engine.generate(replace(ASK, sampling=Sampling(1.5, top_p=1e-9, seed=1))))


@pytest.mark.asyncio
async def test_answer_ends_with_the_context(engine: LocalEngine) -> None:
    prompt = engine.encode("x" * 250)
    answer = await engine.generate(replace(LONG, messages=(), prompt_ids=prompt))
    assert len(answer.token_ids) == engine.info.context_length - 250
    assert answer.finish_reason == "length"
    with pytest.raises(RequestError, match="shorter than the context of 256 tokens, found 300"):
        await engine.generate(replace(LONG, messages=(), prompt_ids=engine.encode("x" * 300)))


@pytest.mark.asyncio
async def test_own_end_token(engine: LocalEngine) -> None:
    end = engine.token_id("<|im_end|>")
    assert end is not None
    answer = await engine.generate(replace(ASK, allowed_token_ids=(end,), ignore_eos=False))
    assert (answer.token_ids, answer.text, answer.finish_reason, answer.stop_reason) == ((end,), "", "stop", None)
    assert answer.logprobs == (0.0,)
    longer = await engine.generate(replace(ASK, allowed_token_ids=(end,)))
    assert longer.token_ids == (end,) * ASK.max_tokens
    assert longer.text == ""


@pytest.mark.asyncio
async def test_cancelling_stops_the_generation(engine: LocalEngine) -> None:
    passes = await engine.call(_count_passes)
    task = asyncio.create_task(engine.generate(LONG))
    while not passes:
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await engine.call(lambda model: len(passes)) < LONG.max_tokens


@pytest.mark.asyncio
async def test_closing_a_stream_stops_the_generation(engine: LocalEngine) -> None:
    passes = await engine.call(_count_passes)
    stream = engine.stream(LONG)
    first = await anext(stream)
    assert first.token_ids
    assert first.generation is None
    await stream.aclose()  # type: ignore[attr-defined]
    assert await engine.call(lambda model: len(passes)) < LONG.max_tokens


def test_one_engine_serves_several_event_loops(checkpoints: dict[str, Path]) -> None:
    engine = LocalEngine(LocalWorker(model=str(checkpoints["qwen3"])))
    answers = [asyncio.run(engine.generate(ASK)) for _ in range(2)]
    assert_same(*answers)
    asyncio.run(engine.close())


@pytest.mark.asyncio
async def test_closed_engine(engine: LocalEngine) -> None:
    running = asyncio.create_task(engine.generate(LONG))
    await asyncio.sleep(0.01)
    await engine.close()
    await engine.close()
    with pytest.raises(EngineUnavailable, match="closed"):
        await running
    with pytest.raises(EngineUnavailable, match="closed"):
        await engine.generate(ASK)


@pytest.mark.asyncio
async def test_failure_reaches_everyone_who_waits(engine: LocalEngine) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("out of memory")

    hook = await engine.call(lambda model: model.register_forward_pre_hook(broken))
    for outcome in await asyncio.gather(*(engine.generate(ASK) for _ in range(3)), return_exceptions=True):
        assert isinstance(outcome, EngineError)
        assert "out of memory" in str(outcome)
    with pytest.raises(EngineError, match="out of memory"):
        await anext(engine.stream(ASK))
    hook.remove()
    await engine.generate(ASK)


@pytest.mark.asyncio
async def test_hidden_states(any_engine: LocalEngine) -> None:
    requests = [ask("a"), ask("longer"), ask("a", forced_ids=any_engine.encode("b"))]
    states = await any_engine.hidden_states(requests)
    assert states.dtype == np.float32
    oracle = AutoModelForCausalLM.from_pretrained(any_engine.info.model)
    width = oracle.config.hidden_size
    assert states.shape == (3, width)
    for request, state in zip(requests, states, strict=True):
        with torch.inference_mode():
            output = oracle(torch.tensor([any_engine.render(request)]), output_hidden_states=True)
        np.testing.assert_allclose(state, output.hidden_states[-1][0, -1].numpy(), atol=1e-5)
    assert (await any_engine.hidden_states([])).shape == (0, width)


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["qwen3", "llama"])  # tied and untied embeddings
async def test_extend_vocabulary(checkpoints: dict[str, Path], kind: str) -> None:
    engine = LocalEngine(LocalWorker(model=str(checkpoints[kind])))
    size, fingerprint = engine.info.vocabulary_size, engine.info.fingerprint
    before = await engine.generate(replace(LONG, max_tokens=5))
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
    answer = await engine.generate(replace(LONG, max_tokens=5, first_token_ids=(new, known)))
    assert answer.token_ids[0] == new
    assert answer.first_logprobs[known] < -100
    others = tuple(token for token in range(size) if token != known)
    assert (await engine.generate(replace(LONG, max_tokens=5, allowed_token_ids=others))).token_ids == before.token_ids
    with pytest.raises(RequestError, match=r"shape \(32,\)"):
        await engine.extend_vocabulary({"<x>": np.zeros(3, dtype=np.float32)})
    await engine.close()


@pytest.mark.asyncio
async def test_adapters(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    base = checkpoints["qwen3"]
    merged = {name: save_adapter(base, tmp_path / name, seed) for seed, name in enumerate(("one", "two"))}
    engine = LocalEngine(LocalWorker(model=str(base), adapters={name: tmp_path / name for name in merged}))
    requests = [replace(LONG, max_tokens=10, adapter=name) for name in ("one", None, "two", "one")]
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


def _count_passes(model: Any) -> list[int]:
    """A list that grows by the batch size with every forward pass."""
    passes: list[int] = []
    model.register_forward_pre_hook(lambda _, args, kwargs: passes.append(len(kwargs["input_ids"])), with_kwargs=True)
    return passes
