"""How critical the next token of every row is, by the worker's token router."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from experts.defer.features import proposals
from experts.defer.network import TokenRouter


class Scorer:
    """Reads what the model computes anyway: the state that enters its output layer, and the logits.

    Args:
        model: scored from now on; its width must be the router's.
    """

    def __init__(self, model: Any, router: TokenRouter) -> None:
        self._embeddings = model.get_input_embeddings()
        self._router = router.to(model.device)
        self._states: Tensor | None = None
        model.get_output_embeddings().register_forward_pre_hook(self._note)

    def scores(self, logits: Tensor, rows: Sequence[int]) -> list[float]:
        """The criticality of the next token of some rows of the batch that the model has just computed.

        Args:
            logits: of the whole batch, [batch, vocabulary].
        """
        assert self._states is not None, "the model has computed the logits"
        index = torch.tensor(rows, device=logits.device)
        chosen = logits[index]
        embeddings = self._embeddings(proposals(chosen))
        found: list[float] = self._router.score(self._states[index], chosen, embeddings).tolist()
        return found

    def _note(self, _head: Any, arguments: tuple[Tensor, ...]) -> None:
        self._states = arguments[0][:, -1]
