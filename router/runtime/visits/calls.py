"""An answer with calls of tools, as what a visit wrote."""

from __future__ import annotations

from router.runtime.visits.answer import Written
from router.tools.answer import CalledAnswer, MadeCall
from router.trace import WrittenCall


def written(found: CalledAnswer) -> Written:
    """The answer, its calls as plain data for the trace."""
    calls = tuple(map(_call, found.calls))
    return Written(
        found.generation, found.transcript, found.drawn, found.mean_logprob, found.spliced, calls, found.asked
    )


def _call(call: MadeCall) -> WrittenCall:
    result = call.result
    return WrittenCall(
        tool=result.tool, token=call.token, written=call.written, text=result.text,
        arguments=None if result.arguments is None else dict(result.arguments), failed=result.error is not None,
        cut=result.cut, probability=call.probability, milliseconds=1000 * result.seconds,
    )  # fmt: skip
