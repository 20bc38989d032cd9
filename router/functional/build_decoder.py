"""From a router node, its targets and an engine to a `DecoderRouter`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experts.engines.base import Capability, Engine, require
from router.errors import TokenHeadError
from router.functional.decision import Target
from router.functional.decoder import DecoderRouter
from router.functional.decoder_prior import abstaining, add_tokens, known
from router.functional.tokens_file import TokensFile, check_model, load_tokens, token_texts
from router.spec.models import RouterNode
from router.types import NodeId


async def decoder_router(
    node: RouterNode, targets: Sequence[Target], engine: Engine, folder: Path | None
) -> DecoderRouter:
    """A router over an engine that generates.

    A target whose token the model does not have is added to the engine's vocabulary from its description and examples,
    without training (`router.functional.decoder_prior`); it gets the user's own words, since the model never learned
    what to write after its token.

    Args:
        folder: the tokens folder, or the model's own if that holds `functional_tokens.json`; None without one: the
            model's tokens are then those that the edges name, or ``<node_i>`` by position.

    Raises:
        TokenHeadError: no targets, tokens for another model or an encoder, or tokens are missing and the engine cannot
            add them.
    """
    require(engine, Capability.GENERATE)
    tokens = TokensFile(backbone="decoder", tokens={}) if folder is None else load_tokens(folder)
    if folder is not None:
        if tokens.backbone != "decoder":
            raise TokenHeadError(
                f"{folder}: expected functional tokens of a decoder, found those of an encoder. Use the model that "
                "they were trained for, or train them for this one"
            )
        check_model(tokens, engine.info, folder)
    texts = _texts(targets, tokens, engine, strict=folder is not None)
    trained = {target.node for target in targets if _is_trained(target, texts, tokens, engine, folder is not None)}
    new = frozenset(texts) - trained
    if new:
        await _add(node, targets, engine, tokens, texts, new)
    return DecoderRouter(
        engine=engine, texts=texts, tokens=tokens, silent=new | (set(tokens.silent) & set(texts)),
        system=node.system, max_tokens=node.max_tokens, threshold=node.threshold,
    )  # fmt: skip


def _is_trained(target: Target, texts: dict[NodeId, str], tokens: TokensFile, engine: Engine, strict: bool) -> bool:
    """Whether the model has this target's token. With a tokens folder, only named tokens count: the vocabulary may hold
    a ``<node_7>`` that another router added."""
    named = target.token is not None or target.node in tokens.tokens or not strict
    return named and engine.token_id(texts[target.node]) is not None


def _texts(targets: Sequence[Target], tokens: TokensFile, engine: Engine, *, strict: bool) -> dict[NodeId, str]:
    """The targets' tokens; a target that is new gets one that the vocabulary does not have yet."""
    taken = dict(tokens.tokens)
    while True:
        texts = token_texts(targets, taken)
        clash = [
            texts[target.node] for target in targets
            if strict and target.token is None and target.node not in tokens.tokens
            and engine.token_id(texts[target.node]) is not None
        ]  # fmt: skip
        if not clash:
            return texts
        taken |= {NodeId(f"\0{text}"): text for text in clash}  # no node has such a name


async def _add(
    node: RouterNode, targets: Sequence[Target], engine: Engine, tokens: TokensFile, texts: dict[NodeId, str],
    new: frozenset[NodeId],
) -> None:  # fmt: skip
    lacking = {Capability.HIDDEN_STATES, Capability.EXTEND_VOCABULARY} - engine.capabilities
    if lacking:
        names = ", ".join(f"{texts[target.node]} for {target.node}" for target in targets if target.node in new)
        raise TokenHeadError(
            f"expected functional tokens in the vocabulary of {engine.info.model}, found none of {names}, and this "
            "engine cannot add any. Merge them in with `tokengraph train functional-tokens`, or use engine: local"
        )
    entries = [known(target, texts[target.node], trained=target.node not in new) for target in targets]
    if tokens.abstain:
        entries.append(abstaining(tokens.abstain, trained=True))
    await add_tokens(engine, entries, node.system)
