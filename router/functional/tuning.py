"""How a decoder is tuned, how it does on the way, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Settings:
    """How to fine-tune.

    Attributes:
        lr: peak learning rate; it rises over the first tenth of the steps and falls linearly to zero.
        batch_tokens: tokens a step at most, padding included.
        patience: epochs without improvement before it stops.
        rank: of the low-rank adapters (Hu et al., "LoRA"); their scale is twice the rank.
        bfloat16: compute in bfloat16 (trained weights stay float32).
    """

    tune: Literal["lora", "model"]
    epochs: int = 3
    lr: float = 2e-4
    batch_tokens: int = 4096
    regularisation: float = 0.01
    patience: int = 2
    rank: int = 16
    seed: int = 0
    device: str = "cpu"
    bfloat16: bool = False


@dataclass(frozen=True)
class Evaluation:
    """How a model does on sequences, without generating: greedy decoding writes a call exactly if every token of it is
    the most probable one after those before it.

    Attributes:
        logits: float32 [sequences, functional tokens].
        right: bool [sequences]: the functional token is the most probable of them.
        exact: bool, one a sequence that has a call.
        loss: cross-entropy of choices and calls.
    """

    logits: NDArray[float32]
    right: NDArray[Any]
    exact: NDArray[Any]
    loss: float

    @property
    def score(self) -> tuple[float, float]:
        """What the best epoch is chosen by: the shares of right choices and exact calls, then the loss."""
        return float(self.right.mean()) + (float(self.exact.mean()) if len(self.exact) else 0.0), -self.loss


@dataclass(frozen=True)
class Epoch:
    """What a progress callback hears after each pass over the data; number 0 is the model before training."""

    number: int
    epochs: int
    loss: float
    evaluation: Evaluation


@dataclass(frozen=True)
class Tuned:
    """What tuning gave, measured on the validation rows; logits are [n, outcomes]."""

    prior_logits: NDArray[float32]
    logits: NDArray[float32]
    exact: float | None
    epoch: int
    regularisation: float
