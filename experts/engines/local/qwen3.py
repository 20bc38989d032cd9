"""Qwen3 in plain torch: what the pocket family runs on.

Importing transformers' modelling code costs more processor time than everything else that a first query does, since it brings
torch.distributed, torch._dynamo and sympy along. Dense Qwen3 checkpoints without extras need none of it. Parameter
names, computation and interface are those of transformers' ``Qwen3ForCausalLM``, which is the oracle of its tests; every
other checkpoint is loaded by transformers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from experts.engines.local.checkpoint import check_complete
from experts.errors import CheckpointError

_PLAIN = {"hidden_act": "silu", "attention_bias": False, "use_sliding_window": False}
_EXTRAS = ("rope_scaling", "quantization_config", "sliding_window")


def accepts(folder: Path) -> bool:
    """Whether a checkpoint is a dense Qwen3 in one file, without scaled positions, sliding windows or quantisation."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return (
        config.get("architectures") == ["Qwen3ForCausalLM"]
        and all(config.get(key, value) == value for key, value in _PLAIN.items())
        and not any(config.get(key) for key in _EXTRAS)
        and (config.get("rope_parameters") or {}).get("rope_type", "default") == "default"
        and (folder / "model.safetensors").is_file()
    )


def load(folder: Path, *, dtype: torch.dtype) -> Qwen3:
    """The model of a checkpoint.

    Raises:
        CheckpointError: the weights are damaged, or do not fit the configuration.
    """
    config = SimpleNamespace(**json.loads((folder / "config.json").read_text(encoding="utf-8")))
    try:
        weights = load_file(folder / "model.safetensors")
        model = Qwen3(config)
        if config.tie_word_embeddings:
            weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
        found = {name: weight.to(dtype) for name, weight in weights.items()}
        missing = model.load_state_dict(found, strict=False, assign=True).missing_keys
    except (OSError, RuntimeError, SafetensorError, AttributeError, KeyError) as error:
        raise CheckpointError(f"expected the weights of a Qwen3 in {folder}, found: {error}") from error
    check_complete(missing, folder)
    if config.tie_word_embeddings:
        model.lm_head.weight = model.model.embed_tokens.weight
    return model


@dataclass
class Output:
    """``logits`` [batch, kept, vocabulary] or ``last_hidden_state`` [batch, length, width]."""

    logits: Tensor | None = None
    last_hidden_state: Tensor | None = None


class Cache:
    """Keys and values of each layer, ``layers``, [batch, heads, length, head width].

    They lie in buffers with room to grow, so a new token does not copy all those before it.
    """

    _ROOM = 64  # tokens

    def __init__(self) -> None:
        self.layers: list[tuple[Tensor, Tensor]] = []
        self._buffers: list[tuple[Tensor, Tensor]] = []

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Appends new keys and values of a layer; returns all of them."""
        if layer == len(self.layers):
            self.layers.append((keys, values))
            self._buffers.append((keys, values))
            return keys, values
        before = self.layers[layer][0].shape[2]
        length = before + keys.shape[2]
        if length > self._buffers[layer][0].shape[2]:
            old_keys, old_values = self.layers[layer]
            self._buffers[layer] = (self._grown(old_keys, length), self._grown(old_values, length))
        for buffer, new in zip(self._buffers[layer], (keys, values), strict=True):
            buffer[:, :, before:length] = new
        self._show(layer, length)
        return self.layers[layer]

    def batch_select_indices(self, rows: Tensor) -> None:
        """Keeps these rows of the batch."""
        for layer, (keys, values) in enumerate(self._buffers):
            length = self.layers[layer][0].shape[2]
            self._buffers[layer] = (keys[rows], values[rows])
            self._show(layer, length)

    def _show(self, layer: int, length: int) -> None:
        keys, values = self._buffers[layer]
        self.layers[layer] = (keys[:, :, :length], values[:, :, :length])

    def _grown(self, old: Tensor, length: int) -> Tensor:
        """A buffer for that many tokens and some more, which begins with the old ones."""
        buffer = old.new_empty(*old.shape[:2], length + self._ROOM, old.shape[3])
        buffer[:, :, : old.shape[2]] = old
        return buffer


class Linear(nn.Linear):
    """A layer without a bias whose weights are about to be loaded: nothing is initialised."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)

    def reset_parameters(self) -> None:
        return


class Embedding(nn.Embedding):
    """An embedding whose weights are about to be loaded."""

    def reset_parameters(self) -> None:
        return


class RMSNorm(nn.Module):
    """Root-mean-square normalisation over the last dimension, in float32."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        full = x.float()
        full = full * torch.rsqrt(full.pow(2).mean(-1, keepdim=True) + self.epsilon)
        return self.weight * full.to(x.dtype)


class Attention(nn.Module):
    """Grouped-query attention with normalised queries and keys and rotary positions."""

    def __init__(self, config: Any, layer: int) -> None:
        super().__init__()
        self.layer, self.width = layer, config.head_dim
        self.groups = config.num_attention_heads // config.num_key_value_heads
        self.q_proj = Linear(config.hidden_size, config.num_attention_heads * self.width)
        self.k_proj = Linear(config.hidden_size, config.num_key_value_heads * self.width)
        self.v_proj = Linear(config.hidden_size, config.num_key_value_heads * self.width)
        self.o_proj = Linear(config.num_attention_heads * self.width, config.hidden_size)
        self.q_norm = RMSNorm(self.width, config.rms_norm_eps)
        self.k_norm = RMSNorm(self.width, config.rms_norm_eps)

    def forward(self, x: Tensor, turns: tuple[Tensor, Tensor], mask: Tensor | None, cache: Cache | None) -> Tensor:
        shape = (*x.shape[:2], -1, self.width)
        queries = rotate(self.q_norm(self.q_proj(x).view(shape)).transpose(1, 2), turns)
        keys = rotate(self.k_norm(self.k_proj(x).view(shape)).transpose(1, 2), turns)
        values = self.v_proj(x).view(shape).transpose(1, 2)
        if cache is not None:
            keys, values = cache.extend(self.layer, keys, values)
        if self.groups > 1:
            keys, values = keys.repeat_interleave(self.groups, 1), values.repeat_interleave(self.groups, 1)
        mixed = functional.scaled_dot_product_attention(
            queries, keys, values, attn_mask=mask, is_causal=mask is None and x.shape[1] > 1
        )
        return self.o_proj(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class MLP(nn.Module):
    """The gated feed-forward layer."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.gate_proj = Linear(config.hidden_size, config.intermediate_size)
        self.up_proj = Linear(config.hidden_size, config.intermediate_size)
        self.down_proj = Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Attention and feed-forward layer, each normalised before and added to the stream."""

    def __init__(self, config: Any, layer: int) -> None:
        super().__init__()
        self.self_attn = Attention(config, layer)
        self.mlp = MLP(config)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x: Tensor, turns: tuple[Tensor, Tensor], mask: Tensor | None, cache: Cache | None) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), turns, mask, cache)
        return x + self.mlp(self.post_attention_layernorm(x))  # type: ignore[no-any-return]


class Backbone(nn.Module):
    """Embeddings, blocks and the final normalisation."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(config, layer) for layer in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None, position_ids: Tensor,
        past_key_values: Cache | None = None, use_cache: bool = False,
    ) -> Output:  # fmt: skip
        x = self.embed_tokens(input_ids)
        turns, mask = self._turns(position_ids, x), visible(attention_mask, input_ids.shape[1])
        for block in self.layers:
            x = block(x, turns, mask, past_key_values)
        return Output(last_hidden_state=self.norm(x))

    def _turns(self, positions: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and sine of each position's angles, [batch, 1, length, head width]."""
        width, parameters = self.config.head_dim, getattr(self.config, "rope_parameters", None) or {}
        base = parameters.get("rope_theta") or self.config.rope_theta
        rates = base ** -(torch.arange(0, width, 2, device=x.device).float() / width)
        angles = positions[:, None, :, None].float() * torch.cat((rates, rates))
        return angles.cos().to(x.dtype), angles.sin().to(x.dtype)


class Qwen3(nn.Module):
    """The causal language model."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        config.get_text_config = lambda: config
        self.model = Backbone(config)
        self.lm_head = Linear(config.hidden_size, config.vocab_size)
        self.generation_config = SimpleNamespace(eos_token_id=config.eos_token_id)

    @property
    def base_model(self) -> Backbone:
        return self.model

    @property
    def dtype(self) -> torch.dtype:
        return self.lm_head.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.lm_head.weight.device

    def get_input_embeddings(self) -> nn.Embedding:
        return self.model.embed_tokens

    def get_output_embeddings(self) -> nn.Linear:
        return self.lm_head

    def forward(self, *, logits_to_keep: int = 0, **inputs: Any) -> Output:
        states = self.model(**inputs).last_hidden_state
        return Output(logits=self.lm_head(states[:, -logits_to_keep:]))


def rotate(x: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary positions (Su et al. 2021): the two halves of each head are the two coordinates."""
    first, second = x.chunk(2, dim=-1)
    return x * turns[0] + torch.cat((-second, first), dim=-1) * turns[1]


def visible(attention_mask: Tensor | None, length: int) -> Tensor | None:
    """What the last ``length`` positions may look at, bool [batch, 1, length, total]; None is plain causality.

    Padding looks at itself, or its softmax would have nothing to divide.
    """
    if attention_mask is None:
        return None
    total = attention_mask.shape[1]
    causal = torch.ones(length, total, dtype=torch.bool, device=attention_mask.device).tril(total - length)
    itself = torch.eye(total, dtype=torch.bool, device=attention_mask.device)[-length:]
    return (attention_mask.bool()[:, None, None, :] & causal) | itself
