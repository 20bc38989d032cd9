from __future__ import annotations

import math
import time
from pathlib import Path

import pytest

from experts.engines.config import RecordedWorker, Rule, ScriptedWorker
from experts.engines.factory import create_engine
from experts.engines.recorded import RecordedEngine
from experts.engines.requests import GenerateRequest, Message
from experts.engines.scripted import ScriptedEngine
from experts.errors import CheckpointError, EngineError, EngineUnavailable, RequestError
from tests.experts.engines.conformance import EngineConformance

TOKENS = ("<node_0>", "<node_1>", "<end>")


def scripted(*rules: Rule) -> ScriptedEngine:
    return ScriptedEngine(ScriptedWorker(engine="scripted", rules=rules, tokens=TOKENS))


def ask(text: str, **changes: object) -> GenerateRequest:
    return GenerateRequest(messages=(Message("user", text),), **changes)  # type: ignore[arg-type]


class TestScriptedConformance(EngineConformance):
    @pytest.fixture
    def engine(self) -> ScriptedEngine:
        return scripted(Rule(answer="the quick brown fox jumps over the lazy dog", logprob=-0.5))


class TestRecordedConformance(EngineConformance):
    special_token = None

    @pytest.fixture
    def engine(self, tmp_path: Path) -> RecordedEngine:
        file = tmp_path / "answers.jsonl"
        file.write_text('{"query": "What is 2 + 3?", "answer": "5, as two and three are five"}\n\n')
        return RecordedEngine(RecordedWorker(engine="recorded", file=file))


@pytest.mark.asyncio
async def test_first_matching_rule_answers_the_last_user_message() -> None:
    engine = scripted(Rule(match=r"add (\d+) and (\d+)", answer=r"\1+\2"), Rule(match="never"), Rule(answer="else"))
    assert (await engine.generate(ask("please ADD 3 and 4"))).text == "3+4"
    assert (await engine.generate(ask("hello"))).text == "else"
    dialogue = (Message("user", "add 1 and 2"), Message("assistant", "3"), Message("user", "thanks"))
    assert (await engine.generate(GenerateRequest(messages=dialogue))).text == "else"


@pytest.mark.asyncio
async def test_functional_token_call() -> None:
    engine = scripted(Rule(match="(.*)", answer=r"<node_1>('\1')<end>"))
    node_0, node_1, end = (engine.token_id(token) for token in TOKENS)
    assert node_0 is not None
    assert node_1 is not None
    assert end is not None
    answer = await engine.generate(ask("<node_0>", first_token_ids=(node_0, node_1), stop_token_ids=(end,)))
    assert answer.token_ids[0] == node_1
    assert answer.token_ids[-1] == end
    assert node_0 not in answer.token_ids  # the user's text stays characters
    assert answer.text == "('<node_0>')"
    assert math.exp(answer.first_logprobs[node_1]) == pytest.approx(0.9)
    assert math.exp(answer.first_logprobs[node_0]) == pytest.approx(0.1)
    forced = await engine.generate(ask("q", forced_ids=(node_1,), stop_token_ids=(end,)))
    assert forced.text == "('q')"


@pytest.mark.asyncio
async def test_first_of_the_allowed_if_the_answer_starts_with_none() -> None:
    engine = scripted(Rule(answer="hm"))
    first = tuple(token for name in TOKENS if (token := engine.token_id(name)) is not None)
    answer = await engine.generate(ask("q", first_token_ids=first))
    assert answer.token_ids[0] == first[0]


@pytest.mark.asyncio
async def test_natural_end() -> None:
    answer = await scripted(Rule(answer="ab", logprob=-1.0)).generate(ask("q"))
    assert (answer.text, answer.finish_reason, answer.stop_reason) == ("ab", "stop", None)
    assert len(answer.token_ids) == 3  # the end token counts
    assert answer.mean_logprob == -1.0


@pytest.mark.asyncio
async def test_rules_fail_and_wait() -> None:
    engine = scripted(Rule(match="fail", error="worker is down"), Rule(match="slow", answer="x", seconds=0.05))
    with pytest.raises(EngineUnavailable, match="worker is down"):
        await engine.generate(ask("fail"))
    before = time.monotonic()
    await engine.generate(ask("slow"))
    assert time.monotonic() - before >= 0.05
    with pytest.raises(RequestError, match="rule"):
        await engine.generate(ask("other"))


@pytest.mark.asyncio
async def test_wrong_rules() -> None:
    with pytest.raises(EngineError, match="regular expression"):
        scripted(Rule(match="("))
    with pytest.raises(EngineError, match="group"):
        await scripted(Rule(answer=r"\3")).generate(ask("q"))


@pytest.mark.asyncio
async def test_recorded_query_that_is_not_there(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    file.write_text('{"query": "a", "answer": "b"}\n')
    engine = await create_engine(RecordedWorker(engine="recorded", file=file))
    assert (await engine.generate(ask("a"))).text == "b"
    with pytest.raises(RequestError, match="'c'"):
        await engine.generate(ask("c"))


@pytest.mark.parametrize("line", ["nonsense", '{"query": "a"}', '{"query": "a", "answer": "other"}'])
def test_wrong_recordings_name_the_line(tmp_path: Path, line: str) -> None:
    file = tmp_path / "answers.jsonl"
    file.write_text('{"query": "a", "answer": "b"}\n' + line + "\n")
    with pytest.raises(CheckpointError, match=r"answers\.jsonl:2"):
        RecordedEngine(RecordedWorker(engine="recorded", file=file))


def test_missing_recording(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="No such file"):
        RecordedEngine(RecordedWorker(engine="recorded", file=tmp_path / "none.jsonl"))
