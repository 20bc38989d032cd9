"""A decoder that routes: it writes ``<node_i>('reformulated query')<end>`` (Octopus v4, "Graph of language models").

One request decides: the first token is chosen among the functional tokens alone, its probabilities are the decision's,
and the text after it is the query for the chosen node.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from experts.engines.base import Engine
from experts.engines.requests import NEVER, GenerateRequest, Generation, Message, TokenId
from router.errors import TokenHeadError
from router.functional.call import parse_call
from router.functional.decision import Choice, Decision, Keep, with_kept
from router.functional.prompt import fit_context, last_user_turn, router_prompt
from router.functional.tokens_file import TokensFile
from router.types import NodeId

MOST_ALTERNATIVES = 20


@dataclass(frozen=True)
class DecoderRouter:
    """Routes with a decoder (a `FunctionalRouter`). `router.functional.build_decoder` makes one.

    Attributes:
        engine: can generate, and has every functional token in its vocabulary.
        texts: the functional token of each target.
        tokens: the abstain token, the form of a call, temperature and threshold.
        silent: targets whose token the model never saw in training (it was added from the description), so nothing
            sensible follows it: they get the user's last turn as it is. Where the vocabulary has no end token, the
            model writes no calls at all, and every target does.
        system: the router's system prompt.
        max_tokens: longest call, the functional token not counted.
        threshold: abstain below this probability; None is the calibrated one of ``tokens``.
    """

    engine: Engine
    texts: Mapping[NodeId, str]
    tokens: TokensFile
    silent: frozenset[NodeId] = frozenset()
    system: str | None = None
    max_tokens: int = 128
    threshold: float | None = None

    def __post_init__(self) -> None:
        if not self.texts:
            raise TokenHeadError("expected a router with at least one node to choose, found none. Add a `token` edge")
        missing = [text for text in (*self.texts.values(), self.tokens.abstain) if text and self._id(text) is None]
        if missing:
            raise TokenHeadError(
                f"expected the functional tokens {', '.join(missing)} in the vocabulary of {self.engine.info.model}, "
                "found none of that name. Train them with `tokengraph train functional-tokens`, or name the model's "
                "own tokens in the edges (`token:`)"
            )

    async def decide(
        self, messages: Sequence[Message], *, fan_out: int = 1, threshold: float | None = None,
        keep: Keep | None = None,
    ) -> Decision:  # fmt: skip
        """Chooses up to ``fan_out`` nodes for a dialogue, or none; see `FunctionalRouter.decide`.

        A call that cannot be parsed is recorded in ``Decision.malformed``; its node gets the user's last turn.

        Raises:
            RequestError: no user turn, or a last turn longer than the context.
        """
        room = 1 + self.max_tokens if self._ids(self.tokens.end) else 1
        prompt, room = fit_context(self.engine, router_prompt(messages, self.system), room)
        first = await self.engine.generate(self._choose(prompt, room))
        outcomes = self._outcomes(first)
        chosen = with_kept(self._chosen(outcomes, fan_out, threshold), outcomes, keep, fan_out)
        calls = await asyncio.gather(*(self._call(prompt, room, choice, first) for choice in chosen))
        plain = last_user_turn(messages)
        queries: list[str] = []
        malformed: list[str | None] = []
        spent = [first]
        for call in calls:
            query = plain if call is None else parse_call(call.text, self.tokens)
            queries.append(plain if query is None else query)
            malformed.append(call.text if call is not None and query is None else None)
            if call is not None and call is not first:
                spent.append(call)
        return Decision(
            chosen=chosen,
            queries=tuple(queries),
            alternatives=outcomes[: max(MOST_ALTERNATIVES, fan_out + 1)],
            prompt_tokens=sum(generation.prompt_tokens for generation in spent),
            generated_tokens=sum(len(generation.token_ids) for generation in spent),
            malformed=tuple(malformed),
        )

    async def decide_many(
        self, dialogues: Sequence[Sequence[Message]], *, threshold: float | None = None
    ) -> list[Decision]:
        """One decision a dialogue; the engine batches them."""
        return await asyncio.gather(*(self.decide(dialogue, threshold=threshold) for dialogue in dialogues))

    def _id(self, text: str) -> TokenId | None:
        return self.engine.token_id(text)

    def _ids(self, *texts: str | None) -> tuple[TokenId, ...]:
        ids = (self._id(text) for text in texts if text)
        return tuple(token for token in ids if token is not None)

    def _choose(self, prompt: tuple[Message, ...], room: int) -> GenerateRequest:
        first = self._ids(*self.texts.values(), self.tokens.abstain)
        end = self._ids(self.tokens.end)
        return GenerateRequest(
            messages=prompt,
            first_token_ids=first,
            max_tokens=room,
            stop_token_ids=(*end, *self._ids(self.tokens.abstain, *(self.texts[node] for node in self.silent))),
        )

    def _outcomes(self, first: Generation) -> tuple[Choice, ...]:
        """The calibrated probabilities: softmax of the log-probabilities over the temperature, falling."""
        texts: list[tuple[NodeId | None, str]] = [*self.texts.items()]
        if self.tokens.abstain:
            texts.append((None, self.tokens.abstain))
        scaled = [first.first_logprobs[self._ids(text)[0]] / self.tokens.temperature for _, text in texts]
        top = max(scaled)
        weights = [math.exp(value - top) for value in scaled]
        total = sum(weights)
        choices = (Choice(node, text, weight / total) for (node, text), weight in zip(texts, weights, strict=True))
        return tuple(sorted(choices, key=lambda choice: -choice.probability))

    def _chosen(self, outcomes: Sequence[Choice], fan_out: int, threshold: float | None) -> tuple[Choice, ...]:
        """The nodes that are likelier than abstaining, if the best reaches the threshold."""
        if threshold is None:
            threshold = self.tokens.threshold if self.threshold is None else self.threshold
        abstain = next((index for index, choice in enumerate(outcomes) if choice.node is None), len(outcomes))
        nodes = tuple(outcomes[:abstain])
        return nodes[:fan_out] if nodes and nodes[0].probability >= threshold else ()

    async def _call(
        self, prompt: tuple[Message, ...], room: int, choice: Choice, first: Generation
    ) -> Generation | None:
        """What the model writes after the token of ``choice``; None if it writes no calls for it."""
        end = self._ids(self.tokens.end)
        if not end or choice.node in self.silent:
            return None
        token = self._ids(choice.token)
        if first.token_ids[:1] == token and self._functional.isdisjoint(first.token_ids[1:]):
            return first
        # Rows that were not trained inside calls are fitted to the routing position; elsewhere their logits may be high.
        return await self.engine.generate(
            GenerateRequest(
                messages=prompt, forced_ids=token, max_tokens=room - 1, stop_token_ids=end,
                logit_bias=dict.fromkeys(self._functional, NEVER),
            )
        )  # fmt: skip

    @cached_property
    def _functional(self) -> frozenset[TokenId]:
        return frozenset(self._ids(*self.texts.values(), self.tokens.abstain))
