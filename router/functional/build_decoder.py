"""From a router node, its targets and an engine to a `DecoderRouter`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from threading import Lock
from weakref import WeakKeyDictionary

from experts.engines.base import Capability, Engine, require
from router.errors import TokenHeadError
from router.functional.decision import Target
from router.functional.decoder import DecoderRouter
from router.functional.decoder_prior import abstaining, add_tokens, known
from router.functional.tokens_file import TokensFile, check_model, load_tokens, token_texts
from router.spec.models import RouterNode
from router.types import NodeId

_choosing = Lock()
_chosen: WeakKeyDictionary[Engine, set[str]] = WeakKeyDictionary()
"""The texts that routers chose for an engine; its vocabulary has them when their rows are made."""


async def decoder_router(
    node: RouterNode, targets: Sequence[Target], engine: Engine, folder: Path | None
) -> DecoderRouter:
    """A router over an engine that generates.

    A target whose token the model does not have is added to the engine's vocabulary from its description and examples,
    without training (`router.functional.decoder_prior`), as a token of this router's own; it gets the user's own words,
    since the model never learned what to write after its token.

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
    texts = token_texts(targets, tokens.tokens)
    trained = {target.node for target in targets if _is_trained(target, texts, tokens, engine, folder is not None)}
    new = frozenset(texts) - trained
    if new:
        texts = await _add(node, targets, engine, tokens, texts, new)
    return DecoderRouter(
        engine=engine, texts=texts, tokens=tokens, silent=new | (set(tokens.silent) & set(texts)),
        system=node.system, max_tokens=node.max_tokens, threshold=node.threshold,
    )  # fmt: skip


def _is_trained(target: Target, texts: dict[NodeId, str], tokens: TokensFile, engine: Engine, strict: bool) -> bool:
    """Whether the model itself has this target's token. With a tokens folder, only named tokens count: the vocabulary may
    have a ``<node_7>`` that means something else."""
    named = target.token is not None or target.node in tokens.tokens or not strict
    token = engine.token_id(texts[target.node])
    return named and token is not None and token not in engine.info.added_ids


async def _add(
    node: RouterNode, targets: Sequence[Target], engine: Engine, tokens: TokensFile, texts: dict[NodeId, str],
    new: frozenset[NodeId],
) -> dict[NodeId, str]:  # fmt: skip
    """Gives the engine tokens for the targets that are new; returns the texts of all."""
    lacking = {Capability.HIDDEN_STATES, Capability.EXTEND_VOCABULARY} - engine.capabilities
    if lacking:
        names = ", ".join(f"{texts[target.node]} for {target.node}" for target in targets if target.node in new)
        raise TokenHeadError(
            f"expected functional tokens in the vocabulary of {engine.info.model}, found none of {names}, and this "
            "engine cannot add any. Merge them in with `tokengraph train functional-tokens`, or use engine: local"
        )
    own = _own_texts(texts, new, engine)
    entries = [known(target, own[target.node], trained=target.node not in new) for target in targets]
    if tokens.abstain:
        entries.append(abstaining(tokens.abstain, trained=True))
    await add_tokens(engine, entries, node.system)
    return own


def _own_texts(texts: Mapping[NodeId, str], new: frozenset[NodeId], engine: Engine) -> dict[NodeId, str]:
    """The texts, those of new targets such that nobody else has given them to the engine or is about to.

    Two routers of one engine may both begin with ``<node_0>``, and load at the same time; their rows differ.
    """
    with _choosing:
        chosen = _chosen.setdefault(engine, set())
        own = {node: text for node, text in texts.items() if node not in new}
        for node, wanted in texts.items():
            if node in new:
                taken = {*chosen, *own.values()}
                own[node] = next(s for s in _spellings(wanted) if s not in taken and engine.token_id(s) is None)
                chosen.add(own[node])
    return {node: own[node] for node in texts}


def _spellings(text: str) -> Iterator[str]:
    """A token, and names for others like it: ``<node_0>``, ``<node_0_2>``, ``<node_0_3>`` ..."""
    yield text
    stem, bracket = (text[:-1], ">") if text.endswith(">") else (text, "")
    yield from (f"{stem}_{number}{bracket}" for number in count(2))
