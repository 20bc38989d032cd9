"""What training tells about itself while it runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """What a progress callback hears: what is going on, the share of it done, and validation accuracy where known."""

    stage: str
    done: float
    accuracy: float | None = None
