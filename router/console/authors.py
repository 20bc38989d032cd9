"""An answer of two models, each token in the colour of the one that wrote it."""

from __future__ import annotations

from rich.text import Text

from router.console.terminal import printable
from router.trace import PairWriting

STYLES = {"small": "", "large": "bold magenta"}


def by_author(pair: PairWriting) -> Text:
    """The legend, and the tokens of an answer as they were written, those of the large model in its colour.

    Where there are no colours, brackets stand around what the large model wrote.
    """
    text = Text().append("written ", "dim")
    text.append("by the small model", STYLES["small"]).append(", ", "dim")
    text.append("[by the large model]", STYLES["large"])
    text.append(f" where a token's criticality was at least {pair.threshold:.3g}\n", "dim")
    last = "small"
    for token in pair.tokens:
        if token.author != last:
            text.append("[" if token.author == "large" else "]", STYLES["large"])
        text.append(printable(token.token), STYLES[token.author])
        last = token.author
    if last == "large":
        text.append("]", STYLES["large"])
    return text
