"""The instrument ``defer``: a small model's token router inside vLLM.

It scores what the model proposes, from what the model computes anyway. A logits processor (``defer_processor``) then
ends a request before a critical token: it forces the defer token, on which the request stops. Which rows of a forward
pass belong to which request it learns as masks do, so it is the same for both of vLLM's model runners.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experts.defer.features import proposals
from experts.defer.files import load_router, weights_digest
from experts.defer.network import TokenRouter
from experts.errors import EngineError
from experts.vllm_plugin.defer_token import choose_defer_token
from experts.vllm_plugin.steps import Span, watch_steps

ROUTER = "router"  # the setting: the token router's folder
# The arguments of a request under which admission puts its threshold with the tokens before which it does not hold, and
# the key under which its scores are kept.
DEFER, SCORES = "tokengraph_defer", "tokengraph_scores"
_MOST_KEPT = 1024  # requests whose scores nobody has fetched


def install(model: Any, vllm_config: Any, settings: Mapping[str, Any]) -> DeferInstrument:
    """Puts the instrument into a model.

    Raises:
        CheckpointError: the token router is missing, or was made for another model.
        EngineError: the model is spread over several GPUs, or has embeddings that cannot be read here.
    """
    from vllm.tokenizers.registry import cached_tokenizer_from_config

    from experts.engines.vllm.facts import read_facts

    for name in ("tensor_parallel_size", "pipeline_parallel_size"):
        if (found := getattr(vllm_config.parallel_config, name)) != 1:
            raise EngineError(
                f"expected {name} 1, with which token routers work, found {found}. Start replicas instead"
            )
    folder = Path(settings[ROUTER])
    config = vllm_config.model_config
    facts = read_facts(config.model)
    router, file = load_router(folder, small=facts.fingerprint)
    token = choose_defer_token(cached_tokenizer_from_config(config), config.get_vocab_size(), facts.end_ids)
    device = next(model.parameters()).device
    about = {"token": token, "router": weights_digest(folder), "small": file.small, "large": file.large}
    return DeferInstrument(model, router.to(device), find_embedding(model), about)


def find_embedding(model: Any) -> Callable[[Tensor], Tensor]:
    """The layer that embeds tokens, without what LoRA adapters add to it later.

    Raises:
        EngineError: the model does more than look rows up.
    """
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead, VocabParallelEmbedding

    found = [
        module
        for module in model.modules()
        if isinstance(module, VocabParallelEmbedding) and not isinstance(module, ParallelLMHead)
    ]
    probe = torch.arange(2, device=next(model.parameters()).device)
    with torch.inference_mode():
        if len(found) != 1 or not torch.equal(model.embed_input_ids(probe), found[0](probe)):
            raise EngineError(
                f"expected a model with one plain table of embeddings, found {type(model).__name__}. Use another small "
                "model, or engine: local"
            )
    embedding: Callable[[Tensor], Tensor] = found[0]
    return embedding


@dataclass(frozen=True)
class Place:
    """A row of logits that the token router scores.

    Attributes:
        row: its number.
        threshold: criticality from which on the token is left to another model; infinite where it is not.
        defers: whether the request may leave tokens to another model at all.
        key: under which its scores are kept; None if nobody asks for them.
        written: tokens that the request has already.
    """

    row: int
    threshold: float
    defers: bool
    key: str | None
    written: int


class DeferInstrument:
    """Scores rows of logits, and refuses critical ones.

    Args:
        embedding: int64 [n] -> [n, width].
        about: what ``describe`` tells: the defer token, and which router this is.
    """

    def __init__(
        self, model: Any, router: TokenRouter, embedding: Callable[[Tensor], Tensor], about: Mapping[str, Any]
    ) -> None:
        self._router = router
        self._embedding = embedding
        self._about = dict(about)
        self._token = int(about["token"])
        self._places: tuple[Place, ...] = ()
        self._scores: Tensor | None = None
        self._kept: OrderedDict[str, dict[int, Tensor]] = OrderedDict()
        self._compute_logits = model.compute_logits
        model.compute_logits = self._compute

    def describe(self) -> dict[str, Any]:
        return dict(self._about)

    def attach(self, runner: Any) -> None:
        """Raises EngineError if the server was started without the logits processor."""
        from experts.vllm_plugin.defer_processor import PROCESSOR, bind

        if not bind(runner, self):
            raise EngineError(
                f"expected a server with the logits processor {PROCESSOR}, found none. Start it with "
                f"--logits-processors {PROCESSOR}"
            )
        watch_steps(runner, self._before_step)

    def take(self, key: str) -> list[float]:
        """The scores of a request, in the order of its tokens; they are forgotten here."""
        kept = self._kept.pop(key, {})
        return torch.cat([kept[written] for written in sorted(kept)]).tolist() if kept else []

    def refuse(self, logits: Tensor) -> Tensor:
        """Leaves the defer token alone possible in rows that are critical, and impossible in the requests' other rows.

        Args:
            logits: float32 [rows, vocabulary], written in place.
        """
        if self._scores is None:
            return logits
        at = [number for number, place in enumerate(self._places) if place.defers]
        if at:
            rows = _indices([self._places[number].row for number in at], logits)
            thresholds = torch.tensor([self._places[number].threshold for number in at], device=logits.device)
            critical = self._scores[_indices(at, logits)] >= thresholds
            refused = torch.zeros(len(logits), dtype=torch.bool, device=logits.device)
            refused[rows] = critical
            logits.masked_fill_(refused[:, None], -inf)
            logits[rows, self._token] = torch.where(critical, 0.0, -inf)
        return logits

    def _before_step(self, spans: Sequence[Span]) -> None:
        self._scores = None
        self._places = tuple(place for row, span in enumerate(spans) if (place := _place(row, span)) is not None)

    def _compute(self, hidden: Tensor, *arguments: Any, **keywords: Any) -> Any:
        logits = self._compute_logits(hidden, *arguments, **keywords)
        # vLLM also calls this for log-probabilities of prompts, but after the rows that are drawn from.
        if self._places and self._scores is None:
            self._scores = self._score(hidden, logits)
            for number, place in enumerate(self._places):
                if place.key is not None:
                    self._keep(place.key, place.written, self._scores[number : number + 1])
        return logits

    def _score(self, hidden: Tensor, logits: Tensor) -> Tensor:
        if len(self._places) < len(logits):
            rows = _indices([place.row for place in self._places], logits)
            hidden, logits = hidden[rows], logits[rows]
        return self._router.score(hidden, logits, self._embedding(proposals(logits)))

    def _keep(self, key: str, written: int, score: Tensor) -> None:
        if key not in self._kept and len(self._kept) == _MOST_KEPT:
            self._kept.popitem(last=False)
        self._kept.setdefault(key, {})[written] = score  # once more if vLLM preempted the request


def _place(row: int, span: Span) -> Place | None:
    written = span.position + span.stop - span.start - span.prompt_tokens
    key, defer = span.arguments.get(SCORES), span.arguments.get(DEFER)
    if written < 0 or (key is None and defer is None):  # a prompt that goes on in the next step is not drawn from
        return None
    threshold, after = (inf, 0) if defer is None else defer
    return Place(row, threshold if written >= after else inf, defer is not None, key, written)


def _indices(numbers: list[int], logits: Tensor) -> Tensor:
    return torch.tensor(numbers, device=logits.device)
