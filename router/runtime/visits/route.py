"""Visiting a router: one functional token decides which nodes answer next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

from router.functional.decision import Choice, Decision, FunctionalRouter, Keep
from router.functional.targets import targets_of
from router.functional.tokens_file import find_tokens, worker_for
from router.runtime.engines import EnginePool
from router.runtime.moves import Outcome, WaysOut
from router.runtime.once import Once
from router.runtime.visits.base import Visit
from router.spec.models import GraphSpec, RouterNode
from router.trace import Pick, Routed
from router.types import NodeId

_ALTERNATIVES = 8  # in a trace


class RouteVisitor:
    """Decides with the node's own functional tokens; the model and the vectors load with the first decision."""

    def __init__(self, spec: GraphSpec, name: NodeId, node: RouterNode, pool: EnginePool) -> None:
        self._spec = spec
        self._name, self._node, self._pool = name, node, pool
        self._targets = targets_of(spec, name)
        self._router: Once[tuple[FunctionalRouter, int]] = Once()

    @cached_property
    def ways_out(self) -> WaysOut:
        """The edges out of the node."""
        return WaysOut(self._spec, self._name)

    async def loaded(self) -> tuple[FunctionalRouter, int]:
        """The functional router itself, for decisions outside a run, and the weights that it uses per written token."""
        return await self._router.get(self._name, self._load)

    async def load(self, visit: Visit) -> None:
        if self._pool.here(self._node.worker):
            await self.loaded()

    async def visit(self, visit: Visit) -> Outcome:
        router, activated = await self.loaded()
        fan_out = min(self._node.fan_out, len(self._targets))
        limit = visit.allowance.cap(fan_out * (1 + self._node.max_tokens)) // fan_out
        router = _within(router, limit)
        before = visit.options.keep.get(self._name)
        keep = None if before is None else Keep(before, visit.options.margin)
        decision = await router.decide(visit.messages, fan_out=fan_out, threshold=self._node.threshold, keep=keep)
        visit.meter.whole = {
            "prompt_tokens": decision.prompt_tokens, "generated_tokens": decision.generated_tokens,
            "activated_parameters": activated,
        }  # fmt: skip
        if limit <= self._node.max_tokens and any(call is not None for call in decision.malformed):
            raise visit.allowance.out_of_tokens(decision.generated_tokens)
        return self.outcome(visit.query, decision, activated)

    def outcome(self, query: str, decision: Decision, activated: int) -> Outcome:
        """What a decision means for the run."""
        event = Routed(
            node=self._name, query=query, chosen=_picks(decision.chosen), queries=decision.queries,
            alternatives=_picks(decision.alternatives[:_ALTERNATIVES]), malformed=decision.malformed,
            prompt_tokens=decision.prompt_tokens, generated_tokens=decision.generated_tokens,
            activated_parameters=activated,
        )  # fmt: skip
        pairs = zip(decision.chosen, decision.queries, strict=True)
        return Outcome(
            event,
            picks=tuple((choice.node, asked) for choice, asked in pairs if choice.node is not None),
            probability=decision.chosen[0].probability if decision.chosen else None,
        )

    async def _load(self) -> tuple[FunctionalRouter, int]:
        from router.functional import functional_router

        worker = self._pool.worker(self._node.worker)
        if worker is None:
            tokens, engine = self._node.tokens, await self._pool.get(self._node.worker)
        else:
            tokens = find_tokens(self._node, worker)
            engine = await self._pool.get_for(worker_for(worker, tokens))
        return await functional_router(self._node, self._targets, engine, tokens), engine.info.activated_parameters


def _within(router: FunctionalRouter, limit: int) -> FunctionalRouter:
    """The same router with calls of at most so many tokens, the functional token included; an encoder writes none."""
    from router.functional.decoder import DecoderRouter

    if isinstance(router, DecoderRouter) and limit <= router.max_tokens:
        return replace(router, max_tokens=max(0, limit - 1))
    return router


def _picks(choices: Sequence[Choice]) -> tuple[Pick, ...]:
    return tuple(Pick(node=c.node, token=c.token, probability=c.probability) for c in choices)
