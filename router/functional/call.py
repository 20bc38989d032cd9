"""The call that a decoder router writes after a functional token: ``('reformulated query')<end>``."""

from __future__ import annotations

from router.functional.tokens_file import TokensFile

_QUOTES = {"'": "'", '"': '"', "\u2018": "\u2019", "\u201c": "\u201d"}


def format_call(query: str, tokens: TokensFile) -> str:
    """The text between the functional token and the end token."""
    return f"{tokens.open}{query}{tokens.close}"


def parse_call(text: str, tokens: TokensFile) -> str | None:
    """The query in a call's text, or None if the text is no call.

    White space around the brackets and the quotes is ignored, and so is the kind of the quotes if the call is the usual
    ``('...')``. Anything else (a bracket that is not closed, words before or after, an empty query) is no call.
    """
    text = text.strip()
    if text.startswith(tokens.open) and text.endswith(tokens.close):
        return text[len(tokens.open) : len(text) - len(tokens.close)].strip() or None
    if (tokens.open, tokens.close) != ("('", "')") or not (text.startswith("(") and text.endswith(")")):
        return None
    inner = text[1:-1].strip()
    if len(inner) > 2 and _QUOTES.get(inner[0]) == inner[-1]:
        return inner[1:-1].strip() or None
    return None
