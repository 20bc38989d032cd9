"""Several sequences that run through a model together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from experts.engines.local.key_values import Past, join, split
from experts.engines.requests import TokenId


class Batch:
    """Sequences side by side, padded on the left, with one cache.

    What the model has computed of them before is used, as far as that saves time: every row is fed as many tokens as
    the one that needs most, so no row has padding in its midst and the model sees what it always sees.

    Args:
        sequences: at least one, of at least one token each.
        pasts: what is known of each.
    """

    def __init__(self, model: Any, sequences: Sequence[tuple[TokenId, ...]], pasts: Sequence[Past | None]) -> None:
        self._model = model
        lengths = [len(sequence) for sequence in sequences]
        # The last token is always fed: its logits are wanted.
        known = [
            0 if past is None else min(past.shared(s), len(s) - 1) for s, past in zip(sequences, pasts, strict=True)
        ]
        fed = max(length - shared for length, shared in zip(lengths, known, strict=True))
        self._cache = join(model, pasts, [max(0, length - fed) for length in lengths])
        longest, device = max(lengths), model.device
        self._ids = torch.tensor([(0,) * (fed - len(s)) + s[-fed:] for s in sequences], device=device)
        places = torch.arange(longest, device=device) - (longest - torch.tensor(lengths, device=device)[:, None])
        self._positions = places[:, -fed:].clamp(min=0)
        self._ragged = min(lengths) < longest
        # Without a mask attention is causal among the tokens that are fed: right if they are all there is, or one.
        self._mask = (places >= 0).long() if self._ragged or 1 < fed < longest else None

    def logits(self) -> Tensor:
        """Feeds what is to be fed; the logits of the next token of each row, [rows, vocabulary]."""
        found: Tensor = self._model(
            input_ids=self._ids, attention_mask=self._mask, position_ids=self._positions,
            past_key_values=self._cache, use_cache=True, logits_to_keep=1,
        ).logits[:, -1]  # fmt: skip
        return found

    def go_on(self, kept: Sequence[int], tokens: Sequence[TokenId]) -> None:
        """Keeps some of the rows, and feeds each its next token."""
        self._positions = self._positions[:, -1:] + 1
        if not self._ragged:
            self._mask = None
        if len(kept) < len(self._ids):
            rows = torch.tensor(kept, device=self._ids.device)
            self._cache.batch_select_indices(rows)
            self._positions = self._positions[rows]
            self._mask = None if self._mask is None else self._mask[rows]
        self._ids = torch.tensor(tokens, device=self._ids.device)[:, None]
        if self._mask is not None:
            self._mask = torch.cat((self._mask, self._mask.new_ones(len(kept), 1)), dim=1)

    def past(self, row: int, sequence: tuple[TokenId, ...]) -> Past:
        """A copy of what has been computed of a row, whose tokens begin with ``sequence``'s."""
        return split(self._cache, row, sequence[: int(self._positions[row, -1]) + 1])
