"""Loads transformers models from checkpoint folders."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError

from experts.engines.local import qwen3
from experts.engines.local.checkpoint import check_complete
from experts.engines.parameters import activated, is_in_expert
from experts.errors import CheckpointError, EngineError

# transformers changes process-wide state (default dtype and device) while it loads.
_LOADING = threading.Lock()


def load_causal(folder: Path, *, dtype: str, device: str, plain: bool) -> Any:
    """A causal language model: plain torch where that is possible and ``plain``, else transformers."""
    if plain and qwen3.accepts(folder):
        return _placed(qwen3.load(folder, dtype=getattr(torch, dtype)), device)
    return load_model("AutoModelForCausalLM", folder, dtype=dtype, device=device)


def load_model(
    kind: Literal["AutoModelForCausalLM", "AutoModel"],
    folder: Path,
    *,
    dtype: str,
    device: str,
    optional: tuple[str, ...] = (),
) -> Any:
    """A model in evaluation mode.

    Args:
        kind: the class of transformers that loads it.
        optional: beginnings of the names of weights that may be missing.

    Raises:
        CheckpointError: the weights are damaged, or do not fit the configuration.
        EngineError: there is no such device.
    """
    import transformers

    try:
        with _LOADING, _no_progress_bars(), _lean_imports():
            model, report = getattr(transformers, kind).from_pretrained(
                folder, dtype=getattr(torch, dtype), use_safetensors=True, trust_remote_code=False,
                local_files_only=True, output_loading_info=True,
            )  # fmt: skip
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"expected a model that transformers can load in {folder}, found: {error}") from error
    check_complete([name for name in report["missing_keys"] if not name.startswith(optional)], folder)
    return _placed(model, device)


def _placed(model: Any, device: str) -> Any:
    try:
        return model.to(device).eval().requires_grad_(False)
    except (RuntimeError, AssertionError) as error:
        raise EngineError(f"expected a torch device that exists, found {device}: {error}. Correct the spec") from error


def count_parameters(model: Any) -> tuple[int, int]:
    """All weights, and those used per token."""
    total = sum(weight.numel() for weight in model.parameters())
    in_experts = sum(weight.numel() for name, weight in model.named_parameters() if is_in_expert(name))
    return total, activated(total, in_experts, model.config.get_text_config())


@contextmanager
def _lean_imports() -> Iterator[None]:
    """transformers is imported without scikit-learn and scipy.

    Wherever they are installed it imports them, half a second or more of work each, and uses them for nothing but the
    thresholds of assisted generation and the losses of object detection.
    """
    from transformers import utils

    unneeded = ("is_sklearn_available", "is_scipy_available")
    answers = {name: getattr(utils, name) for name in unneeded}
    try:
        for name in unneeded:
            setattr(utils, name, lambda: False)
        yield
    finally:
        for name, answer in answers.items():
            setattr(utils, name, answer)


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
