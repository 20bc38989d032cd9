"""Tiny random checkpoints with a character tokenizer."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    GptOssConfig,
    GptOssForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    OlmoeConfig,
    OlmoeForCausalLM,
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
KINDS = ("qwen3", "llama", "qwen3_moe", "mixtral", "olmoe", "gpt_oss")

_VOCABULARY = {token: i for i, token in enumerate((*SPECIAL, *string.printable))}
_SHARED: dict[str, Any] = {
    "vocab_size": len(_VOCABULARY), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": 256,
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


def random_model(kind: str, seed: int = 0, **changes: Any) -> Any:
    torch.manual_seed(seed)
    shared = _SHARED | changes
    match kind:
        case "qwen3":
            return Qwen3ForCausalLM(Qwen3Config(**shared, tie_word_embeddings=True))
        case "llama":
            return LlamaForCausalLM(LlamaConfig(**shared, tie_word_embeddings=False))
        case "qwen3_moe":
            return Qwen3MoeForCausalLM(
                Qwen3MoeConfig(**shared, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16)
            )
        case "mixtral":
            return MixtralForCausalLM(MixtralConfig(**shared, num_local_experts=4, num_experts_per_tok=2))
        case "olmoe":  # as wide as its heads together, and it does not normalise the weights of the chosen experts
            wide = shared | {"hidden_size": 64, "num_attention_heads": 2}
            return OlmoeForCausalLM(OlmoeConfig(**wide, num_experts=4, num_experts_per_tok=2, norm_topk_prob=False))
        case "gpt_oss":  # vLLM's kernel for it needs a multiple of 32
            wide = shared | {"intermediate_size": 64, "sliding_window": 16}
            return GptOssForCausalLM(GptOssConfig(**wide, num_local_experts=4, num_experts_per_tok=2))
    raise ValueError(kind)


def save_checkpoint(folder: Path, kind: str, seed: int = 0, **changes: Any) -> Path:
    """Saves a random checkpoint; ``changes`` are to its configuration."""
    random_model(kind, seed, **changes).save_pretrained(folder)
    character_tokenizer().save_pretrained(folder)
    return folder


def save_adapter(base: Path, folder: Path, seed: int) -> Any:
    """Saves a random LoRA adapter of a checkpoint; returns the model with the adapter merged in."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    model.save_pretrained(folder)
    return model.merge_and_unload().eval()
