"""The size of a token router's network."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RouterShape:
    """What determines the weights of a ``TokenRouter``.

    Attributes:
        model_width: of the small model's hidden states and embeddings.
        top_k: so many of the greatest logits are read.
        width: of the residual blocks.
        blocks: number of them.
        expansion: a block's inner layer is so many times as wide.
        dropout: in training, the share of each block's output that is dropped.
    """

    model_width: int
    top_k: int
    width: int
    blocks: int
    expansion: int = 4
    dropout: float = 0.1

    @property
    def parameters(self) -> int:
        """Number of weights; every one of them is used for every token."""
        inner = self.expansion * self.width
        inputs = (self.top_k + 1) * self.model_width + (3 * self.model_width + 1) * self.width
        block = 2 * self.width + (self.width + 1) * inner + (inner + 1) * self.width
        return inputs + self.blocks * block + 2 * self.width + self.width + 1
