"""What a sentence-transformers folder says about texts and their vectors, and the pooling that it asks for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from experts.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

_KNOWN_MODULES = ("Transformer", "Pooling", "Normalize")


@dataclass(frozen=True)
class PoolingConfig:
    """How token states become a vector.

    Attributes:
        mode: the mean over all tokens, or the state of the first one.
        max_length: tokens of a text at most, special ones included; None: not said.
        lower_case: lower-case texts before the tokenizer sees them.
    """

    mode: Literal["mean", "cls"] = "mean"
    max_length: int | None = None
    lower_case: bool = False

    @classmethod
    def load(cls, folder: Path) -> PoolingConfig:
        """Reads modules.json and what it names; a folder without them gets the mean.

        Raises:
            CheckpointError: the folder asks for a module or a pooling that is not known here.
        """
        modules = [(str(m["type"]).rsplit(".", 1)[-1], str(m["path"])) for m in _read(folder / "modules.json", [])]
        unknown = [kind for kind, _ in modules if kind not in _KNOWN_MODULES]
        if unknown:
            raise CheckpointError(
                f"expected modules {', '.join(_KNOWN_MODULES)} in {folder}, found {', '.join(unknown)}. "
                "Choose a model without them"
            )
        pooling = next((path for kind, path in modules if kind == "Pooling"), "1_Pooling")
        sentence = _read(folder / "sentence_bert_config.json", {})
        return cls(
            mode=_mode(folder / pooling / "config.json"),
            max_length=sentence.get("max_seq_length"),
            lower_case=bool(sentence.get("do_lower_case")),
        )


def pool(states: Tensor, mask: Tensor | None, lengths: Tensor, mode: Literal["mean", "cls"]) -> Tensor:
    """States of tokens [n, layers, tokens, width] to one vector a layer [n, layers, width].

    Args:
        mask: true where a token is no padding [n, tokens]; None: nowhere is padding.
        lengths: tokens of each text [n].
    """
    if mode == "cls":
        return states[:, :, 0]
    if mask is None:
        return states.mean(dim=2)
    return (mask[:, None, None, :].to(states.dtype) @ states)[:, :, 0] / lengths[:, None, None]


def _mode(file: Path) -> Literal["mean", "cls"]:
    config = _read(file, {"pooling_mode_mean_tokens": True})
    modes = [config["pooling_mode"]] if "pooling_mode" in config else [
        key.removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token")
        for key, value in config.items() if key.startswith("pooling_mode_") and value is True
    ]  # fmt: skip
    match modes:
        case ["mean"]:
            return "mean"
        case ["cls"]:
            return "cls"
    raise CheckpointError(f"expected mean or cls pooling in {file}, found {modes}. Choose a model that has it")


def _read(file: Path, default: Any) -> Any:
    if not file.is_file():
        return default
    try:
        return json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise CheckpointError(f"expected JSON in {file}, found: {error}. Download it anew") from error
