"""Which token ends a request before a critical one.

It has to be one that no answer needs, since requests that may defer cannot write it. Text of users plays no part:
only tokens that vLLM draws count, and it draws this one when the token router says so, never else.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from experts.errors import CheckpointError


def choose_defer_token(tokenizer: Any, vocabulary_size: int, end_ids: Collection[int]) -> int:
    """The last row of the vocabulary that has no token, else the tokenizer's padding, unknown or beginning token.

    Most models have more rows than tokens, for the sake of alignment.

    Args:
        vocabulary_size: rows of the output layer.
        end_ids: the tokens that end an answer.

    Raises:
        CheckpointError: the model has no such token.
    """
    named = set(tokenizer.get_vocab().values())
    without_token = (row for row in reversed(range(vocabulary_size)) if row not in named)
    ends = {*end_ids, tokenizer.eos_token_id}
    special = (tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.bos_token_id)
    unwritten = (token for token in special if token is not None and token not in ends)
    token = next(without_token, None)
    token = next(unwritten, None) if token is None else token
    if token is None:
        raise CheckpointError(
            "expected a token that no answer needs (a row of the vocabulary without a token, a padding, unknown or "
            "beginning token that does not end answers), found none. Add a padding token to the tokenizer"
        )
    return int(token)
