"""LoRA adapters of a model, loaded when first used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from experts.errors import CheckpointError

_FILES = ("adapter_config.json", "adapter_model.safetensors")


class Adapters:
    """Switches a model between its LoRA adapters, and none.

    peft puts its layers into the model in place; while they are disabled the model computes what it did before.

    Args:
        folders: peft directories by adapter name.

    Raises:
        CheckpointError: a directory lacks a file; checked at once, although loading waits.
    """

    def __init__(self, model: Any, folders: Mapping[str, Path]) -> None:
        self._model = model
        self._folders = dict(folders)
        self._peft: Any = None
        for name, folder in self._folders.items():
            for file in _FILES:
                if not (folder / file).is_file():
                    raise CheckpointError(f"expected {file} of adapter {name} in {folder}, found none. Correct it")

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._folders)

    @contextmanager
    def use(self, name: str | None) -> Iterator[None]:
        """Within the context the model answers with this adapter (None: with none)."""
        if name is None:
            if self._peft is None:
                yield
            else:
                with self._peft.disable_adapter():
                    yield
            return
        self._load(name)
        self._peft.set_adapter(name, inference_mode=True)
        yield

    def _load(self, name: str) -> None:
        if self._peft is not None and name in self._peft.peft_config:
            return
        from peft import PeftModel

        folder = self._folders[name]
        try:
            if self._peft is None:
                self._peft = PeftModel.from_pretrained(self._model, folder, adapter_name=name)
            else:
                self._peft.load_adapter(folder, adapter_name=name)
        except (ValueError, RuntimeError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"expected adapter {name} in {folder} to fit the model, found: {error}. Use the model it was made for"
            ) from error
        self._peft.eval()
