"""The layers of a transformers model that have experts.

Gates of transformers 5 answer (logits, weights of the chosen, ids of the chosen), for all tokens of a batch in rows. What
they do in between differs, so each class of gate is named here with its rule.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from experts.errors import MaskError
from experts.moe.routing import Rule
from experts.moe.shape import LayerShape, MoeShape

_LAYER = re.compile(r"\.layers\.(\d+)\.")


@dataclass(frozen=True)
class MoeBlock:
    """A layer with experts.

    Attributes:
        layer: its index among all layers of the model.
        gate: the module that chooses; a hook on it sees and may replace the choice.
        experts: number of them.
    """

    layer: int
    gate: Any
    experts: int
    rule: Rule


def find_blocks(model: Any) -> tuple[MoeBlock, ...]:
    """The layers with experts, in the order of the layers.

    Raises:
        MaskError: there are none, or of an architecture whose way to choose is not known here.
    """
    blocks = []
    for name, module in model.named_modules():
        rule = _RULES.get(type(module).__name__)
        layer = _LAYER.search(f".{name}.")
        if rule is not None and layer is not None:
            blocks.append(MoeBlock(int(layer[1]), module, module.num_experts, rule(module)))
    if not blocks:
        raise MaskError(
            "expected a mixture of experts (Qwen3-MoE, Mixtral, OLMoE, gpt-oss or DeepSeek-V3), found "
            f"{type(model).__name__}. Use masks with such a model"
        )
    return tuple(sorted(blocks, key=lambda block: block.layer))


def has_experts(model: Any) -> bool:
    """Whether ``find_blocks`` finds any."""
    return any(type(module).__name__ in _RULES for module in model.modules())


def shape_of(blocks: Sequence[MoeBlock], fingerprint: str) -> MoeShape:
    """What a mask has to fit."""
    layers = {
        block.layer: LayerShape(
            experts=block.experts, top_k=block.rule.top_k, groups=block.rule.groups,
            groups_chosen=block.rule.groups_chosen,
        )
        for block in blocks
    }  # fmt: skip
    return MoeShape(fingerprint=fingerprint, layers=layers)


def _plain(gate: Any) -> Rule:
    return Rule(top_k=gate.top_k)


def _as_configured(gate: Any) -> Rule:
    return Rule(top_k=gate.top_k, normalised=gate.norm_topk_prob)


def _in_groups(gate: Any) -> Rule:
    return Rule(
        top_k=gate.top_k, scoring="sigmoid", normalised=gate.norm_topk_prob, scale=gate.routed_scaling_factor,
        groups=gate.num_group, groups_chosen=gate.topk_group, correction=gate.e_score_correction_bias,
    )  # fmt: skip


_RULES: dict[str, Callable[[Any], Rule]] = {
    "Qwen3MoeTopKRouter": _as_configured,
    "OlmoeTopKRouter": _as_configured,
    "MixtralTopKRouter": _plain,
    "GptOssTopKRouter": _plain,
    "DeepseekV3TopkRouter": _in_groups,
}
