"""The bundled model with its tools, through the graph that ships with it: held-out questions, answered offline."""

from __future__ import annotations

from pathlib import Path

from router.runtime.result import RunResult
from router.runtime.router import Router

GRAPH = Path(__file__).parents[4] / "graph_specs" / "pocket_tools.yaml"


QUESTIONS = {
    "divide 314726154830 by 890,439,606": "353.450310059546",
    "result of taking the square root of 3721": "61",
    "give me the result of (75873299*3903351)*7400446": "2191716957097038727254",
    "how many megabytes are in 1889673 kilobytes?": "1889.673 MB",
    "how many days are between 1967-05-10 and 1967-05-18?": "8 days",
    "946 days before 2123-07-24": "2120-12-20",
}


async def test_the_graph_answers_exactly() -> None:
    async with Router.from_file(GRAPH) as router:
        results = await router.abatch(list(QUESTIONS), concurrency=1)
    answers = [result.answer if isinstance(result, RunResult) else str(result) for result in results]
    assert answers == list(QUESTIONS.values())


async def test_the_trace_has_the_call_and_the_answer_has_not() -> None:
    async with Router.from_file(GRAPH) as router:
        result = await router.arun("987654321 * 123456789")
    assert result.answer == "121932631112635269"
    (call,) = result.events[-1].calls
    assert (call.tool, call.written) == ("multiply", "(987654321,123456789)")
