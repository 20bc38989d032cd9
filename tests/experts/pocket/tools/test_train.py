"""Batches of lessons, and the trainer on a recipe of seconds."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
import torch
from safetensors.torch import load_file

from experts.pocket.tokenizer import ASSISTANT, END, PAD, build_tokenizer
from experts.pocket.tools.batches import TOOL, Batcher
from experts.pocket.tools.recipe import TOOL_USER
from experts.pocket.tools.train import train
from tests.experts.pocket.refined import check_refined

TINY = replace(
    TOOL_USER, million_tokens=0.03, refining_million_tokens=0.0, hidden=32, layers=1, heads=1, intermediate=64,
    batch_tokens=1024,
)  # fmt: skip


def test_a_call_is_predicted_where_it_is_due_and_read_as_one_generic_token() -> None:
    tokenizer = build_tokenizer((TOOL,))
    tool, assistant, pad, end = (tokenizer.convert_tokens_to_ids(t) for t in (TOOL, ASSISTANT, PAD, END))
    batch = next(Batcher(TINY, tokenizer)(Random(0)))
    tools = sum(map(len, batch.texts))
    calls = batch.targets >= len(tokenizer)
    assert calls.any()
    assert int(batch.targets.max()) < len(tokenizer) + tools
    assert (batch.ids[:, 1:][calls[:, :-1]] == tool).all()
    assert not batch.closed[calls].any()
    assert not batch.weight[batch.ids == pad].any()
    assert not (batch.targets == tool).any()  # the generic token is read, never written
    for ids, targets, weight in zip(batch.ids.tolist(), batch.targets.tolist(), batch.weight.tolist(), strict=True):
        start = ids.index(assistant)
        assert weight[:start] == pytest.approx([TINY.prompt_weight] * start)
        plain = [t for t, target in enumerate(targets) if weight[t] and target < len(tokenizer)]
        assert all(targets[t] == ids[t + 1] for t in plain)
        if end in ids:
            assert weight[ids.index(end) - 1] == 1.0


def test_what_a_tool_writes_is_not_learned() -> None:
    tokenizer = build_tokenizer((TOOL,))
    tool, equals = tokenizer.convert_tokens_to_ids(TOOL), tokenizer.convert_tokens_to_ids("=")
    batches, results = Batcher(TINY, tokenizer)(Random(1)), 0
    for batch in (next(batches), next(batches)):
        for ids, weight in zip(batch.ids.tolist(), batch.weight.tolist(), strict=True):
            if tool in ids and equals in ids[ids.index(tool) :]:
                start = ids.index(equals, ids.index(tool))
                assert weight[start - 1] == 1.0  # the model writes "=" itself
                assert weight[start] == 0.0
                results += 1
    assert results > 10


def test_learns_and_repeats(tmp_path) -> None:
    train(TINY, tmp_path / "a", start=None, compiled=False)
    train(TINY, tmp_path / "b", start=None, compiled=False)
    one, two = load_file(tmp_path / "a" / "model.safetensors"), load_file(tmp_path / "b" / "model.safetensors")
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_a_finished_model_is_refined(tmp_path) -> None:
    train(TINY, tmp_path / "first", start=None, compiled=False)
    refined = replace(TINY, refining_million_tokens=0.02)
    train(refined, tmp_path / "second", finished=tmp_path / "first", compiled=False)
    check_refined(tmp_path / "first", tmp_path / "second", 0.02)
