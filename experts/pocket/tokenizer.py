"""The character-level tokenizer of the pocket family.

One token a printable ASCII character. Accents are stripped and typographic quotes, dashes and signs become their ASCII
relatives; anything else is ``<unk>``. The chat template lower-cases the user's text and keeps the last user turn only:
pocket models answer single questions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, UNKNOWN, USER, ASSISTANT, END = "<pad>", "<unk>", "<user>", "<assistant>", "<end>"
SPECIAL = (PAD, UNKNOWN, USER, ASSISTANT, END)
CHARACTERS = "\n" + "".join(map(chr, range(32, 127)))
CHAT_TEMPLATE = (
    f"{{{{ '{USER}' }}}}"
    "{{ (messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | list | last) | lower | trim }}"
    f"{{{{ '{ASSISTANT}' }}}}"
)
_RELATIVES = {
    "‘": "'",
    "’": "'",
    "“": '"',
    "”": '"',
    "–": "-",
    "—": "-",
    "−": "-",
    "×": "x",
    "∧": "&",
    "∨": "|",
    "¬": "!",
}


def build_tokenizer(extra: tuple[str, ...] = ()) -> PreTrainedTokenizerFast:
    """The tokenizer, with ``extra`` special tokens (functional tokens) after the common ones."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: i for i, token in enumerate((*SPECIAL, *CHARACTERS, *extra))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence(
        [*(normalizers.Replace(a, b) for a, b in _RELATIVES.items()), normalizers.NFKD(), normalizers.StripAccents()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in (*SPECIAL, *extra)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, unk_token=UNKNOWN, eos_token=END, chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )  # fmt: skip
