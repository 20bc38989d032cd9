"""How many of a model's weights a token uses."""

from __future__ import annotations

from typing import Any

_COUNTS = ("num_experts", "num_local_experts", "n_routed_experts")


def is_in_expert(name: str) -> bool:
    """Whether a weight of this name belongs to one of a mixture's experts, which not every token is sent to."""
    return ".experts." in name


def activated(total: int, in_experts: int, config: Any) -> int:
    """Weights used per token: of a mixture of experts only those of the experts that a token is sent to.

    Args:
        total: weights of the model.
        in_experts: those of them that ``is_in_expert``.
        config: the text model's configuration, as an object with config.json's names.
    """
    experts = next((count for name in _COUNTS if (count := getattr(config, name, None))), 1)
    chosen = getattr(config, "num_experts_per_tok", None) or experts
    return total - in_experts + in_experts * min(chosen, experts) // experts
