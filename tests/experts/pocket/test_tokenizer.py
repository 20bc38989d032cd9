from __future__ import annotations

import pytest

from experts.pocket.tokenizer import CHARACTERS, SPECIAL, build_tokenizer


def test_one_token_a_character() -> None:
    tokenizer = build_tokenizer()
    ids = tokenizer.encode(CHARACTERS, add_special_tokens=False)
    assert ids == list(range(len(SPECIAL), len(SPECIAL) + len(CHARACTERS)))
    assert tokenizer.decode(ids) == CHARACTERS


@pytest.mark.parametrize(
    ("typed", "read"), [("Bogotá", "Bogota"), ("3 × 4", "3 x 4"), ("it’s", "it's"), ("a—b", "a-b")]
)
def test_relatives_of_ascii(typed: str, read: str) -> None:
    tokenizer = build_tokenizer()
    assert tokenizer.decode(tokenizer.encode(typed, add_special_tokens=False)) == read


def test_template_reads_the_last_user_turn_in_lower_case() -> None:
    tokenizer = build_tokenizer(("<node_0>",))
    dialogue = [
        {"role": "user", "content": "A"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": " CD "},
    ]
    assert tokenizer.apply_chat_template(dialogue, tokenize=False) == "<user>cd<assistant>"
    assert tokenizer.convert_tokens_to_ids("<node_0>") == len(SPECIAL) + len(CHARACTERS)
