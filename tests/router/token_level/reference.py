"""What a pair of models writes, computed in the plainest way."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from experts.defer.features import proposals
from experts.defer.files import load_router


@dataclass(frozen=True)
class Reference:
    """A greedy pair without caches, engines, batches or turns: two whole forward passes a token.

    It needs no padding and no masks, so there is little that could be wrong with it.
    """

    small: Path
    large: Path
    router: Path

    @torch.inference_mode()
    def write(
        self, prompt: tuple[int, ...], length: int, threshold: float, share: float = 1.0, run: int = 1
    ) -> tuple[list[int], list[str], list[float | None]]:
        """Tokens, their authors, and how critical each place was."""
        small, large = map(AutoModelForCausalLM.from_pretrained, (self.small, self.large))
        router, _ = load_router(self.router)
        ids, authors, scores, left = list(prompt), [], [], 0
        while len(authors) < length:
            count = authors.count("large")
            allowed = count + 1 <= Fraction(str(share)) * (len(authors) + 1)
            score = None
            if not (left and allowed):
                left = 0
                found = small(torch.tensor([ids]), output_hidden_states=True)
                logits, hidden = found.logits[:, -1], found.hidden_states[-1][:, -1]
                score = router.score(hidden, logits, small.get_input_embeddings()(proposals(logits))).item()
                if allowed and score >= threshold:
                    left = run
            if left:
                left -= 1
                logits = large(torch.tensor([ids])).logits[:, -1]
            authors.append("large" if score is None or (allowed and score >= threshold) else "small")
            scores.append(score)
            ids.append(int(logits.argmax()))
        return ids[len(prompt) :], authors, scores
