"""Tiny random checkpoints with a character tokenizer."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

SPECIAL = ("<pad>", "<unk>", "<|im_start|>", "<|im_end|>", "<node_0>", "<node_1>")
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
KINDS = ("qwen3", "llama", "qwen3_moe", "mixtral")

_VOCABULARY = {token: i for i, token in enumerate((*SPECIAL, *string.printable))}
_SHARED: dict[str, Any] = {
    "vocab_size": len(_VOCABULARY), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 256,
    "initializer_range": 0.2, "eos_token_id": _VOCABULARY["<|im_end|>"], "pad_token_id": 0, "bos_token_id": None,
}  # fmt: skip


def character_tokenizer(template: str | None = TEMPLATE) -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.WordLevel(_VOCABULARY, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens(list(SPECIAL))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", unk_token="<unk>", eos_token="<|im_end|>"
    )
    tokenizer.chat_template = template
    return tokenizer


def random_model(kind: str, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    match kind:
        case "qwen3":
            return Qwen3ForCausalLM(Qwen3Config(**_SHARED, tie_word_embeddings=True))
        case "llama":
            return LlamaForCausalLM(LlamaConfig(**_SHARED, tie_word_embeddings=False))
        case "qwen3_moe":
            return Qwen3MoeForCausalLM(
                Qwen3MoeConfig(**_SHARED, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16)
            )
        case "mixtral":
            return MixtralForCausalLM(MixtralConfig(**_SHARED, num_local_experts=4, num_experts_per_tok=2))
    raise ValueError(kind)


def save_checkpoint(folder: Path, kind: str, seed: int = 0) -> Path:
    random_model(kind, seed).save_pretrained(folder)
    character_tokenizer().save_pretrained(folder)
    return folder
