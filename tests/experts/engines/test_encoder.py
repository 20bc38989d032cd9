from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy import float32
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModel, BertConfig, BertModel, PreTrainedTokenizerFast

from experts.engines.base import Capability
from experts.engines.config import LocalWorker
from experts.engines.factory import create_engine
from experts.engines.local import checkpoint, minilm
from experts.engines.local.encoder import SentenceEncoder
from experts.engines.requests import GenerateRequest, Message
from experts.errors import CapabilityError, CheckpointError, EngineUnavailable

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "one", "two", "three", "four", "five", "a", "b", "[", "]", "CLS")
TEXTS = ("one two", "", "three four five one two three four five", "five", "two one unknown")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random BERT with a word tokenizer."""
    folder = tmp_path_factory.mktemp("bert")
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.add_special_tokens(list(WORDS[:4]))
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    backend.enable_truncation(5)
    backend.enable_padding(length=20)
    PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="[UNK]", pad_token="[PAD]", model_max_length=64
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64, initializer_range=0.3,
    )  # fmt: skip
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


@pytest.fixture
def encoder(folder: Path) -> Iterator[SentenceEncoder]:
    made = SentenceEncoder(LocalWorker(model=str(folder), task="embed", max_batch=2))
    yield made
    asyncio.run(made.close())


def plain(model: Any, prompts: Sequence[Sequence[int]], mode: str = "mean") -> NDArray[float32]:
    """Each prompt alone, without any of the encoder's shortcuts."""
    rows = []
    for prompt in prompts:
        with torch.inference_mode():
            states = model(torch.tensor([prompt])).last_hidden_state[0].numpy()
        vector = states.mean(0) if mode == "mean" else states[0]
        rows.append(vector / np.linalg.norm(vector))
    return np.array(rows, dtype=np.float32)


def ids_of(text: str) -> list[int]:
    return [2, *(WORDS.index(word) if word in WORDS else 1 for word in text.split()), 3]


@pytest.mark.asyncio
async def test_equals_plain_computation(encoder: SentenceEncoder, folder: Path) -> None:
    vectors = await encoder.embed(TEXTS)
    model = AutoModel.from_pretrained(folder).eval()
    np.testing.assert_allclose(vectors, plain(model, list(map(ids_of, TEXTS))), atol=1e-6)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(TEXTS), encoder.width)
    np.testing.assert_array_equal(vectors, encoder.embed_now(TEXTS))
    assert (await encoder.embed([])).shape == (0, 16)


@pytest.mark.asyncio
async def test_layers_are_the_unit_vectors_of_every_hidden_state(encoder: SentenceEncoder, folder: Path) -> None:
    assert Capability.LAYERS in encoder.capabilities
    vectors = await encoder.embed(TEXTS, layers=True)
    model = AutoModel.from_pretrained(folder).eval()
    for text, vector in zip(TEXTS, vectors, strict=True):
        with torch.inference_mode():
            states = model(torch.tensor([ids_of(text)]), output_hidden_states=True).hidden_states
        means = np.stack([state[0].numpy().mean(0) for state in states])
        expected = means / np.linalg.norm(means, axis=1, keepdims=True)
        np.testing.assert_allclose(vector, expected.ravel(), atol=1e-6)
    np.testing.assert_allclose(vectors[:, -encoder.width :], encoder.embed_now(TEXTS), atol=1e-6)
    assert vectors.dtype == np.float32
    assert (await encoder.embed([], layers=True)).shape == (0, 3 * encoder.width)


def test_cls_pooling_length_and_lower_case(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "m")
    modules = [{"type": "sentence_transformers.models.Pooling", "path": "pool"}]
    (tmp_path / "m/modules.json").write_text(json.dumps(modules))
    (tmp_path / "m/pool").mkdir()
    pooling = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False, "word_embedding_dimension": 16}
    (tmp_path / "m/pool/config.json").write_text(json.dumps(pooling))
    (tmp_path / "m/sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 4, "do_lower_case": True}))
    encoder = SentenceEncoder(LocalWorker(model=str(tmp_path / "m"), task="embed"))
    model = AutoModel.from_pretrained(folder).eval()
    expected = plain(model, [[2, WORDS.index("three"), WORDS.index("four"), 3]], "cls")
    np.testing.assert_allclose(encoder.embed_now(["THREE four five one"]), expected, atol=1e-6)
    layers = encoder.embed_now(["THREE four five one", "two"], layers=True)
    assert layers.shape == (2, 3 * 16)
    np.testing.assert_allclose(layers[:1, -16:], expected, atol=1e-6)
    assert encoder.info.context_length == 4
    asyncio.run(encoder.close())


@pytest.mark.parametrize(
    ("file", "content", "named"),
    [
        ("modules.json", [{"type": "sentence_transformers.models.Dense", "path": "2"}], "Dense"),
        ("1_Pooling/config.json", {"pooling_mode_max_tokens": True}, "max"),
    ],
)
def test_unknown_pooling_is_refused(folder: Path, tmp_path: Path, file: str, content: object, named: str) -> None:
    shutil.copytree(folder, tmp_path / "m")
    (tmp_path / "m" / file).parent.mkdir(exist_ok=True)
    (tmp_path / "m" / file).write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=named):
        SentenceEncoder(LocalWorker(model=str(tmp_path / "m"), task="embed"))


def test_special_tokens_stay_characters(encoder: SentenceEncoder) -> None:
    assert encoder.encode("[CLS]") == tuple(map(WORDS.index, ("[", "CLS", "]")))


@pytest.mark.asyncio
async def test_only_embeds(encoder: SentenceEncoder) -> None:
    request = GenerateRequest(messages=(Message("user", "x"),))
    with pytest.raises(CapabilityError, match="generate"):
        await encoder.generate(request)
    with pytest.raises(CapabilityError, match="stream"):
        await anext(encoder.stream(request))
    with pytest.raises(CapabilityError, match="generate"):
        encoder.render(request)


@pytest.mark.asyncio
async def test_closed(folder: Path) -> None:
    encoder = await create_engine(LocalWorker(model=str(folder), task="embed"))
    await encoder.close()
    await encoder.close()
    with pytest.raises(EngineUnavailable, match="closed"):
        await encoder.embed(["x"])


def test_package_with_other_weights_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("importlib.metadata").version(minilm.DISTRIBUTION)
    monkeypatch.setattr(minilm, "_SHA256", "0" * 64)
    minilm._verified_folder.cache_clear()
    with pytest.raises(CheckpointError, match="sha256"):
        checkpoint.resolve("all-MiniLM-L6-v2")
    minilm._verified_folder.cache_clear()


def test_minilm_equals_transformers() -> None:
    folder = minilm.bundled_folder("all-MiniLM-L6-v2")
    if folder is None:
        pytest.skip(f"{minilm.DISTRIBUTION} is not installed")
    encoder = SentenceEncoder(LocalWorker(model="sentence-transformers/all-MiniLM-L6-v2", task="embed"))
    texts = ["What is 347 plus 589?", "Ünïcode 漢字", "short", "a longer text about the routing of tokens " * 40]
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    prompts = [tokenizer(text, truncation=True, max_length=256)["input_ids"] for text in texts]
    expected = plain(AutoModel.from_pretrained(folder).eval(), prompts)
    np.testing.assert_allclose(encoder.embed_now(texts), expected, atol=1e-6)
    asyncio.run(encoder.close())
