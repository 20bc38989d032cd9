"""Output rows for functional tokens that a decoder was never trained on, from descriptions and example queries.

After "Re-Initialization Token Learning" a token starts from the model's own hidden states of its description. Their
plain average is a poor row: it has another scale than trained rows, and most of it is common to all queries. So a row
is a ridge regression on the hidden states h at the routing position of every node's texts,

    w = argmin  sum_k a_k (h_k . w - t_k)^2 + lambda |w|^2,   t_k = r_k + M for the node's own texts, r_k - M for others

where r_k is the best logit that the model has there now: of the functional tokens that it knows, else of its whole
vocabulary. A new token thus beats the trained ones by a margin M on its own texts and loses by M on theirs, on the
scale of the model's own logits. M is the trained tokens' median margin between best and second best.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING

from experts.engines.base import Capability, Engine, require
from experts.engines.requests import GenerateRequest, Message, TokenId
from router.functional.decision import Target
from router.functional.prompt import fit_context, router_prompt

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_RIDGE = 0.03  # lambda in units of the mean squared length of the (weighted) hidden states
_MARGIN = 3.0  # nats, for want of trained tokens to measure it
_LEAST_MARGIN = 1.0

OFF_TOPIC = (
    "hello, how are you?", "who are you?", "thanks, goodbye", "tell me a joke", "i feel sad today",
    "what should i cook tonight?", "recommend a good film", "how do i fix a flat tyre?", "write a poem about the sea",
    "what is the weather like?", "book a table for two", "why is my phone so slow?", "who won the match yesterday?",
    "how do i learn to play the guitar?", "what do you think about love?", "is it safe to drink tap water?",
    "plan a weekend in the mountains", "which phone should i buy?", "how tall is that building?", "my cat does not eat",
)  # fmt: skip
"""What people ask any assistant: stands for abstaining where a model can abstain."""


@dataclass(frozen=True)
class Known:
    """A functional token by the texts that belong to it; ``trained`` if its row is there already."""

    token: str
    texts: tuple[str, ...]
    trained: bool


def known(target: Target, token: str, *, trained: bool) -> Known:
    """A target by its name, description and examples."""
    about = f"{target.node.replace('_', ' ')}: {target.description}" if target.description else target.node
    return Known(token, (about, *target.examples), trained)


def abstaining(token: str, *, trained: bool) -> Known:
    """The abstain token by `OFF_TOPIC`."""
    return Known(token, OFF_TOPIC, trained)


async def add_tokens(engine: Engine, tokens: Sequence[Known], system: str | None) -> dict[str, NDArray[np.float32]]:
    """Gives the engine's vocabulary the tokens that are not trained, and returns their rows, float32 [width] each.

    Raises:
        CapabilityError: the engine cannot add tokens.
    """
    new = [entry.token for entry in tokens if not entry.trained]
    if not new:
        return {}
    require(engine, Capability.HIDDEN_STATES, Capability.EXTEND_VOCABULARY, Capability.GENERATE)
    import numpy as np

    requests = [_request(engine, text, system) for entry in tokens for text in entry.texts]
    owner = np.array([index for index, entry in enumerate(tokens) for _ in entry.texts])
    states = (await engine.hidden_states(requests)).astype(np.float64)
    # A row of zeros has the logit 0, so log-probabilities beside it are logits.
    zero = np.zeros(states.shape[1], np.float32)
    await engine.extend_vocabulary(dict.fromkeys(new, zero))
    trained = [token for entry in tokens if entry.trained and (token := engine.token_id(entry.token)) is not None]
    probe = engine.token_id(new[0])
    assert probe is not None, "the engine has just been given this token"
    logits = await asyncio.gather(*(_logits(engine, request, trained, probe) for request in requests))
    # Rounded, so that the rows do not depend on how the engine happened to batch the requests.
    best = np.array([row[0] for row in logits]).round(2)
    gaps = [row[0] - row[1] for row in logits if len(row) > 1]
    margin = max(round(median(gaps), 2), _LEAST_MARGIN) if gaps else _MARGIN
    share = 1 / np.bincount(owner)[owner]  # every node's texts weigh 1 together
    common = _ridge(states, best, share)
    rows = {}
    for index, entry in enumerate(tokens):
        if not entry.trained:
            own = owner == index
            weights = np.where(own, max(1, len(tokens) - 1) ** 0.5, 1.0) * share
            rows[entry.token] = (common + _ridge(states, np.where(own, margin, -margin), weights)).astype(np.float32)
    await engine.extend_vocabulary(rows)
    return rows


def _request(engine: Engine, text: str, system: str | None) -> GenerateRequest:
    messages, _ = fit_context(engine, router_prompt([Message("user", text)], system), 1)
    return GenerateRequest(messages=messages, max_tokens=1)


async def _logits(engine: Engine, request: GenerateRequest, rivals: Sequence[TokenId], probe: TokenId) -> list[float]:
    """The logits of the rivals, falling; without rivals that of the model's most probable token."""
    if not rivals:
        rivals = (await engine.generate(request)).token_ids[:1]
    generation = await engine.generate(replace(request, first_token_ids=(*rivals, probe)))
    logprobs: Mapping[TokenId, float] = generation.first_logprobs
    return sorted((logprobs[token] - logprobs[probe] for token in rivals), reverse=True)


def _ridge(
    states: NDArray[np.float64], targets: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Weighted ridge regression without an intercept, in its dual form: there are fewer texts than dimensions."""
    import numpy as np

    root = np.sqrt(weights)
    scaled = states * root[:, None]
    kernel = scaled @ scaled.T
    kernel[np.diag_indices_from(kernel)] += _RIDGE * np.trace(kernel) / len(kernel)
    solution: NDArray[np.float64] = scaled.T @ np.linalg.solve(kernel, targets * root)
    return solution
