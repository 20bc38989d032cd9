"""What a server offers, and whether it is what a worker expects."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from experts import pocket
from experts.engines.config import VllmWorker
from experts.engines.vllm.transport import Transport
from experts.engines.vllm.wire import ModelCard, ModelList
from experts.errors import EngineError


@dataclass(frozen=True)
class Served:
    """The worker's model on the server.

    Attributes:
        model: the server's name of it.
        context_length: prompt plus answer, in tokens.
    """

    model: str
    context_length: int


async def find_served(transport: Transport, worker: VllmWorker) -> Served:
    """The model among those that the server lists.

    It may have the name that the worker gives it, or have been loaded from there under another name.

    Raises:
        EngineError: the server does not list the model, or one of the adapters.
    """
    cards = (await transport.get("/v1/models", ModelList)).data
    card = _find(cards, worker.model)
    if card is None or card.max_model_len is None:
        raise EngineError(
            f"expected a vLLM server of {worker.model} at {transport.url}, found one of {_names(cards)}. "
            "Correct the url, or start it with --served-model-name as in the spec"
        )
    if missing := sorted(worker.adapters.keys() - {other.id for other in cards if other.parent is not None}):
        raise EngineError(
            f"expected adapters {', '.join(missing)} at {transport.url}, found {_names(cards)}. "
            "Start the server with --enable-lora --lora-modules NAME=FOLDER"
        )
    return Served(card.id, card.max_model_len)


def _find(cards: tuple[ModelCard, ...], model: str) -> ModelCard | None:
    own = [card for card in cards if card.parent is None]
    named = [card for card in own if card.id == model]
    loaded = [card for card in own if card.root is not None and _place(card.root) == _place(model)]
    return next(iter(named + loaded), None)


def _place(model: str) -> str:
    """The same for all ways to name the same files."""
    if model.startswith("pocket:"):
        return str(pocket.resolve(model.removeprefix("pocket:")))
    return str(Path(model).resolve()) if Path(model).is_dir() else model


def _names(cards: tuple[ModelCard, ...]) -> str:
    return ", ".join(card.id for card in cards) or "none"
