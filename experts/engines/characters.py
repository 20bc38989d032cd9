"""The vocabulary of engines that hold text instead of a model: one id per character."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from experts.engines.requests import Message, TokenId

_UNICODE = 0x110000


class CharacterVocabulary:
    """Id 0 ends an answer, the special tokens follow, then every Unicode character."""

    end_id = TokenId(0)

    def __init__(self, special: Sequence[str] = ()) -> None:
        self._special = tuple(dict.fromkeys(special))
        self._ids = {token: TokenId(1 + i) for i, token in enumerate(self._special)}
        self._first_character = 1 + len(self._special)

    def __len__(self) -> int:
        return self._first_character + _UNICODE

    @property
    def special(self) -> tuple[str, ...]:
        return self._special

    def token_id(self, token: str) -> TokenId | None:
        """The id of a special token, or None."""
        return self._ids.get(token)

    def encode(self, text: str) -> tuple[TokenId, ...]:
        """Token ids of plain text; special tokens in it stay characters."""
        return tuple(TokenId(self._first_character + ord(char)) for char in text)

    def decode(self, token_ids: Sequence[TokenId]) -> str:
        """The text of token ids, special tokens included; the end token has none."""
        return "".join(map(self._text, token_ids))

    def decode_plain(self, token_ids: Sequence[TokenId]) -> str:
        """The text of token ids without special tokens."""
        return "".join(self._text(token) for token in token_ids if token >= self._first_character)

    def render(self, messages: Iterable[Message], tools: Sequence[Mapping[str, Any]] = ()) -> tuple[TokenId, ...]:
        """The prompt of a dialogue: one ``role: content`` line per turn, below one of the tools if there are any."""
        told = f"tools: {json.dumps(tools)}\n" if tools else ""
        return self.encode(told + "".join(f"{m.role}: {m.content}\n" for m in messages) + "assistant: ")

    def _text(self, token: TokenId) -> str:
        if token >= self._first_character:
            return chr(token - self._first_character)
        return self._special[token - 1] if token else ""
