"""Random token routers for random pairs of models."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from experts.defer.files import ShareThreshold, TokenRouterFile, save_router
from experts.defer.network import TokenRouter
from experts.defer.shape import RouterShape
from experts.engines.local.checkpoint import fingerprint


def save_random_router(folder: Path, small: Path, large: Path, seed: int = 0) -> Path:
    """A token router for the pair whose scores are spread from 0 to 1."""
    width = json.loads((small / "config.json").read_text())["hidden_size"]
    torch.manual_seed(seed)
    router = TokenRouter(RouterShape(model_width=width, top_k=20, width=32, blocks=2))
    with torch.no_grad():
        router.output.weight.mul_(8)
    file = TokenRouterFile(
        shape=router.shape, small=fingerprint(small), large=fingerprint(large), target_share=0.2,
        thresholds=(ShareThreshold(share=0.1, threshold=0.9), ShareThreshold(share=0.2, threshold=0.5)),
    )  # fmt: skip
    save_router(router, file, folder)
    return folder
