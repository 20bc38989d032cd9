"""Whether two models mean the same by every token id."""

from __future__ import annotations

from experts.engines.base import Engine
from experts.engines.requests import TokenId
from router.errors import GraphError


def check_same_tokens(small: Engine, large: Engine) -> None:
    """Compares what every token id stands for; checkpoints may have unused rows behind the last token.

    Raises:
        GraphError: the models' tokenizers differ; it shows the first difference.
    """
    shared = min(small.info.vocabulary_size, large.info.vocabulary_size)
    for number in range(max(small.info.vocabulary_size, large.info.vocabulary_size)):
        token = (TokenId(number),)
        mine = small.decode(token) if number < small.info.vocabulary_size else ""
        theirs = large.decode(token) if number < large.info.vocabulary_size else ""
        if mine != theirs:
            beyond = "" if number < shared else f"; only the first {shared:,} ids are in both vocabularies"
            raise GraphError(
                f"expected one tokenizer for {small.info.model} and {large.info.model}, found that id {number} is {mine!r} in "
                f"the first and {theirs!r} in the second{beyond}. Pair models of one family"
            )
