"""The bundled pair: its sizes, its tokenizers, and what each model gets right."""

from __future__ import annotations

import pytest
import torch

from experts.pocket import resolve
from experts.pocket.word_problems.data import fixed_problems, is_correct

PAIR = ("pair_small", "pair_large")


@pytest.fixture(scope="module")
def models():
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return {
        name: (
            AutoModelForCausalLM.from_pretrained(resolve(name)).eval(),
            AutoTokenizer.from_pretrained(resolve(name), padding_side="left"),
        )
        for name in PAIR
    }


def test_the_large_one_is_at_least_eight_times_as_large_and_reads_the_same_tokens(models) -> None:
    (small, small_tokens), (large, large_tokens) = (models[name] for name in PAIR)
    assert large.num_parameters() >= 8 * small.num_parameters()
    assert small_tokens.get_vocab() == large_tokens.get_vocab()
    assert small_tokens.chat_template == large_tokens.chat_template


def test_the_large_one_solves_held_out_problems_that_the_small_one_gets_wrong(models) -> None:
    problems = fixed_problems("test", 40)
    right = {}
    for name, (model, tokenizer) in models.items():
        chats = [[{"role": "user", "content": problem.text}] for problem in problems]
        inputs = tokenizer.apply_chat_template(chats, padding=True, return_tensors="pt", return_dict=True)
        with torch.inference_mode():
            written = model.generate(**inputs, max_new_tokens=256, do_sample=False)
        responses = tokenizer.batch_decode(written[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        right[name] = [
            is_correct(problem.text, str(problem.answer), response)
            for problem, response in zip(problems, responses, strict=True)
        ]
        # What goes wrong is a number, not the form.
        assert sum("#### " in response for response in responses) >= 37
    assert sum(right["pair_large"]) >= 33
    assert 3 <= sum(right["pair_small"]) <= 26
