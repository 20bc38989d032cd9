"""An answer with calls of tools in it, whichever way the model calls."""

from __future__ import annotations

from dataclasses import dataclass

from experts.engines.requests import GenerateRequest, Generation, TokenId
from router.tools.call import ToolResult

Shown = tuple[TokenId, float, dict[TokenId, float]]
"""A token that the user sees, its log-probability and the alternatives."""


@dataclass(frozen=True)
class MadeCall:
    """A call of an answer.

    Attributes:
        written: the arguments as the model wrote them; empty if it could not.
        probability: of the tool token, among all tokens; of a native call, the mean of its turn's tokens.
        token: the tool token; empty for a native call.
    """

    written: str
    result: ToolResult
    probability: float
    token: str = ""


@dataclass(frozen=True)
class CalledAnswer:
    """An answer and the calls in it.

    Attributes:
        generation: what the user sees, as if the model had written it in one go: results count as drawn with certainty.
        transcript: all that the model read and wrote after the prompt, the token that ended it included.
        calls: in order.
        drawn: tokens that the model drew.
        spliced: tokens of results and errors that it read.
        mean_logprob: of the text and calls that it drew.
        asked: the request that the transcript follows, if that is not the answer's own.
    """

    generation: Generation
    transcript: tuple[TokenId, ...]
    calls: tuple[MadeCall, ...]
    drawn: int
    spliced: int
    mean_logprob: float
    asked: GenerateRequest | None = None
