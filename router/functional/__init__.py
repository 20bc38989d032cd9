"""Which node answers next: functional tokens, read off an encoder or written by a decoder.

Octopus v4 ("Graph of language models") chooses the next model by one token. `functional_router` makes the router of one
router node; `router.functional.train` teaches it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experts.engines.base import Capability, Engine, require
from router.errors import TokenHeadError
from router.functional.decision import Choice, Decision, FunctionalRouter, Target
from router.spec.models import RouterNode

__all__ = ["Choice", "Decision", "FunctionalRouter", "Target", "functional_router"]


async def functional_router(
    node: RouterNode, targets: Sequence[Target], engine: Engine, tokens: Path | None
) -> FunctionalRouter:
    """The router of a node, over the engine of its worker: an encoder if the engine embeds, else a decoder.

    Args:
        targets: what it chooses among: the node's ``token`` edges in order.
        tokens: the tokens folder (`router.functional.tokens_file.find_tokens`); None: descriptions alone.

    Raises:
        TokenHeadError: no targets, or tokens that fit neither the engine nor the targets.
        CapabilityError: the engine can neither embed nor generate.
    """
    if not targets:
        raise TokenHeadError("expected a router node with targets, found none. Add edges out of it")
    if Capability.EMBED in engine.capabilities:
        from router.functional.encoder import encoder_router

        return await encoder_router(node, targets, engine, tokens)
    require(engine, Capability.GENERATE)
    from router.functional.build_decoder import decoder_router

    return await decoder_router(node, targets, engine, tokens)
