"""Token ids from text, such that text of a user never becomes a special token.

Tokenizers find special tokens in any text: typed by a user, ``<|im_end|>`` would end their turn. Here a break, one
private-use character that is removed from all incoming text, goes into every such spelling before the chat template
is applied. The rendered prompt is split at the breaks and its pieces are encoded one by one, so nothing that the
template does (trimming, lower-casing) can put a spelling together again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from experts.engines.requests import Message, TokenId
from experts.errors import CheckpointError, RequestError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

_BREAK = "\ue000"
_NO_LIMIT = 10**9


class PromptTokenizer:
    """A model's tokenizer and chat template.

    Added tokens count as special here even when the tokenizer does not call them so (``<think>``), except where they
    are single characters or white space, which some tokenizers add to save tokens.

    Attributes:
        added_ids: the special tokens that were added since it was loaded.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer
        self._backend: Tokenizer = tokenizer.backend_tokenizer
        # Some checkpoints store how their training cut and padded texts.
        self._backend.no_truncation()
        self._backend.no_padding()
        self.added_ids: frozenset[TokenId] = frozenset()
        self._index()

    @classmethod
    def load(cls, folder: Path) -> PromptTokenizer:
        """The tokenizer in a checkpoint folder.

        Raises:
            CheckpointError: the folder has none, or none of the fast kind.
        """
        if (folder / "tokenizer.json").is_file():
            from transformers import PreTrainedTokenizerFast

            fast = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
            return cls(cast(PreTrainedTokenizerFast, fast))
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"expected a tokenizer in {folder}, found: {error}. Add tokenizer.json") from error
        if not tokenizer.is_fast:
            raise CheckpointError(f"expected a fast tokenizer in {folder}, found a slow one. Add tokenizer.json")
        return cls(cast("PreTrainedTokenizerFast", tokenizer))

    def __len__(self) -> int:
        """Number of tokens, added ones included."""
        return int(self._backend.get_vocab_size(with_added_tokens=True))

    @property
    def end_id(self) -> TokenId | None:
        """The token that ends a text, if the tokenizer names one."""
        end = self._tokenizer.eos_token_id
        return None if end is None else TokenId(end)

    @property
    def max_length(self) -> int | None:
        """The longest text in tokens, if the tokenizer says so."""
        limit = self._tokenizer.model_max_length
        return limit if limit < _NO_LIMIT else None

    @property
    def surrounding(self) -> tuple[tuple[TokenId, ...], tuple[TokenId, ...]]:
        """The tokens that an encoder wants before and after a text."""
        probe = "a"
        inner, whole = self._ids(probe), cast(list[TokenId], self._backend.encode(probe).ids)
        at = next(i for i in range(len(whole)) if whole[i : i + len(inner)] == inner)
        return tuple(whole[:at]), tuple(whole[at + len(inner) :])

    def token_id(self, token: str) -> TokenId | None:
        """The id of a special token, or None."""
        return self._special.get(token)

    def encode(self, text: str) -> tuple[TokenId, ...]:
        """Token ids of plain text; special tokens in it stay characters.

        A character that is a special token by itself is left out.
        """
        text = text.replace(_BREAK, "")
        if self._special_ids.isdisjoint(ids := self._ids(text)):
            return tuple(ids)
        return tuple(token for piece in self._pieces(text) for token in self._ids(piece))

    def decode(self, token_ids: Sequence[TokenId]) -> str:
        """The text of token ids, special tokens included."""
        return str(self._backend.decode(token_ids, skip_special_tokens=False))

    def decode_plain(self, token_ids: Sequence[TokenId]) -> str:
        """The text of token ids without the tokens that the tokenizer calls special."""
        return str(self._backend.decode(token_ids, skip_special_tokens=True))

    def render(self, messages: Iterable[Message], tools: Sequence[Mapping[str, Any]] = ()) -> tuple[TokenId, ...]:
        """The prompt of a dialogue in the model's chat template, up to where the assistant's turn begins.

        Args:
            tools: what the model may call; the template says how it is told.

        Raises:
            RequestError: the model has no chat template, or the template refuses the dialogue.
        """
        if not self._tokenizer.chat_template:
            raise RequestError(
                "expected a model with a chat template, found none in its tokenizer. Use prompt_ids, or a chat model"
            )
        from jinja2 import TemplateError

        turns = [self._turn(message) for message in messages]
        try:
            text = self._tokenizer.apply_chat_template(
                turns, tools=self._broken([*tools]) or None, tokenize=False, add_generation_prompt=True
            )
        except TemplateError as error:
            raise RequestError(f"expected a dialogue that the chat template accepts, found: {error}") from error
        return tuple(token for piece in str(text).split(_BREAK) for token in self._ids(piece))

    def add_special(self, tokens: Sequence[str]) -> None:
        """Adds special tokens; known ones stay as they are."""
        from tokenizers import AddedToken

        known = self._special_ids
        self._tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in tokens])
        self._index()
        self.added_ids |= self._special_ids - known

    def _index(self) -> None:
        added = self._backend.get_added_tokens_decoder()
        self._special = {
            token.content: TokenId(number)
            for number, token in added.items()
            if token.special or len(token.content.strip()) > 1
        }
        self._special_ids = frozenset(self._special.values())
        # Characters that the vocabulary lacks become its unknown token, which is no injection.
        controls = {self._tokenizer.eos_token_id, self._tokenizer.bos_token_id, self._tokenizer.pad_token_id}
        self._refused_ids = self._special_ids - ({self._tokenizer.unk_token_id} - controls)
        forms = {*self._special, *map(self._normalize, self._special)}
        spellings = sorted((re.escape(form) for form in forms if len(form) > 1), reverse=True)
        self._spelling = re.compile(f"(?=(?:{'|'.join(spellings) or '(?!)'})).", re.IGNORECASE | re.DOTALL)

    def _pieces(self, text: str) -> list[str]:
        """Splits text so that no piece contains, or is encoded to, a special token."""
        broken = self._spelling.sub(lambda found: found[0] + _BREAK, text.replace(_BREAK, ""))
        pieces = []
        for piece in broken.split(_BREAK):
            # The tokenizer's normaliser can turn other characters into a spelling; then each one stands alone.
            parts = [piece] if self._is_plain(piece) else [char for char in piece if self._is_plain(char)]
            pieces.extend(parts)
        return pieces

    def _turn(self, message: Message) -> dict[str, Any]:
        """A turn as chat templates take it."""
        turn: dict[str, Any] = {"role": message.role, "content": self._broken(message.content)}
        if message.tool_calls:
            turn["tool_calls"] = [
                {
                    "id": self._broken(call.id), "type": "function",
                    "function": self._broken({"name": call.name, "arguments": call.arguments}),
                }
                for call in message.tool_calls
            ]  # fmt: skip
        if message.tool_call_id is not None:
            turn["tool_call_id"] = self._broken(message.tool_call_id)
        return turn

    def _broken(self, data: Any) -> Any:
        """The same data with breaks in all of its texts, keys included."""
        if isinstance(data, str):
            return _BREAK.join(self._pieces(data))
        if isinstance(data, Mapping):
            return {self._broken(key): self._broken(value) for key, value in data.items()}
        return [self._broken(item) for item in data] if isinstance(data, (list, tuple)) else data

    def _is_plain(self, piece: str) -> bool:
        # The search also finds what only a change of case, by the chat template, would make a special token.
        return self._refused_ids.isdisjoint(self._ids(piece)) and not self._spelling.search(self._normalize(piece))

    def _normalize(self, text: str) -> str:
        normalizer = self._backend.normalizer
        return text if normalizer is None else str(normalizer.normalize_str(text))

    def _ids(self, piece: str) -> list[TokenId]:
        return cast(list[TokenId], self._backend.encode(piece, add_special_tokens=False).ids)
