"""What is to hold of a checkpoint that was refined, whatever trainer did it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file


def check_refined(first: Path, second: Path, million_tokens: float) -> None:
    """``second`` went on from ``first``: so many tokens more, and weights that are not far away."""
    before, after = (json.loads((folder / "training.json").read_text()) for folder in (first, second))
    assert after["million_tokens"] == pytest.approx(before["million_tokens"] + million_tokens, rel=0.05)
    old, new = (load_file(folder / "model.safetensors") for folder in (first, second))
    change = sum(float((new[key] - old[key]).norm()) for key in old)
    assert 0 < change < sum(float(weight.norm()) for weight in old.values()) / 2
