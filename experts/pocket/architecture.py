"""The networks of the pocket family: a Qwen3, or a Qwen3-MoE, of a recipe's shape."""

from __future__ import annotations

from typing import Any

from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from experts.pocket.recipes import Recipe
from experts.pocket.tokenizer import END, PAD


def build_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """A model with fresh weights."""
    common: dict[str, Any] = {
        "vocab_size": len(tokenizer), "hidden_size": recipe.hidden, "num_hidden_layers": recipe.layers,
        "num_attention_heads": recipe.heads, "num_key_value_heads": recipe.heads,
        "head_dim": recipe.hidden // recipe.heads, "intermediate_size": recipe.intermediate,
        "max_position_embeddings": recipe.context, "rope_theta": 10000.0, "tie_word_embeddings": False,
        "pad_token_id": tokenizer.convert_tokens_to_ids(PAD), "bos_token_id": None,
        "eos_token_id": tokenizer.convert_tokens_to_ids(END), "initializer_range": 0.02, "use_cache": True,
    }  # fmt: skip
    if recipe.mixture is None:
        return Qwen3ForCausalLM(Qwen3Config(**common))
    mixture = recipe.mixture
    config = Qwen3MoeConfig(
        **common, num_experts=mixture.experts, num_experts_per_tok=mixture.top_k, moe_intermediate_size=mixture.width,
        norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[], router_aux_loss_coef=0.0,
    )  # fmt: skip
    return Qwen3MoeForCausalLM(config)
