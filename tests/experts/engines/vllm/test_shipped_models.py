"""Models that ship with tokengraph, or come as a package, on unmodified servers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from experts.engines.config import LocalWorker, VllmWorker
from experts.engines.factory import create_engine
from experts.engines.local.checkpoint import resolve
from experts.engines.local.minilm import bundled_folder
from experts.engines.requests import GenerateRequest, Message
from experts.engines.vllm.engine import VllmEngine
from experts.errors import CapabilityError
from tests.experts.engines.conformance import assert_same
from tests.experts.engines.vllm.servers import KEY, Servers

TOLERANCE = 1e-4
QUERIES = ("what's 347 plus 589?", "write 1984 in roman numerals", "is it cold in march?", "spell lemon backwards")
TEXTS = (
    "a cat sat on the mat",
    "",
    "Straße, naïve, 東京 and [CLS] typed by a user",
    "the quick brown fox jumps over the lazy dog " * 60,  # longer than the model's 256 tokens
    "How do I sort a list in Python?",
)


@pytest.mark.asyncio
async def test_functional_tokens_of_the_pocket_master(servers: Servers) -> None:
    folder = resolve("pocket:master")
    tokens = json.loads((folder / "functional_tokens.json").read_text())
    url = servers.start(folder)
    local = await create_engine(LocalWorker(model="pocket:master"))
    engine = await VllmEngine.connect(VllmWorker(engine="vllm", model="pocket:master"), url, KEY)
    assert engine.info.fingerprint == local.info.fingerprint
    names = [*tokens["tokens"].values(), tokens["abstain"]]
    choices = tuple(token for name in names if (token := local.token_id(name)) is not None)
    end = local.token_id(tokens["end"])
    assert len(choices) == len(names) and end is not None
    for query in QUERIES:
        request = GenerateRequest(
            messages=(Message("user", query),), first_token_ids=choices, stop_token_ids=(end,), max_tokens=65
        )
        call = await engine.generate(request)
        assert_same(call, await local.generate(request), TOLERANCE)
        assert (call.token_ids[-1], call.finish_reason) == (end, "stop")
    await engine.close()
    await local.close()


@pytest.fixture
def encoder() -> Path:
    folder = bundled_folder("all-MiniLM-L6-v2")
    if folder is None:
        pytest.skip("the encoder's package is installed by `make test`")
    return folder


@pytest.mark.asyncio
async def test_sentence_encoder(servers: Servers, encoder: Path) -> None:
    url = servers.start(encoder, "--runner", "pooling", "--served-model-name", "all-MiniLM-L6-v2")
    local = await create_engine(LocalWorker(model="all-MiniLM-L6-v2", task="embed"))
    worker = VllmWorker(engine="vllm", model="all-MiniLM-L6-v2", task="embed")
    engine = await VllmEngine.connect(worker, url, KEY)
    vectors = await engine.embed(TEXTS)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, await local.embed(TEXTS), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    many = [f"text {n % 7}" for n in range(600)]
    np.testing.assert_allclose(await engine.embed(many), await local.embed(many), atol=1e-5)
    assert len(await engine.embed([])) == 0
    assert engine.info.fingerprint == local.info.fingerprint
    assert engine.encode("a [CLS] b") == local.encode("a [CLS] b")
    for lacking in (engine.embed(TEXTS, layers=True), engine.generate(GenerateRequest(prompt_ids=engine.encode("a")))):
        with pytest.raises(CapabilityError):
            await lacking
    await engine.close()
    await local.close()
