"""Where a model's files are, whether they are acceptable, and what identifies them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path

from experts import pocket
from experts.engines.local import minilm
from experts.errors import CheckpointError

_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_HUB_FILES = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model"]
_OTHER_WEIGHTS = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack", "*.gguf")


def resolve(model: str) -> Path:
    """The checkpoint folder of a model: ``pocket:NAME``, a directory, or a Hugging Face id (downloaded if need be).

    A directory never touches the network.

    Raises:
        CheckpointError: there is no such model, or its files are incomplete or not safetensors.
    """
    if model.startswith("pocket:"):
        folder = pocket.resolve(model.removeprefix("pocket:"))
    elif Path(model).is_dir():
        folder = Path(model)
    elif bundled := minilm.bundled_folder(model):
        folder = bundled
    elif _HUB_ID.fullmatch(model):
        folder = _download(minilm.hub_id(model))
    else:
        raise CheckpointError(f"expected a model directory in {model}, found none. Correct the path")
    check_files(folder)
    return folder


def check_files(folder: Path) -> None:
    """Raises CheckpointError unless the folder holds config.json and all of its weights as safetensors."""
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"expected config.json in {folder}, found none. Complete the checkpoint")
    missing = [name for name in _weight_names(folder) if not (folder / name).is_file()]
    if not missing:
        return
    other = sorted(path.name for pattern in _OTHER_WEIGHTS for path in folder.glob(pattern))
    if other:
        raise CheckpointError(
            f"expected {missing[0]} in {folder}, found {', '.join(other)}, which may run code when loaded. "
            "Convert it: save_pretrained() of transformers writes safetensors"
        )
    raise CheckpointError(f"expected {', '.join(missing)} in {folder}, found no such file. Complete the checkpoint")


def check_complete(missing: Iterable[str], folder: Path) -> None:
    """Raises CheckpointError if weights are missing."""
    if names := sorted(missing):
        raise CheckpointError(
            f"expected all weights of the model in {folder}, found none for {', '.join(names[:5])}. Complete the checkpoint"
        )


def fingerprint(folder: Path) -> str:
    """A hash of the configuration and the weights; equal files give equal fingerprints, wherever they lie."""
    outer = hashlib.blake2b(digest_size=16)
    for name in ("config.json", *_weight_names(folder)):
        with (folder / name).open("rb") as file:
            outer.update(name.encode() + b"\0" + hashlib.file_digest(file, hashlib.blake2b).digest())
    return outer.hexdigest()


def _weight_names(folder: Path) -> list[str]:
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return ["model.safetensors"]
    try:
        shards = json.loads(index.read_text("utf-8"))["weight_map"].values()
    except (ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(f"expected a weight_map in {index}, found none: {error}. Download it anew") from error
    return sorted(set(shards))


def _download(model: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model, allow_patterns=_HUB_FILES))
    except (OSError, HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise CheckpointError(
            f"expected a directory or a Hugging Face model that can be downloaded, found neither for {model!r} "
            f"({type(error).__name__}). Correct the name, or connect to the network once"
        ) from error
