"""Tiny random mixtures of experts of every supported architecture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

from experts.moe.mask import ExpertMask
from tests.experts.engines.checkpoints import character_tokenizer

ARCHITECTURES = ("qwen3_moe", "mixtral", "olmoe", "gpt_oss", "deepseek_v3")
EXPERTS, TOP_K, LAYERS, VOCABULARY = 16, 4, 3, 106
PRINT = "f" * 32

_SHARED: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": LAYERS,
    "num_attention_heads": 4, "num_key_value_heads": 4, "max_position_embeddings": 256, "initializer_range": 0.12,
    "num_experts_per_tok": TOP_K, "eos_token_id": 3, "pad_token_id": 0, "bos_token_id": None,
}  # fmt: skip


def mixture(architecture: str, seed: int = 0) -> Any:
    """A model whose experts differ, and whose gates prefer some of them."""
    torch.manual_seed(seed)
    match architecture:
        case "qwen3_moe":
            config = transformers.Qwen3MoeConfig(
                **_SHARED, num_experts=EXPERTS, moe_intermediate_size=32, head_dim=32, norm_topk_prob=True
            )
        case "mixtral":
            config = transformers.MixtralConfig(**_SHARED, num_local_experts=EXPERTS, head_dim=32)
        case "olmoe":
            heads = {"num_attention_heads": 2, "num_key_value_heads": 2}  # as wide as its heads together
            config = transformers.OlmoeConfig(**_SHARED | heads, num_experts=EXPERTS, norm_topk_prob=False)
        case "gpt_oss":
            config = transformers.GptOssConfig(**_SHARED, num_local_experts=EXPERTS, head_dim=32, sliding_window=16)
        case "deepseek_v3":  # its first layer is dense; the widths of its attention are those that vLLM can do
            config = transformers.DeepseekV3Config(
                **_SHARED, n_routed_experts=EXPERTS, n_shared_experts=1, moe_intermediate_size=32, n_group=4,
                topk_group=2, first_k_dense_replace=1, norm_topk_prob=True, routed_scaling_factor=1.5,
                topk_method="noaux_tc", scoring_func="sigmoid",
                q_lora_rank=32, kv_lora_rank=512, qk_rope_head_dim=64, qk_nope_head_dim=128, v_head_dim=128,
            )  # fmt: skip
        case _:
            raise ValueError(architecture)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval().requires_grad_(False)
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if name.endswith(("gate.weight", "router.weight", "router.bias", "e_score_correction_bias")):
            tensor.normal_(0, 0.3)
    return model


def save(folder: Path, architecture: str) -> Path:
    """Saves a model with a tokenizer of characters."""
    mixture(architecture).save_pretrained(folder)
    character_tokenizer().save_pretrained(folder)
    return folder


def mask(name: str, mode: str = "before", fingerprint: str = PRINT, **layers: dict[str, Any]) -> ExpertMask:
    """A mask; ``l2={"off": [1]}`` is what it does in layer 2."""
    content = {"name": name, "fingerprint": fingerprint, "mode": mode}
    return ExpertMask.model_validate(content | {"layers": {key[1:]: layer for key, layer in layers.items()}})


def masks(fingerprint: str = PRINT) -> dict[str, ExpertMask]:
    """Together they use everything that a mask can do; what they leave of the groups is enough for DeepSeek."""
    made = (
        mask("off", l1={"off": [0, 5, 9, 14]}, l2={"off": [1, 2, 3, 7, 11, 15]}),
        mask("dropped", "after", l1={"off": [0, 1, 4, 5, 8, 9, 12, 13]}, l2={"off": [2, 3, 6, 7, 10, 11, 14, 15]}),
        mask("biased", l1={"bias": {3: 0.7, 8: -0.4}}, l2={"bias": {0: 2.5, 15: -3.0}}),
        mask("forced", l1={"force": [6]}, l2={"force": [1, 9]}),
        mask("all", l2={"off": [0, 1, 8], "force": [4, 5], "bias": {6: 1.0, 12: -1.0}}),
        mask("all-after", "after", l1={"off": [0, 4, 8, 12], "force": [5], "bias": {6: 1.0}}),
        mask("one-group", l2={"off": [0, 1, 2, 4, 5, 6], "force": [3]}),
    )
    return {one.name: one.model_copy(update={"fingerprint": fingerprint}) for one in made}


def prompts(count: int, longest: int, seed: int = 0) -> list[tuple[int, ...]]:
    """Random prompts of different lengths, the first the longest."""
    generator = torch.Generator().manual_seed(seed)
    lengths = [longest - 3 * row % (longest - 1) for row in range(count)]
    return [tuple(torch.randint(6, VOCABULARY, (n,), generator=generator).tolist()) for n in lengths]
