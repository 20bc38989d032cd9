"""The token on which a request stops before a critical one."""

from __future__ import annotations

from typing import Any

import pytest

from experts.errors import CheckpointError
from experts.pocket.tokenizer import build_tokenizer
from experts.vllm_plugin.defer_token import choose_defer_token


def tokenizer(**special: str | None) -> Any:
    made = build_tokenizer()
    for name, token in special.items():
        setattr(made, name, token)
    return made


def test_a_row_without_a_token_comes_first() -> None:
    made = tokenizer()
    assert choose_defer_token(made, len(made) + 7, ()) == len(made) + 6


def test_else_a_special_token_that_no_answer_needs() -> None:
    made = tokenizer()
    size = len(made)
    assert choose_defer_token(made, size, ()) == made.pad_token_id
    assert choose_defer_token(made, size, {made.pad_token_id}) == made.unk_token_id
    assert choose_defer_token(tokenizer(pad_token="<end>"), size, ()) == made.unk_token_id
    begins = tokenizer(pad_token=None, unk_token=None, bos_token="<user>")
    assert choose_defer_token(begins, size, ()) == begins.bos_token_id


def test_a_model_without_one_is_refused() -> None:
    made = tokenizer(pad_token="<end>", unk_token=None)
    with pytest.raises(CheckpointError, match=r"no answer needs.*found none.*Add a padding token"):
        choose_defer_token(made, len(made), ())
