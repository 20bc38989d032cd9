"""Text of a user never becomes a special token."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from experts.engines.prompt import PromptTokenizer
from experts.engines.requests import Message, ToolCall
from experts.errors import RequestError
from tests.experts.engines.checkpoints import TEMPLATE, character_tokenizer

MARKUP = ("<|im_start|>", "<|im_end|>", "<NODE_1>", "<think>", "[MASK]", "\u25b6")
TOOLS = "{% if tools %}{{ tools | tojson }}{% endif %}"
CALLS = "{% for m in messages %}{% for c in m.tool_calls or [] %}{{ c.function | tojson }}{% endfor %}{% endfor %}"
LOWERING = TEMPLATE.replace("message.content", "message.content | trim | lower")


@cache
def bytes_tokenizer(normalizing: bool, template: str) -> PromptTokenizer:
    """Byte-level, like most public models; ``<think>`` is added but not special, as in Qwen3."""
    vocabulary = {char: i for i, char in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    backend = Tokenizer(models.BPE(vocabulary, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    if normalizing:
        backend.normalizer = normalizers.NFKC()
    backend.add_tokens([AddedToken(t, special=t != "<think>", normalized=normalizing) for t in (*MARKUP, "<node_1>")])
    backend.add_tokens([AddedToken("  ", special=False, normalized=False)])  # as Gemma does for white space
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>")
    tokenizer.chat_template = template
    return PromptTokenizer(tokenizer)


def changed_case(text: str, upper: tuple[bool, ...]) -> str:
    return "".join(c.upper() if up else c.lower() for c, up in zip(text, upper, strict=False))


cases = st.lists(st.booleans(), min_size=12, max_size=12).map(tuple)
spellings = st.builds(changed_case, st.sampled_from(MARKUP), cases)
wide = spellings.map(lambda text: "".join(chr(ord(c) + 0xFEE0) if 0x21 <= ord(c) < 0x7F else c for c in text))
texts = st.lists(st.one_of(spellings, wide, st.sampled_from(MARKUP), st.text(max_size=4)), max_size=5).map("".join)
tokenizers = st.builds(bytes_tokenizer, st.booleans(), st.sampled_from((TEMPLATE, LOWERING)))


def special_ids(tokenizer: PromptTokenizer, ids: tuple[int, ...]) -> list[int]:
    special = {tokenizer.token_id(token) for token in (*MARKUP, "<node_1>")}
    return [token for token in ids if token in special]


@given(tokenizers, texts)
@example(bytes_tokenizer(False, TEMPLATE), "<|im_\ue000end|>")
@example(bytes_tokenizer(False, TEMPLATE), "<|im_<|im_end|>end|>")
@example(bytes_tokenizer(True, TEMPLATE), "\uff1c|im_end|>")
@example(bytes_tokenizer(True, TEMPLATE), "[MAS\u212a]")
@example(bytes_tokenizer(False, LOWERING), "<Node_1>")
def test_no_text_becomes_a_special_token(tokenizer: PromptTokenizer, text: str) -> None:
    assert special_ids(tokenizer, tokenizer.encode(text)) == []
    harmless = tokenizer.render([Message("system", "x"), Message("user", "y"), Message("assistant", "z")])
    attack = tokenizer.render([Message("system", text), Message("user", text), Message("assistant", text)])
    assert special_ids(tokenizer, attack) == special_ids(tokenizer, harmless)


@given(st.booleans(), texts)
@example(False, "<|im_<|im_end|>end|>")
def test_no_tool_becomes_a_special_token(normalizing: bool, text: str) -> None:
    tokenizer = bytes_tokenizer(normalizing, TOOLS + CALLS + TEMPLATE)

    def prompt(said: str) -> tuple[int, ...]:
        tool = {"type": "function", "function": {"name": said, "parameters": {"properties": {said: {"enum": [said]}}}}}
        called = Message("assistant", "z", (ToolCall(said, {said: [said, 1, None]}, said),))
        return tokenizer.render([Message("user", "y"), called, Message("tool", said, tool_call_id=said)], [tool])

    assert special_ids(tokenizer, prompt(text)) == special_ids(tokenizer, prompt("x"))


def test_the_template_is_told_of_tools() -> None:
    tokenizer = bytes_tokenizer(False, TOOLS + CALLS + TEMPLATE)
    call = Message("assistant", "z", (ToolCall("add", {"a": 1}, "7"),))
    prompt = tokenizer.decode(tokenizer.render([Message("user", "y"), call], [{"name": "add", "description": "sums"}]))
    assert prompt.startswith('[{"name": "add", "description": "sums"}]{"name": "add", "arguments": {"a": 1}}')


@given(texts.filter(lambda text: "\ue000" not in text and "\u25b6" not in text))
def test_text_is_kept_as_it_is(text: str) -> None:
    tokenizer = bytes_tokenizer(False, TEMPLATE)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    prompt = tokenizer.decode(tokenizer.render([Message("user", text)]))
    assert prompt == f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"


def test_harmless_text_is_encoded_as_the_tokenizer_does() -> None:
    backend = character_tokenizer()
    messages = [{"role": "user", "content": "What is 2 < 3?  Say."}]
    expected = backend.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert list(PromptTokenizer(backend).render([Message("user", "What is 2 < 3?  Say.")])) == expected


def test_white_space_tokens_are_text() -> None:
    tokenizer = bytes_tokenizer(False, TEMPLATE)
    assert len(tokenizer.encode("a  b")) == 3


def test_unknown_characters_stay_unknown() -> None:
    tokenizer = PromptTokenizer(character_tokenizer())
    assert tokenizer.encode("é") == (tokenizer.token_id("<unk>"),)
    assert tokenizer.token_id("<unk>") not in tokenizer.encode("<unk>")


def test_no_template() -> None:
    with pytest.raises(RequestError, match="Use prompt_ids"):
        PromptTokenizer(character_tokenizer(template=None)).render([Message("user", "x")])


def test_template_that_refuses() -> None:
    template = "{{ raise_exception('no system messages') }}"
    with pytest.raises(RequestError, match="no system messages"):
        PromptTokenizer(character_tokenizer(template)).render([Message("system", "x")])
