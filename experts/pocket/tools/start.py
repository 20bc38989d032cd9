"""Where the training starts: at the weights of another pocket model, which reads free English and copies what it reads."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import PreTrainedModel, Qwen3ForCausalLM

_STATE_LENGTH = 3.5


@torch.no_grad()
def start_from(model: PreTrainedModel, folder: Path) -> None:
    """Takes over the weights of a model of the same shape; of its vocabulary, what both have.

    The final states get the length 3.5 and the output rows what they lose in it, so that the model computes what it did.
    Tools' rows are averages of states, and long ones would make wild logits.
    """
    there = Qwen3ForCausalLM.from_pretrained(folder, local_files_only=True, use_safetensors=True).state_dict()
    for name, weight in model.state_dict().items():
        rows = min(len(weight), len(there[name]))
        weight[:rows] = there[name][:rows]
    norm = model.model.norm.weight
    gain = _STATE_LENGTH / float(norm.norm())
    norm.mul_(gain)
    model.lm_head.weight.div_(gain)
