"""Routing with masks, once more and independently: one token at a time, in plain Python and float64.

``route`` is what the documentation of masks says, written down without looking at speed. ``replaced`` puts it in place of a
model's gates, so that a whole forward pass can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from experts.moe.mask import ExpertMask, LayerMask

Chosen = dict[int, float]


def route(architecture: str, gate: Any, logits: list[float], layer: LayerMask, mode: str) -> Chosen:
    """The weight of each chosen expert."""
    if architecture == "deepseek_v3":
        chosen = _deepseek(gate, logits, layer, mode)
    else:
        chosen = _softmax(architecture, gate, logits, layer, mode)
    if mode == "before":
        return chosen
    total = sum(chosen.values())
    rest = sum(weight for expert, weight in chosen.items() if expert not in layer.off)
    return {
        expert: 0.0 if expert in layer.off or rest == 0 else weight * total / rest for expert, weight in chosen.items()
    }


def _softmax(architecture: str, gate: Any, logits: list[float], layer: LayerMask, mode: str) -> Chosen:
    scores = {expert: logit + layer.bias.get(expert, 0.0) for expert, logit in enumerate(logits)}
    if mode == "before":
        scores = {expert: score for expert, score in scores.items() if expert not in layer.off}
    best = max(scores.values())
    for expert in layer.force:
        scores[expert] = best + 0.01
    powers = {expert: math.exp(score) for expert, score in scores.items()}
    chosen = sorted(scores, key=lambda expert: -scores[expert])[: gate.top_k]
    # OLMoE's weights are probabilities among all experts, those of the others among the chosen.
    among = powers if architecture == "olmoe" else chosen
    total = sum(powers[expert] for expert in among)
    return {expert: powers[expert] / total for expert in chosen}


def _deepseek(gate: Any, logits: list[float], layer: LayerMask, mode: str) -> Chosen:
    weights = [1 / (1 + math.exp(-logit)) for logit in logits]
    correction = gate.e_score_correction_bias.tolist()
    scores = [weight + correction[i] + layer.bias.get(i, 0.0) for i, weight in enumerate(weights)]
    off = layer.off if mode == "before" else ()
    size = len(logits) // gate.num_group

    def rank(group: int) -> tuple[bool, int, float]:
        members = range(group * size, (group + 1) * size)
        left = sorted((scores[i] for i in members if i not in off and i not in layer.force), reverse=True)
        forced = any(i in layer.force for i in members)
        return forced, min(len(left), 2), sum(left[:2])

    groups = sorted(range(gate.num_group), key=rank, reverse=True)[: gate.topk_group]
    allowed = [i for i in range(len(logits)) if i // size in groups and i not in off]
    chosen = sorted(allowed, key=lambda i: (i not in layer.force, -scores[i]))[: gate.top_k]
    total = sum(weights[i] for i in chosen)
    return {i: weights[i] / total * gate.routed_scaling_factor for i in chosen}


@contextmanager
def replaced(architecture: str, model: Any, mask: ExpertMask) -> Iterator[dict[int, list[Chosen]]]:
    """Within the context the model routes by ``route``; yields what was chosen for each token, by layer."""
    seen: dict[int, list[Chosen]] = {}
    changed = []
    for index, layer in enumerate(model.model.layers):
        gate = getattr(layer.mlp, "gate", None) or getattr(layer.mlp, "router", None)
        if gate is None or not hasattr(gate, "top_k"):
            continue
        seen[index] = []

        def forward(hidden: Any, gate: Any = gate, index: int = index) -> Any:
            rows = hidden.reshape(-1, hidden.shape[-1]).double()
            logits = rows @ gate.weight.double().T + (gate.bias.double() if hasattr(gate, "bias") else 0)
            part = mask.layers.get(index, LayerMask())
            chosen = [route(architecture, gate, row, part, mask.mode) for row in logits.tolist()]
            seen[index] += chosen
            weights = torch.tensor([list(row.values()) for row in chosen], dtype=hidden.dtype)
            return logits.to(hidden.dtype), weights, torch.tensor([list(row) for row in chosen])

        gate.forward = forward
        changed.append(gate)
    try:
        yield seen
    finally:
        for gate in changed:
            del gate.forward
