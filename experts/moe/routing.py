"""How a layer of a mixture chooses the experts of a token, and what a mask changes about it.

Every engine uses this one function for rows with a mask, so they agree by construction. Rows without a mask keep what
the model's own code computed.

A layer chooses by *scores*: the gate's logits, or in the manner of DeepSeek-V3 their sigmoid plus a correction bias, in
the groups of experts that score best. It weighs the chosen by the softmax of the scores, or by the sigmoid alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

# How far a forced expert is lifted above the best of the others (SteerMoE).
_ABOVE = 0.01
# Beyond every score. Finite, because groups are compared by sums of two scores: a group with one expert left must be
# preferred to one with none, and one with a forced expert to all others, whatever is left of it.
_BARRED, _FORCED = -1e9, 4e9


@dataclass(frozen=True)
class Rule:
    """How a layer chooses, as its model was trained to.

    Attributes:
        top_k: experts per token.
        scoring: what makes a score of a logit.
        normalised: the weights of the chosen experts add up to one, before ``scale``.
        scale: a factor of all weights.
        groups: equal groups that the experts are divided into.
        groups_chosen: groups whose experts can be chosen for a token.
        correction: added to the scores for the choice alone, float32 [experts].
    """

    top_k: int
    scoring: Literal["softmax", "sigmoid"] = "softmax"
    normalised: bool = True
    scale: float = 1.0
    groups: int = 1
    groups_chosen: int = 1
    correction: Tensor | None = None


@dataclass(frozen=True)
class Steering:
    """What masks ask for: tensors [tokens, experts], or [1, experts] for all tokens alike; None where they ask for nothing.

    Attributes:
        bias: added to the scores, float32.
        forced: always chosen, bool.
        barred: never chosen, so that another expert takes the place, bool.
        dropped: left out after the choice, bool. The other chosen experts share its weight in proportion.
    """

    bias: Tensor | None = None
    forced: Tensor | None = None
    barred: Tensor | None = None
    dropped: Tensor | None = None


def choose(logits: Tensor, rule: Rule, steering: Steering) -> tuple[Tensor, Tensor]:
    """The weights and ids of the chosen experts, float32 and int64 [tokens, top_k].

    Args:
        logits: of the gate [tokens, experts].
    """
    pick = _by_softmax if rule.scoring == "softmax" else _by_sigmoid
    weights, ids = pick(logits.float(), rule, steering)
    if rule.scale != 1:
        weights = weights * rule.scale
    if steering.dropped is not None:
        weights = _without(steering.dropped.expand(len(ids), -1).gather(-1, ids), weights)
    return weights, ids


def _by_softmax(scores: Tensor, rule: Rule, steering: Steering) -> tuple[Tensor, Tensor]:
    if steering.bias is not None:
        scores = scores + steering.bias
    if steering.barred is not None:
        scores = scores.masked_fill(steering.barred, float("-inf"))
    if steering.forced is not None:
        scores = torch.where(steering.forced, scores.amax(-1, keepdim=True) + _ABOVE, scores)
    best, ids = scores.topk(rule.top_k, dim=-1)
    # The softmax of all, divided by the sum of the chosen, is the softmax of the chosen.
    return best.softmax(-1) if rule.normalised else (best - scores.logsumexp(-1, keepdim=True)).exp(), ids


def _by_sigmoid(logits: Tensor, rule: Rule, steering: Steering) -> tuple[Tensor, Tensor]:
    weights = scores = logits.sigmoid()
    if rule.correction is not None:
        scores = scores + rule.correction
    if steering.bias is not None:
        scores = scores + steering.bias
    if steering.barred is not None:
        scores = scores.masked_fill(steering.barred, _BARRED)
    if steering.forced is not None:
        scores = scores.masked_fill(steering.forced, _FORCED)
    if rule.groups > 1:
        scores = scores.masked_fill(~_in_best_groups(scores, rule), float("-inf"))
    ids = scores.topk(rule.top_k, dim=-1).indices
    weights = weights.gather(-1, ids)
    # The addend is DeepSeek's.
    return weights / (weights.sum(-1, keepdim=True) + 1e-20) if rule.normalised else weights, ids


def _in_best_groups(scores: Tensor, rule: Rule) -> Tensor:
    """Whether an expert is in one of the groups whose two best scores have the greatest sums, bool [tokens, experts]."""
    grouped = scores.view(len(scores), rule.groups, -1)
    best = grouped.topk(2, dim=-1).values.sum(-1).topk(rule.groups_chosen, dim=-1).indices
    chosen = torch.zeros(grouped.shape[:-1], dtype=torch.bool, device=scores.device).scatter_(-1, best, True)
    return chosen.unsqueeze(-1).expand_as(grouped).flatten(1)


def _without(dropped: Tensor, weights: Tensor) -> Tensor:
    """The weights without the dropped, their sum as before; zero where all are dropped."""
    kept = weights.masked_fill(dropped, 0.0)
    rest = kept.sum(-1, keepdim=True)
    return torch.where(rest > 0, kept * (weights.sum(-1, keepdim=True) / rest), kept)
