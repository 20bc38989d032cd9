"""What a model's files say about it, without loading its weights."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from experts import pocket
from experts.engines.local import minilm
from experts.engines.local.checkpoint import check_files, fingerprint
from experts.engines.parameters import activated, is_in_expert
from experts.engines.requests import TokenId
from experts.errors import CheckpointError

_DESCRIPTION = ["*.json", "*.jinja", "*.txt", "*.model"]
_WEIGHTS = "*.safetensors"


@dataclass(frozen=True)
class ModelFacts:
    """Facts about a model.

    Attributes:
        folder: holds its configuration and tokenizer.
        parameters: number of weights.
        activated_parameters: weights used per generated token.
        end_ids: the tokens that end an answer, as far as the configuration names them.
    """

    folder: Path
    fingerprint: str
    parameters: int
    activated_parameters: int
    vocabulary_size: int
    end_ids: frozenset[TokenId]


def read_facts(model: str) -> ModelFacts:
    """The facts about ``pocket:NAME``, a directory, or a Hugging Face id.

    Of a model that is on the Hugging Face hub only, the small files are downloaded: its weights may be on another
    machine. Its fingerprint is that of the commit.

    Raises:
        CheckpointError: there is no such model, or its files are incomplete.
    """
    folder = _folder(model)
    if any(folder.glob(_WEIGHTS)):
        check_files(folder)
        shapes = _shapes(folder)
        identity = fingerprint(folder)
    else:
        shapes = _shapes_on_hub(model)
        identity = hashlib.blake2b(f"{model}@{folder.name}".encode(), digest_size=16).hexdigest()
    whole = _json(folder / "config.json")
    config = SimpleNamespace(**(whole.get("text_config") or whole))
    counts = {name: _count(name, shape) for name, shape in shapes.items()}
    total = sum(counts.values())
    in_experts = sum(count for name, count in counts.items() if is_in_expert(name))
    return ModelFacts(
        folder=folder, fingerprint=identity, parameters=total,
        activated_parameters=activated(total, in_experts, config), vocabulary_size=config.vocab_size,
        end_ids=_end_ids(folder, config),
    )  # fmt: skip


def _folder(model: str) -> Path:
    if model.startswith("pocket:"):
        return pocket.resolve(model.removeprefix("pocket:"))
    folder = minilm.bundled_folder(model) or Path(model)
    if not folder.is_dir():
        return _described(minilm.hub_id(model))
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"expected config.json in {folder}, found none. Complete the checkpoint")
    return folder


def _described(model: str) -> Path:
    """The folder of the hub's cache: with the weights if they are there, else what describes the model."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model, allow_patterns=_DESCRIPTION))
    except (OSError, HfHubHTTPError, LocalEntryNotFoundError, HFValidationError) as error:
        raise CheckpointError(
            f"expected a directory or a Hugging Face model whose configuration can be downloaded, found neither for "
            f"{model!r} ({type(error).__name__}). Correct the name, or connect to the network once"
        ) from error


def _shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each weight, from the heads of the files; tied weights count once, as they are stored."""
    from safetensors import SafetensorError, safe_open

    shapes: dict[str, tuple[int, ...]] = {}
    for file in sorted(folder.glob(_WEIGHTS)):
        try:
            with safe_open(file, framework="numpy") as weights:
                shapes |= {name: tuple(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise CheckpointError(f"expected safetensors in {file}, found: {error}. Download it anew") from error
    return shapes


def _count(name: str, shape: tuple[int, ...]) -> int:
    """Weights in a tensor. MXFP4, the format of gpt-oss, packs two into a byte and has scales beside them."""
    if name.endswith("_scales"):
        return 0
    return math.prod(shape) * (2 if name.endswith("_blocks") else 1)


def _shapes_on_hub(model: str) -> dict[str, tuple[int, ...]]:
    from huggingface_hub import get_safetensors_metadata
    from huggingface_hub.errors import HfHubHTTPError, NotASafetensorsRepoError, SafetensorsParsingError

    try:
        files = get_safetensors_metadata(minilm.hub_id(model)).files_metadata.values()
    except (OSError, HfHubHTTPError, NotASafetensorsRepoError, SafetensorsParsingError) as error:
        raise CheckpointError(
            f"expected {model} to have safetensors on the Hugging Face hub, found: {error}. Choose another model"
        ) from error
    return {name: tuple(weight.shape) for file in files for name, weight in file.tensors.items()}


def _end_ids(folder: Path, config: Any) -> frozenset[TokenId]:
    """Those of the generation configuration, where there is one."""
    generation = folder / "generation_config.json"
    found = _json(generation).get("eos_token_id") if generation.is_file() else getattr(config, "eos_token_id", None)
    return frozenset(
        TokenId(number) for number in (found if isinstance(found, list) else [found]) if number is not None
    )


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"expected JSON in {file}, found: {error}. Download it anew") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"expected a JSON object in {file}, found {type(content).__name__}. Download it anew")
    return content
