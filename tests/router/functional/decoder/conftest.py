"""A tiny character-level decoder, and three nodes told apart by their words, that it learns to route in seconds."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import ModuleType

import pytest

from experts.engines.config import LocalWorker
from experts.engines.requests import Message
from router.functional.decision import Target
from router.functional.report import TrainingReport
from router.functional.sft import train_decoder
from router.types import NodeId

SYSTEM = "route"
WORDS = {
    "weather": ("rain", "snow", "wind"),
    "kitchen": ("bread", "soup", "cake"),
    "music": ("drum", "flute", "song"),
}
OFF_TOPIC = ("hello, how are you?", "who are you?", "thanks, goodbye", "tell me a joke", "i feel sad", "my cat is old")
FRAMES = ("tell me of {}", "what of {} today?", "{} please", "i like {}", "more {} now", "is {} good?", "{}")
TARGETS = tuple(
    Target(NodeId(node), " ".join(words), tuple(frame.format(word) for frame, word in zip(FRAMES, words, strict=False)))
    for node, words in WORDS.items()
)
SPORT_WORDS = ("tennis", "judo", "goal")
SPORT = Target(
    NodeId("sport"), " ".join(SPORT_WORDS),
    tuple(frame.format(word) for word in SPORT_WORDS for frame in FRAMES[:4]),
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A labelled dialogue."""

    messages: tuple[Message, ...]
    node: NodeId | None
    reformulated: str | None


def ask(text: str) -> tuple[Message, ...]:
    return (Message("user", text),)


def rows(count: int, seed: int, *, reformulate: bool = True, off_topic: float = 0.15) -> list[Row]:
    """Queries of the three nodes and some that belong to none; the call is the node's word in capitals."""
    rng = Random(seed)
    made = []
    for _ in range(count):
        if rng.random() < off_topic:
            made.append(Row(ask(rng.choice(OFF_TOPIC)), None, None))
            continue
        node = rng.choice(sorted(WORDS))
        word = rng.choice(WORDS[node])
        call = word.upper() if reformulate else None
        made.append(Row(ask(rng.choice(FRAMES).format(word)), NodeId(node), call))
    return made


def build_base(folder: Path, *, tied: bool = False, context: int = 128) -> Path:
    """An untrained Qwen3 with a character vocabulary and a chat template that keeps every turn."""
    import torch
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    special = ("<pad>", "<unk>", "<eos>", "<system>", "<user>", "<assistant>")
    vocabulary = {token: i for i, token in enumerate((*special, "\n", *map(chr, range(32, 127))))}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    template = (
        "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", unk_token="<unk>", eos_token="<eos>", chat_template=template,
        clean_up_tokenization_spaces=False,
    )  # fmt: skip
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(vocabulary), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, max_position_embeddings=context, tie_word_embeddings=tied,
        eos_token_id=2, pad_token_id=0, bos_token_id=None,
    )  # fmt: skip
    Qwen3ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny models are fastest on one thread."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def tied_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_base(tmp_path_factory.mktemp("tied"), tied=True)


@dataclass(frozen=True)
class Trained:
    """A tokens folder and what its training reported."""

    folder: Path
    report: TrainingReport
    losses: Sequence[float]


@pytest.fixture(scope="session")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The three nodes and abstaining, learned from scratch."""
    folder = tmp_path_factory.mktemp("trained")
    losses: list[float] = []
    report = train_decoder(
        LocalWorker(model=str(base)), TARGETS, rows(2000, 1), rows(60, 2), folder, tune="model", system=SYSTEM,
        epochs=8, lr=4e-3, batch_tokens=1024, patience=7, regularisation=0.0,
        progress=lambda epoch: losses.append(epoch.loss),
    )  # fmt: skip
    return Trained(folder, report, losses)


@pytest.fixture(scope="session")
def toy() -> ModuleType:
    """This file's nodes and rows, for tests to share: they cannot import a conftest."""
    return sys.modules[__name__]
