"""Models of real shapes with random weights: what they write is nonsense, how fast they write it is not."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experts.defer.files import TokenRouterFile, save_router
from experts.engines.local.checkpoint import fingerprint

VOCABULARY = 151_936
CONTEXT = 1024


@dataclass(frozen=True)
class Shape:
    """A Qwen3 with tied embeddings."""

    width: int
    inner: int
    layers: int
    heads: int
    key_value_heads: int
    head_width: int


SHAPES = {
    "0.05b": Shape(128, 384, 4, 4, 2, 32),  # for trying the command out
    "0.5b": Shape(896, 4864, 24, 14, 2, 64),
    "0.6b": Shape(1024, 3072, 28, 16, 8, 128),
    "1.7b": Shape(2048, 6144, 28, 16, 8, 128),
    "4b": Shape(2560, 9728, 36, 32, 8, 128),
}


def save_model(folder: Path, shape: Shape, seed: int) -> Path:
    """A checkpoint with random weights in bfloat16."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model: Any = AutoModelForCausalLM.from_config(_config(shape), dtype=torch.bfloat16)
    model.save_pretrained(folder)
    return _with_tokenizer(folder)


def save_outline(folder: Path, shape: Shape) -> Path:
    """A checkpoint of zeros that takes no room on the disk, for ``--load-format dummy``: the server draws the weights."""
    import torch
    from transformers import AutoModelForCausalLM

    config = _config(shape)
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    config.save_pretrained(folder)
    head: dict[str, Any] = {}
    end = 0
    for name, weight in model.named_parameters():  # tied weights come once
        start, end = end, end + 2 * math.prod(weight.shape)
        head[name] = {"dtype": "BF16", "shape": list(weight.shape), "data_offsets": [start, end]}
    text = json.dumps(head).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    return _with_tokenizer(folder)


def save_token_router(folder: Path, small: Path, large: Path, seed: int) -> Path:
    """A token router with random weights, of the size that `tokengraph train token-router` takes by itself."""
    import torch

    from experts.defer.features import TOP_K
    from experts.defer.network import TokenRouter
    from router.token_level.fit import FitOptions, shape_for

    torch.manual_seed(seed)
    width = json.loads((small / "config.json").read_text(encoding="utf-8"))["hidden_size"]
    router = TokenRouter(shape_for(width, TOP_K, FitOptions()))
    file = TokenRouterFile(
        shape=router.shape, small=fingerprint(small), large=fingerprint(large), target_share=0.13
    )  # fmt: skip
    save_router(router, file, folder)
    return folder


def _config(shape: Shape) -> Any:
    from transformers import Qwen3Config

    return Qwen3Config(
        vocab_size=VOCABULARY, hidden_size=shape.width, intermediate_size=shape.inner, num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads, num_key_value_heads=shape.key_value_heads, head_dim=shape.head_width,
        max_position_embeddings=CONTEXT, tie_word_embeddings=True, architectures=["Qwen3ForCausalLM"], dtype="bfloat16",
    )  # fmt: skip


def _with_tokenizer(folder: Path) -> Path:
    from experts.pocket.tokenizer import build_tokenizer

    build_tokenizer().save_pretrained(folder)
    return folder
