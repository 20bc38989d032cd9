"""Trains a token router on labels.

Binary cross-entropy with class weights (positives weigh n0/n1, R2R), AdamW, early stopping on the AUC of the validation
split. Two things differ from the paper. Inputs are standardised while training, and the scales are folded into the first
layers afterwards, so that one recipe fits models whose states differ by orders of magnitude. And because class weights
distort probabilities, a slope and an offset, fitted on the validation split (Platt scaling), are folded into the last
layer: a score is the probability of divergence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from experts.defer.features import Features
from experts.defer.network import TokenRouter
from experts.defer.shape import RouterShape
from router.token_level.dataset import LabelledRows, Rows
from router.token_level.metrics import auc
from router.token_level.progress import Progress, Report, silent

_WIDEST, _NARROWEST = 1024, 64
_R2R_WIDTH, _R2R_BLOCKS, _R2R_RATE = 1024, 6, 5e-5


@dataclass(frozen=True)
class FitOptions:
    """How to train; None fits the pair.

    Attributes:
        width: of the residual blocks; by default 2/3 of the small model's width (R2R: 1024 for 1536), at most 1024.
        blocks: by default 6 from width 512 on (R2R), below that 2.
        learning_rate: by default R2R's 5e-5 at width 1024, and inversely proportional to the width.
        heaviest: a positive weighs at most so many negatives.
        patience: epochs without a better validation AUC after which it stops.
    """

    width: int | None = None
    blocks: int | None = None
    dropout: float = 0.1
    learning_rate: float | None = None
    weight_decay: float = 5e-4
    batch: int = 1024
    epochs: int = 50
    patience: int = 10
    heaviest: float = 100.0
    seed: int = 0
    device: str = "cpu"


@dataclass(frozen=True)
class Fitted:
    """The trained network, the validation AUC by epoch, and the weight of a positive."""

    router: TokenRouter
    curve: tuple[float, ...]
    positive_weight: float


def shape_for(model_width: int, top_k: int, options: FitOptions) -> RouterShape:
    """The size of the network for a small model of that width."""
    fitting = min(max(round(model_width * 2 / 3 / 32) * 32, _NARROWEST), _WIDEST)
    width = options.width or fitting
    blocks = options.blocks if options.blocks is not None else (_R2R_BLOCKS if width >= 512 else 2)
    return RouterShape(model_width, top_k, width, blocks, dropout=options.dropout)


def fit(
    train: LabelledRows, valid: LabelledRows, embeddings: Tensor, options: FitOptions, report: Report = silent
) -> Fitted:
    """Trains a token router.

    Args:
        embeddings: the small model's table of input embeddings, [vocabulary, width].
    """
    torch.manual_seed(options.seed)
    order = torch.Generator().manual_seed(options.seed)
    first = next(train.portions())
    scales = Scales.of(first, embeddings)
    router = TokenRouter(shape_for(first.hidden.shape[1], first.logits.shape[1], options)).to(options.device)
    rate = options.learning_rate or _R2R_RATE * _R2R_WIDTH / router.shape.width
    optimiser = torch.optim.AdamW(router.parameters(), lr=rate, weight_decay=options.weight_decay)
    steps = options.epochs * math.ceil(train.count / options.batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, steps))
    weight = min((train.count - train.divergent) / train.divergent, options.heaviest)
    held_out = valid.whole()
    curve: list[float] = []
    best = router.state_dict()
    for epoch in range(options.epochs):
        router.train()
        for rows in train.portions(order):
            for index in torch.split(torch.randperm(len(rows), generator=order), options.batch):
                places = scales.applied(rows.features(index, embeddings), options.device)
                target = rows.divergent[index].to(options.device)
                loss = functional.binary_cross_entropy_with_logits(
                    router(places), target, pos_weight=torch.tensor(weight, device=options.device)
                )
                optimiser.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(router.parameters(), 1.0)
                optimiser.step()
                schedule.step()
        logits = _logits(router, held_out, embeddings, scales, options)
        curve.append(auc(logits, held_out.divergent))
        if curve[-1] >= max(curve):
            best = {name: value.detach().clone() for name, value in router.state_dict().items()}
        report(Progress("training", epoch + 1, options.epochs, f"validation AUC {max(curve):.4f}"))
        if len(curve) - 1 - curve.index(max(curve)) >= options.patience:
            break
    router.load_state_dict(best)
    slope, offset = platt(_logits(router, held_out, embeddings, scales, options), held_out.divergent)
    folded = fold(router.cpu(), scales, slope, offset)
    return Fitted(folded.eval().requires_grad_(False), tuple(curve), weight)


@dataclass(frozen=True)
class Scales:
    """Mean and standard deviation of each input, as features of one place each: [width], [k], [width]."""

    mean: Features
    deviation: Features

    @classmethod
    def of(cls, rows: Rows, embeddings: Tensor, most: int = 200_000) -> Scales:
        """Those of the rows (of the first ``most`` of them)."""
        some = rows.features(torch.arange(min(len(rows), most)), embeddings)
        parts = some.hidden, some.top_logits, some.embeddings
        deviations = (part.std(0).clamp_min(1e-3 * float(part.std()) + 1e-6) for part in parts)
        return cls(Features(*(part.mean(0) for part in parts)), Features(*deviations))

    def applied(self, places: Features, device: str) -> Features:
        """Standardised inputs."""
        mean, deviation = self.mean, self.deviation
        scaled = (
            (places.hidden - mean.hidden) / deviation.hidden,
            (places.top_logits - mean.top_logits) / deviation.top_logits,
            (places.embeddings - mean.embeddings) / deviation.embeddings,
        )
        return Features(*(part.to(device) for part in scaled))


@torch.no_grad()
def fold(router: TokenRouter, scales: Scales, slope: float, offset: float) -> TokenRouter:
    """A network that gives for raw inputs ``slope * logit + offset`` of what this one gives for standardised ones."""
    folded = TokenRouter(replace(router.shape))
    folded.load_state_dict(router.state_dict())
    mean, deviation = scales.mean, scales.deviation
    folded.logits.weight.div_(deviation.top_logits)
    folded.logits.bias.sub_(folded.logits.weight @ mean.top_logits)
    width = router.shape.model_width
    for place, part in ((1, "hidden"), (2, "embeddings")):
        columns = folded.inputs.weight[:, place * width : (place + 1) * width]
        columns.div_(getattr(deviation, part))
        folded.inputs.bias.sub_(columns @ getattr(mean, part))
    folded.output.weight.mul_(slope)
    folded.output.bias.mul_(slope).add_(offset)
    return folded


def platt(logits: Tensor, divergent: Tensor) -> tuple[float, float]:
    """Slope and offset that make logits log-odds (Platt 1999), by maximum likelihood; the slope stays positive."""
    values, targets = logits.double(), divergent.double()
    free = torch.zeros(2, dtype=torch.float64, requires_grad=True)  # logarithm of the slope, offset
    optimiser = torch.optim.LBFGS([free], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        found = functional.binary_cross_entropy_with_logits(free[0].exp() * values + free[1], targets)
        found.backward()  # type: ignore[no-untyped-call]
        return found

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    slope, offset = free.detach().tolist()
    return math.exp(slope), offset


@torch.inference_mode()
def scores_of(router: TokenRouter, rows: Rows, embeddings: Tensor, batch: int = 65536) -> Tensor:
    """The scores of rows, float32 [n]."""
    indices = torch.split(torch.arange(len(rows)), batch)
    return torch.cat([router(rows.features(index, embeddings)).sigmoid() for index in indices])


@torch.inference_mode()
def _logits(router: TokenRouter, rows: Rows, embeddings: Tensor, scales: Scales, options: FitOptions) -> Tensor:
    router.eval()
    indices = torch.split(torch.arange(len(rows)), 65536)
    parts = [router(scales.applied(rows.features(index, embeddings), options.device)).cpu() for index in indices]
    return torch.cat(parts)


def _rate(step: int, steps: int) -> float:
    """The learning rate's course: up over a twentieth of the steps, then down to nearly nothing."""
    return min(1.0, (step + 1) / (0.05 * steps + 1), max(1 - step / steps, 0.01))
