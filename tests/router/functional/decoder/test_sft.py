"""Training a decoder to route, end to end on a tiny one."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experts.engines.config import LocalWorker
from router.errors import TokenHeadError
from router.functional.sft import train_decoder
from router.functional.tokens_file import MODEL_NAME, load_tokens


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.numpy import load_file

    return load_file(folder / MODEL_NAME / "model.safetensors")


def test_training_reports_what_it_reached(trained: Any) -> None:
    report = trained.report
    assert report.accuracy == 1
    assert report.accuracy > max(report.prior_accuracy, report.best_single, report.random)
    assert report.exact_reformulation is not None and report.exact_reformulation >= 0.8
    assert math.isnan(trained.losses[0]) and trained.losses[-1] < trained.losses[1]
    tokens = load_tokens(trained.folder)
    assert tokens == load_tokens(trained.folder / MODEL_NAME)
    assert (tokens.report, tokens.abstain, tokens.silent) == (report, "<node_unknown>", ())
    assert tokens.temperature >= 1, "all rows right do not say how sure to be"
    assert 0 < tokens.threshold < 1


def test_plain_transformers_writes_the_same_call(trained: Any, toy: Any) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, tokens = trained.folder / MODEL_NAME, load_tokens(trained.folder)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    written = []
    for query in ("i like soup", "what of rain today?", "who are you?"):
        turns = [{"role": "system", "content": toy.SYSTEM}, {"role": "user", "content": query}]
        prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt")
        end = tokenizer.convert_tokens_to_ids([tokens.end, tokens.abstain])
        output = model.generate(**prompt, do_sample=False, max_new_tokens=20, eos_token_id=end, pad_token_id=0)
        written.append(tokenizer.decode(output[0, prompt["input_ids"].shape[1] :]))
    assert written == ["<node_1>('SOUP')<end>", "<node_0>('RAIN')<end>", "<node_unknown>"]


def test_rows_alone_change_nothing_but_the_functional_rows(trained: Any, toy: Any, tmp_path: Path) -> None:
    worker = LocalWorker(model=str(trained.folder / MODEL_NAME))
    targets = (*toy.TARGETS, toy.SPORT)
    train = [*toy.rows(80, 11), *(toy.Row(toy.ask(text), "sport", None) for text in toy.SPORT.examples)]
    unseen = [frame.format(word) for word in toy.SPORT_WORDS for frame in toy.FRAMES[4:]]
    validation = [*toy.rows(40, 12), *(toy.Row(toy.ask(text), "sport", None) for text in unseen)]
    report = train_decoder(worker, targets, train, validation, tmp_path, tune="rows", system=toy.SYSTEM)
    assert report.accuracy >= 0.9
    assert report.accuracy >= report.prior_accuracy - 0.05
    assert load_tokens(tmp_path).silent == ("sport",)
    before, after = weights(trained.folder), weights(tmp_path)
    size = before["lm_head.weight"].shape[0]
    functional = [size - 1 - i for i in range(5)]
    same = [i for i in range(size) if i not in functional]
    assert np.array_equal(before["lm_head.weight"][same], after["lm_head.weight"][same])
    inner = [name for name in before if "embed" not in name and "lm_head" not in name]
    assert inner and all(np.array_equal(before[name], after[name]) for name in inner)


@pytest.mark.parametrize("tied", [False, True])
def test_adapters_are_merged_into_a_plain_checkpoint(
    toy: Any, base: Path, tied_base: Path, tmp_path: Path, tied: bool
) -> None:
    worker = LocalWorker(model=str(tied_base if tied else base))
    data = toy.rows(200, 1, reformulate=False), toy.rows(60, 2, reformulate=False)
    report = train_decoder(
        worker, toy.TARGETS, *data, tmp_path, tune="lora", system=toy.SYSTEM, epochs=2, lr=1e-2, batch_tokens=1024
    )
    assert report.tune == "lora"
    assert report.accuracy > report.prior_accuracy or report.epochs == 0
    assert not any("lora" in name or "token_adapter" in name or "base_layer" in name for name in weights(tmp_path))
    assert set(load_tokens(tmp_path).silent) == set(toy.WORDS), "no call was there to learn"
    config = json.loads((tmp_path / MODEL_NAME / "config.json").read_text())
    assert config["tie_word_embeddings"] is tied


def test_training_that_does_harm_is_undone(trained: Any, toy: Any, tmp_path: Path) -> None:
    worker = LocalWorker(model=str(trained.folder / MODEL_NAME))
    report = train_decoder(
        worker, toy.TARGETS, toy.rows(30, 3), toy.rows(30, 4), tmp_path, tune="model", system=toy.SYSTEM, epochs=1,
        lr=1.0,
    )  # fmt: skip
    assert (report.epochs, report.accuracy) == (0, report.prior_accuracy)
    before, after = weights(trained.folder), weights(tmp_path)
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_rows_that_cannot_be_learned_are_an_error(toy: Any, base: Path, tmp_path: Path) -> None:
    worker, data = LocalWorker(model=str(base)), toy.rows(10, 1)
    with pytest.raises(TokenHeadError, match="found 10 and 0"):
        train_decoder(worker, toy.TARGETS, data, [], tmp_path)
    with pytest.raises(TokenHeadError, match="found rows for chess"):
        train_decoder(worker, toy.TARGETS, [*data, toy.Row(toy.ask("e4"), "chess", None)], data, tmp_path)


def test_a_seed_repeats_a_run(trained: Any, toy: Any, tmp_path: Path) -> None:
    worker = LocalWorker(model=str(trained.folder / MODEL_NAME))
    first, second = [
        train_decoder(
            worker, toy.TARGETS, toy.rows(30, 3), toy.rows(30, 4), tmp_path / name, tune="model", system=toy.SYSTEM,
            epochs=1, lr=1e-5, seed=7,
        )
        for name in ("a", "b")
    ]  # fmt: skip
    assert first.model_copy(update={"seconds": 0}) == second.model_copy(update={"seconds": 0})
    assert load_tokens(tmp_path / "a").fingerprint == load_tokens(tmp_path / "b").fingerprint
