"""What labelling, training and measuring tell about themselves while they run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """What is going on, how much of it is done, and a remark."""

    stage: str
    done: float
    total: float
    remark: str = ""


Report = Callable[[Progress], None]


def silent(_progress: Progress) -> None:
    """Reports to nobody."""
