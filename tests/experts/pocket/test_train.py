"""The trainer itself, on a recipe of seconds."""

from __future__ import annotations

import json
from dataclasses import replace
from random import Random

import pytest
import torch
from safetensors.torch import load_file

from experts.pocket.batches import batches
from experts.pocket.corpus import Pair
from experts.pocket.recipes import RECIPES, Recipe
from experts.pocket.tokenizer import build_tokenizer
from experts.pocket.train import runs_of, train
from tests.experts.pocket.refined import check_refined


def echo(rng: Random, split: str):
    while True:
        letter = rng.choice("abcdefgh")
        yield Pair(letter, letter)


TINY = Recipe(echo, 0.02, hidden=32, layers=1, heads=1, intermediate=64, batch_tokens=256, learning_rate=1e-2)


def test_learns_and_repeats(tmp_path) -> None:
    train(TINY, tmp_path / "a", compiled=False)
    train(TINY, tmp_path / "b", compiled=False)
    one, two = load_file(tmp_path / "a" / "model.safetensors"), load_file(tmp_path / "b" / "model.safetensors")
    assert all(torch.equal(one[key], two[key]) for key in one)
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = (cls.from_pretrained(tmp_path / "a") for cls in (AutoModelForCausalLM, AutoTokenizer))
    prompt = tokenizer.apply_chat_template([{"role": "user", "content": "c"}], return_tensors="pt", return_dict=True)
    written = model.generate(**prompt, max_new_tokens=4, do_sample=False)
    assert tokenizer.decode(written[0, prompt["input_ids"].shape[1] :]) == "c<end>"
    assert json.loads((tmp_path / "a" / "training.json").read_text())["seed"] == 0


def test_a_recipe_may_refine_what_it_made(tmp_path) -> None:
    refined = replace(TINY, refining_million_tokens=0.01)
    assert [run.million_tokens for run in runs_of(refined)] == [0.02, 0.01]
    last = runs_of(refined)[1]
    assert last.rate(step=200, seen=0) > last.rate(step=200, seen=5_000) > last.rate(step=200, seen=9_999) > 0
    train(TINY, tmp_path / "first", compiled=False)
    train(refined, tmp_path / "second", finished=tmp_path / "first", compiled=False)
    check_refined(tmp_path / "first", tmp_path / "second", 0.01)


def test_only_responses_count_unless_the_recipe_says_so() -> None:
    tokenizer = build_tokenizer()
    batch = next(batches(TINY, tokenizer, Random(0)))
    assistant = tokenizer.convert_tokens_to_ids("<assistant>")
    for row, weights in zip(batch.ids.tolist(), batch.weight.tolist(), strict=True):
        at = row.index(assistant)
        assert not any(weights[: at + 1])
        assert weights[at + 1 : at + 3] == [1.0, 1.0]
    assert not batch.confined.any() and not batch.decisions.any()


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_fits_its_context(name: str) -> None:
    recipe, tokenizer = RECIPES[name], build_tokenizer(RECIPES[name].special_tokens)
    batch = next(batches(recipe, tokenizer, Random(1)))
    assert batch.ids.shape == batch.weight.shape
    assert batch.ids.shape[1] <= recipe.context
    assert int(batch.ids.max()) < len(tokenizer)
