"""The pocket family: small models that ship with tokengraph, trained from scratch by the recipes in this folder."""

from __future__ import annotations

from pathlib import Path

from experts.errors import CheckpointError

WEIGHTS = Path(__file__).parent / "weights"


def resolve(name: str) -> Path:
    """The checkpoint folder of a bundled model.

    Raises:
        CheckpointError: there is no such model.
    """
    folder = WEIGHTS / name
    if not (folder / "config.json").is_file():
        known = sorted(p.parent.name for p in WEIGHTS.glob("*/config.json"))
        raise CheckpointError(f"expected a bundled model in pocket:{name}, found none; there are: {', '.join(known)}")
    return folder
