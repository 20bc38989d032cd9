"""The large model's share of an answer, as a bound that holds at every moment."""

from __future__ import annotations

import math
from fractions import Fraction


class ShareBudget:
    """Says when the large model may write.

    Shares are taken as they are written: 0.3 is three tenths, not the float beside it.

    Args:
        share: of the tokens written so far, at most so many are the large model's; 0 to 1.
    """

    def __init__(self, share: float) -> None:
        self._share = Fraction(str(share))

    def wait(self, large: int, total: int) -> int | None:
        """How many tokens the small model has to write before the large one may write one; None if it never may.

        Args:
            large: tokens of the large model so far.
            total: all tokens so far.
        """
        if not self._share:
            return None
        return max(0, math.ceil((large + 1) / self._share) - total - 1)

    def room(self, large: int, total: int) -> int | None:
        """How many tokens the large model may write now in one go; None is no bound."""
        if self._share == 1:
            return None
        return math.floor((self._share * total - large) / (1 - self._share))
