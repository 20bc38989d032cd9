"""The plain Qwen3 against transformers' own."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from experts.engines.local import qwen3
from experts.engines.local.decoding import pad
from experts.errors import CheckpointError

CONFIG = {
    "vocab_size": 67, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "head_dim": 16, "max_position_embeddings": 64, "initializer_range": 0.4, "eos_token_id": 3, "bos_token_id": None,
}  # fmt: skip


@pytest.fixture(params=[(4, False), (2, True)], ids=["heads", "grouped heads, tied"])
def folder(request, tmp_path):
    heads, tied = request.param
    torch.manual_seed(5)
    model = Qwen3ForCausalLM(Qwen3Config(**CONFIG, num_key_value_heads=heads, tie_word_embeddings=tied))
    for name, weight in model.named_parameters():
        if "norm" in name:
            torch.nn.init.uniform_(weight, 0.5, 1.5)
    model.save_pretrained(tmp_path)
    return tmp_path


def test_logits_and_states_are_those_of_transformers(folder) -> None:
    assert qwen3.accepts(folder)
    plain, oracle = qwen3.load(folder, dtype=torch.float32).eval(), Qwen3ForCausalLM.from_pretrained(folder).eval()
    for prompts in ([(5, 9, 11, 60)], [(5, 9, 11, 60, 2, 8), (7, 7), (1, 2, 3)]):
        ids, mask, positions = pad(prompts, "cpu")
        with torch.inference_mode():
            ours = plain(input_ids=ids, attention_mask=mask, position_ids=positions).logits[:, -1]
            theirs = oracle(input_ids=ids, attention_mask=mask, position_ids=positions).logits[:, -1]
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-5)


def test_cache_and_dropped_rows_change_nothing(folder) -> None:
    plain = qwen3.load(folder, dtype=torch.float32).eval()
    whole = [(5, 9, 11, 60, 2, 8), (7, 30, 4, 12, 13, 14)]
    with torch.inference_mode():
        ids, mask, positions = pad(whole, "cpu")
        expected = plain(input_ids=ids, attention_mask=mask, position_ids=positions).logits[:, -1]
        cache = qwen3.Cache()
        plain(input_ids=ids[:, :4], attention_mask=None, position_ids=positions[:, :4], past_key_values=cache)
        cache.batch_select_indices(torch.tensor([1]))
        for at in (4, 5):
            step = plain(
                input_ids=ids[1:, at : at + 1], attention_mask=None, position_ids=positions[1:, at : at + 1],
                past_key_values=cache,
            ).logits[:, -1]  # fmt: skip
    torch.testing.assert_close(step, expected[1:], atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "extra", [{"rope_parameters": {"rope_type": "yarn", "factor": 4.0}}, {"use_sliding_window": True},
              {"architectures": ["Qwen3MoeForCausalLM"]}, {"quantization_config": {"quant_method": "awq"}}],
)  # fmt: skip
def test_what_is_not_plain_goes_to_transformers(folder, extra) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | extra))
    assert not qwen3.accepts(folder)


def test_damaged_weights_are_a_clear_error(folder) -> None:
    (folder / "model.safetensors").write_bytes(b"x" * 64)
    with pytest.raises(CheckpointError, match="weights of a Qwen3"):
        qwen3.load(folder, dtype=torch.float32)
