from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from experts.engines.config import LocalWorker
from experts.engines.factory import create_engine
from experts.engines.requests import GenerateRequest, Message
from router.errors import DataError, TokenHeadError
from router.functional.head_rivals import Rivals
from router.tools.builtins.catalogue import load_builtin
from router.tools.tokens.build import tool_vocabulary
from router.tools.tokens.examples import MarkedCall, read_examples
from router.tools.tokens.file import ToolHead, load_tool_tokens
from router.tools.tokens.rows import later_rows
from router.tools.tokens.states import describe
from router.tools.tokens.train import split_examples, without_numbers
from tests.router.tools.tokens.conftest import NAMES, Trained, examples


def test_only_rows_of_tools_are_learnt(trained: Trained) -> None:
    before, after = (load_file(folder / "model.safetensors") for folder in (trained.base, trained.folder / "model"))
    known = len(before["model.embed_tokens.weight"])
    assert len(after["lm_head.weight"]) == known + len(NAMES)
    assert (after["lm_head.weight"][:known] == before["model.embed_tokens.weight"]).all()
    assert all((after[name][: len(value)] == value).all() for name, value in before.items())


def test_training_finds_the_tool_and_the_place(trained: Trained) -> None:
    report = trained.report
    assert report.choice >= 0.7
    assert report.called >= 0.9 and report.false_calls <= 0.1
    assert report.calls + report.validation_calls == len(examples())


def test_no_variant_in_numbers_only_crosses_the_split() -> None:
    train, validation = split_examples(examples())
    assert validation
    assert {without_numbers(e.query) for e in train}.isdisjoint(without_numbers(e.query) for e in validation)


def test_what_is_stored_is_what_was_trained(trained: Trained) -> None:
    tokens = load_tool_tokens(trained.folder)
    assert tokens.tokens == {name: f"<tool_{name}>" for name in NAMES}
    assert tokens.report == trained.report
    head = ToolHead.load(trained.folder, tokens)
    assert head.head.rows.weights.shape == (len(NAMES), 64)


@pytest.mark.asyncio
async def test_a_tool_joins_by_its_description(trained: Trained) -> None:
    engine = await create_engine(LocalWorker(model=str(trained.folder / "model")))
    power = next(tool for tool in load_builtin("arithmetic") if tool.name == "power")
    try:
        found = await tool_vocabulary(engine, [*trained.tools[:1], power], trained.folder)
        other = await tool_vocabulary(engine, trained.tools[1:], trained.folder)
        assert {engine.decode((token,)) for token in other.unoffered} == {"<tool_add>"}
        assert {engine.decode((token,)) for token in engine.info.added_ids} == {"<tool_power>"}
    finally:
        await engine.close()
    assert found.texts == {"add": "<tool_add>", "power": "<tool_power>"}
    assert len(found.unoffered) == 2


@pytest.mark.asyncio
async def test_of_a_long_description_the_beginning_counts(trained: Trained) -> None:
    engine = await create_engine(LocalWorker(model=str(trained.folder / "model")))
    power = next(tool for tool in load_builtin("arithmetic") if tool.name == "power")
    long = replace(power, description="Raises a number to a power, exactly. " * 100)
    room = engine.info.context_length - 1
    try:
        overhead = len(engine.render(GenerateRequest(messages=(Message("user", f"{power.name}: "),))))
        beginning = replace(long, description=long.description[: room - overhead])  # one token a character
        (whole,), (part,) = [list((await describe(engine, [tool])).values()) for tool in (long, beginning)]
        assert (whole.description == part.description).all()
        found = await tool_vocabulary(engine, [*trained.tools, long], trained.folder)
    finally:
        await engine.close()
    assert found.texts["power"] == "<tool_power>"


@pytest.mark.asyncio
async def test_a_tool_that_joins_takes_little_of_what_the_others_learnt_from(trained: Trained) -> None:
    tokens = load_tool_tokens(trained.folder)
    head = ToolHead.load(trained.folder, tokens)
    calls, texts = head.head.rivals, head.texts
    assert calls is not None and texts is not None
    engine = await create_engine(LocalWorker(model=str(trained.folder / "model")))
    try:
        new = await describe(engine, [tool for tool in load_builtin("arithmetic") if tool.name in ("power", "gcd")])
    finally:
        await engine.close()
    rows = later_rows(head, new, tokens.length)
    for known in (calls, texts):
        taken = (rows.logits(known.queries) > known.won[:, None]).mean(0)
        assert (taken < known.taken + 1 / len(known.won)).all(), "the share, rounded up to whole places"
    least = np.minimum(calls.height(rows.weights), texts.height(rows.weights))
    assert rows.bias == pytest.approx(least), "as strong as they allow"


@pytest.mark.parametrize("width", [3, 64])
def test_texts_of_another_width_are_refused(trained: Trained, tmp_path: Path, width: int) -> None:
    tokens = load_tool_tokens(trained.folder)
    head = ToolHead.load(trained.folder, tokens)
    replace(head, texts=Rivals(np.zeros((4, width), np.float32), np.zeros(4, np.float32))).save(tmp_path)
    if width == 64:
        assert ToolHead.load(tmp_path, tokens).texts is not None
        return
    with pytest.raises(TokenHeadError, match=r"texts as \[4, 64\], found \[4, 3\]"):
        ToolHead.load(tmp_path, tokens)


@pytest.mark.asyncio
async def test_tokens_for_another_model_are_refused(trained: Trained) -> None:
    engine = await create_engine(LocalWorker(model=str(trained.base)))
    try:
        with pytest.raises(TokenHeadError, match="fingerprint"):
            await tool_vocabulary(engine, trained.tools, trained.folder)
        with pytest.raises(TokenHeadError, match="train tool-tokens"):
            await tool_vocabulary(engine, trained.tools, None)
    finally:
        await engine.close()


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_forms_of_examples(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "data.jsonl",
        {"query": "2 and 3?", "response": "That is <add>(2,3)=5. Sure."},
        {"text": "Q: 7 mod 4?\nA: It is 7 mod 4=3.", "call": ["<remainder>(7,4)=3<eoe>"], "answer": ["3"]},
        {"question": "Half of 48?", "answer": "48/2 = <<48/2=24>>24 and <<1+2*3=7>>7.\n#### 7"},
        {"query": "when?", "response": "On <add>(1,2)=1 May<eoe>, I think."},
        {"query": "other", "response": "<sql>(x)=1"},
    )
    found = read_examples(path, ["add", "remainder", "divide", "calculator"])
    assert [example.response for example in found] == [
        ("That is ", MarkedCall("add", "(2,3)", "5"), ". Sure."),
        ("It is 7 mod 4=", MarkedCall("remainder", "(7,4)", "3"), "."),
        ("48/2 = ", MarkedCall("divide", "(48,2)", "24"), " and ", MarkedCall("calculator", "(1+2*3)", "7"), "."),
        ("On ", MarkedCall("add", "(1,2)", "1 May"), ", I think."),
    ]
    assert [example.query for example in found] == ["2 and 3?", "7 mod 4?", "Half of 48?", "when?"]


@pytest.mark.parametrize("row", [[], {"query": "a"}, {"text": "Q: a\nA: 5", "call": ["add 2 3"]}])
def test_lines_that_are_no_examples(row: object, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.jsonl:1"):
        read_examples(lines(tmp_path / "data.jsonl", row), ["add"])


def test_training_tells_how_far_it_is(trained: Trained) -> None:
    """So few examples are read in one batch each."""
    heard = [(now.stage, now.done) for now in trained.heard]
    assert heard == [("reading", 0.4), ("reading", 0.5), ("fitting", 0.5), ("reading", 1)]
