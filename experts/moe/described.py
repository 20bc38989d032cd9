"""What masks have to fit, from a model's files: nothing is loaded."""

from __future__ import annotations

from pathlib import Path

from experts.engines.local.checkpoint import check_files, fingerprint
from experts.errors import MaskError
from experts.moe.blocks import find_blocks, shape_of
from experts.moe.shape import MoeShape


def read_shape(folder: Path) -> MoeShape:
    """The shape of a checkpoint. Its weights are read for the fingerprint alone.

    Raises:
        CheckpointError: its files are incomplete.
        MaskError: it has no experts, or is of an architecture that cannot be masked.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    check_files(folder)
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise MaskError(f"expected a model that transformers knows in {folder}, found: {error}") from error
    blocks = find_blocks(model)
    return shape_of(blocks, fingerprint(folder))
