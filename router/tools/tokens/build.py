"""From the tools of a node and an engine to what decodes with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from experts.engines.base import Capability, Engine
from experts.engines.requests import TokenId
from router.errors import TokenHeadError
from router.tools.base import Tool
from router.tools.tokens.file import BEGINNING, GENERIC, ToolHead, load_tool_tokens, token_texts
from router.tools.tokens.rows import later_rows
from router.tools.tokens.states import describe


@dataclass(frozen=True)
class Vocabulary:
    """The tool tokens in the vocabulary of an engine.

    Attributes:
        ids: tool -> id of its token.
        texts: tool -> text of its token.
        biases: tool -> what its logit is raised by.
        unoffered: ids that are not to be written: the model's tokens of other tools, and the one for any call.
    """

    ids: Mapping[str, TokenId]
    texts: Mapping[str, str]
    biases: Mapping[str, float]
    unoffered: tuple[TokenId, ...]


async def tool_vocabulary(engine: Engine, tools: Sequence[Tool], folder: Path | None) -> Vocabulary:
    """The tool tokens of a node.

    Tools that the folder does not know get rows from their names and descriptions, where the engine can add any.

    Args:
        folder: the tool tokens; None: the names and descriptions alone.

    Raises:
        TokenHeadError: tokens for another model, or tokens are missing and none can be added.
    """
    if folder is None:
        texts, biases = token_texts([tool.name for tool in tools], {}), dict.fromkeys((t.name for t in tools), 0.0)
        known: set[str] = {tool.name for tool in tools if engine.token_id(texts[tool.name]) is not None}
        if new := [tool for tool in tools if tool.name not in known]:
            await _add_untrained(engine, new, texts)
        return _vocabulary(engine, tools, texts, biases, GENERIC, texts)
    tokens = load_tool_tokens(folder)
    found = engine.info.fingerprint
    if found and found != tokens.fingerprint:
        raise TokenHeadError(
            f"{folder}: expected the model with fingerprint {tokens.fingerprint}, found {engine.info.model} with {found}. "
            "Serve the folder's model/, or train the tool tokens for this model"
        )
    texts, biases = token_texts([tool.name for tool in tools], tokens.tokens), dict(tokens.biases)
    if new := [tool for tool in tools if tool.name not in tokens.tokens]:
        _check_can_add(engine, new)
        rows = later_rows(ToolHead.load(folder, tokens), await describe(engine, new), tokens.length)
        weights = {texts[tool.name]: row for tool, row in zip(new, rows.weights / tokens.length, strict=True)}
        await engine.extend_vocabulary(weights, entering(engine, new, texts))
        biases |= {tool.name: float(bias) for tool, bias in zip(new, rows.bias, strict=True)}
    return _vocabulary(engine, tools, texts, biases, tokens.generic, {**tokens.tokens, **texts})


def entering(engine: Engine, tools: Sequence[Tool], texts: Mapping[str, str]) -> dict[str, tuple[TokenId, ...]]:
    """What tool tokens are like where the model reads them: its own token for any call, else the words of the name."""
    generic = engine.token_id(GENERIC)
    return {
        texts[tool.name]: engine.encode(tool.name.replace("_", " ")) if generic is None else (generic,)
        for tool in tools
    }


async def _add_untrained(engine: Engine, new: Sequence[Tool], texts: Mapping[str, str]) -> None:
    _check_can_add(engine, new)
    if engine.token_id(GENERIC) is None:
        raise TokenHeadError(
            f"expected tool tokens, or a model that was trained with {GENERIC}, found neither in {engine.info.model}. Train "
            "tokens with `tokengraph train tool-tokens`"
        )
    rows = {texts[name]: found.description for name, found in (await describe(engine, new)).items()}
    await engine.extend_vocabulary(rows, entering(engine, new, texts))


def _check_can_add(engine: Engine, new: Sequence[Tool]) -> None:
    if Capability.EXTEND_VOCABULARY not in engine.capabilities:
        names = ", ".join(tool.name for tool in new)
        raise TokenHeadError(
            f"expected tool tokens for {names} in the vocabulary of {engine.info.model}, found none, and this engine cannot "
            "add any. Train them with `tokengraph train tool-tokens`, or use engine: local"
        )


def _vocabulary(
    engine: Engine, tools: Sequence[Tool], texts: Mapping[str, str], biases: Mapping[str, float], generic: str | None,
    every: Mapping[str, str],
) -> Vocabulary:  # fmt: skip
    ids = {tool.name: number for tool in tools if (number := engine.token_id(texts[tool.name])) is not None}
    if missing := [texts[tool.name] for tool in tools if tool.name not in ids]:
        raise TokenHeadError(
            f"expected the tool tokens {', '.join(missing)} in the vocabulary of {engine.info.model}, found none of that name. "
            "Serve the model that `tokengraph train tool-tokens` wrote"
        )
    others = [*(text for name, text in every.items() if name not in ids), *([generic] if generic else [])]
    known = {number for text in others if (number := engine.token_id(text)) is not None}
    unoffered = tuple(sorted((known | _last_tool_tokens(engine)) - set(ids.values())))
    own = {tool.name: biases[tool.name] for tool in tools}
    return Vocabulary(ids, {tool.name: texts[tool.name] for tool in tools}, own, unoffered)


def _last_tool_tokens(engine: Engine) -> set[TokenId]:
    """The tool tokens with which the model's own vocabulary ends: training puts them there."""
    found: set[TokenId] = set()
    info = engine.info
    for token in map(TokenId, reversed(range(info.vocabulary_size))):
        text = "" if token in info.added_ids else engine.decode((token,))
        if text and not text.startswith(BEGINNING):
            break
        found |= {token} if text else set()
    return found
