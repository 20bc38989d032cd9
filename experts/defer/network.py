"""The token router's network, of R2R's family."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from experts.defer.features import Features, features
from experts.defer.shape import RouterShape


class TokenRouter(nn.Module):
    """Scores proposals: the top logits through a linear layer, beside the hidden state and the proposal's embedding;
    then residual blocks, and one logit. It computes in float32, whatever the small model computes in.
    """

    def __init__(self, shape: RouterShape) -> None:
        super().__init__()
        self.shape = shape
        self.logits = nn.Linear(shape.top_k, shape.model_width)
        self.inputs = nn.Linear(3 * shape.model_width, shape.width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.blocks))
        self.norm = nn.LayerNorm(shape.width)
        self.output = nn.Linear(shape.width, 1)

    def forward(self, places: Features) -> Tensor:
        """Logits of the criticality, float32 [n]; a sigmoid makes probabilities."""
        parts = (self.logits(places.top_logits), places.hidden, places.embeddings)
        x: Tensor = self.inputs(torch.cat(parts, dim=-1))
        for block in self.blocks:
            x = x + block(x)
        logit: Tensor = self.output(self.norm(x))
        return logit.squeeze(-1)

    @torch.inference_mode()
    def score(self, hidden: Tensor, logits: Tensor, embeddings: Tensor) -> Tensor:
        """How probable it is that each proposal would lead the answer astray, float32 [n].

        Args:
            hidden: after the final normalisation, [n, model_width].
            logits: [n, vocabulary].
            embeddings: of the proposals, see ``experts.defer.features.proposals``, [n, model_width].
        """
        return self(features(hidden, logits, embeddings, self.shape.top_k)).sigmoid()  # type: ignore[no-any-return]


class Block(nn.Module):
    """What one residual block adds: layer norm, a wider layer, GELU, back, dropout."""

    def __init__(self, shape: RouterShape) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(shape.width)
        self.up = nn.Linear(shape.width, shape.expansion * shape.width)
        self.down = nn.Linear(shape.expansion * shape.width, shape.width)
        self.dropout = nn.Dropout(shape.dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.down(functional.gelu(self.up(self.norm(x)))))  # type: ignore[no-any-return]
