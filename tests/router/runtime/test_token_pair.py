"""Nodes of two models in a graph: what a run, its trace, its stream and the terminal show of them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from transformers import AutoModelForCausalLM

from experts.defer.files import read_file, write_file
from experts.engines.requests import NO_MASK
from experts.errors import CheckpointError, EngineError
from router import Router, RunResult
from router.console.authors import by_author
from router.console.query import result_json
from router.console.terminal import printable
from router.console.trace_tree import trace_tree
from router.gateway.report import usage_of
from router.runtime.router import RunOptions
from router.trace import EVENT, Answered, Delta, Event, Failed, Stopped
from tests.experts.engines.checkpoints import save_checkpoint
from tests.router.runtime.graphs import edge, expert, make, says, visited
from tests.router.token_level.random_pairs import save_random_router
from tests.router.token_level.reference import Reference

AUTHORS = RunOptions(authors=True)
ASKED = "tell me"  # these models have a lot to say to that


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    root = tmp_path_factory.mktemp("pair")
    small = save_checkpoint(root / "small", "qwen3", seed=3)
    large = save_checkpoint(root / "large", "qwen3", seed=4, hidden_size=64)
    return Reference(small, large, save_random_router(root / "router", small, large))


def workers(reference: Reference) -> dict[str, Any]:
    small = {"engine": "local", "model": str(reference.small), "token_router": str(reference.router)}
    return {"small": small, "large": {"engine": "local", "model": str(reference.large)}, "other": says("instead")}


def pair(**more: Any) -> dict[str, Any]:
    return {"kind": "token_pair", "small": "small", "large": "large", "max_tokens": 30, **more}


@pytest.fixture
def router(reference: Reference) -> Iterator[Router]:
    with make("p", workers(reference), {"p": pair()}) as made:
        yield made


def answered(result: RunResult) -> Answered:
    event = result.events[-1]
    assert isinstance(event, Answered)
    return event


def test_the_threshold_is_the_calibrated_one_and_both_models_count(router: Router, reference: Reference) -> None:
    result = router.run(ASKED, options=AUTHORS)
    event = answered(result)
    assert event.pair is not None
    assert event.pair.threshold == 0.5, "that of the share that is aimed at"
    tokens = event.pair.tokens
    assert 0 < sum(token.author == "large" for token in tokens) < len(tokens) == event.generated_tokens
    assert all(token.score is not None and (token.score >= 0.5) == (token.author == "large") for token in tokens)
    share = sum(token.author == "large" for token in tokens) / len(tokens)
    assert event.pair.large_share == result.usage.large_share == pytest.approx(share)
    small, large = (
        AutoModelForCausalLM.from_pretrained(folder).num_parameters() for folder in (reference.small, reference.large)
    )
    expected = small + read_file(reference.router).shape.parameters + share * large
    assert event.activated_parameters == result.usage.activated_parameters == pytest.approx(expected, abs=1)
    assert usage_of(result.events)["nodes"][0]["large_share"] == pytest.approx(share, abs=1e-4)


def test_a_pair_can_be_asked_for_no_mask_of_experts(router: Router) -> None:
    assert router.run(ASKED, options=RunOptions(expert_mask=NO_MASK)).answer == router.run(ASKED).answer


def test_a_node_sets_threshold_share_and_run(reference: Reference) -> None:
    node = pair(threshold=0.0, max_large_share=0.25, large_run=3)
    with make("p", workers(reference), {"p": node}) as router:
        event = answered(router.run(ASKED, options=AUTHORS))
    assert event.pair is not None
    authors = [token.author for token in event.pair.tokens]
    assert all(authors[:length].count("large") / length <= 0.25 for length in range(1, len(authors) + 1))
    assert event.pair.large_share == pytest.approx(0.25, abs=0.05)
    assert event.pair.threshold == 0.0


def test_who_wrote_what_is_told_if_it_is_asked_for(router: Router) -> None:
    plain, told = router.run(ASKED), router.run(ASKED, options=AUTHORS)
    assert answered(plain).pair == answered(told).pair.model_copy(update={"tokens": ()})  # type: ignore[union-attr]
    data = json.loads(json.dumps(result_json(told)))["events"][-1]["pair"]
    assert {token["author"] for token in data["tokens"]} == {"small", "large"}
    assert all(0 <= token["score"] <= 1 for token in data["tokens"])
    assert [EVENT.validate_python(event.model_dump(mode="json")) for event in told.events] == list(told.events)


def test_the_stream_is_the_answer(router: Router) -> None:
    items = list(router.stream(ASKED))
    assert isinstance(items[-1], RunResult)
    deltas = [item for item in items if isinstance(item, Delta)]
    assert "".join(delta.text for delta in deltas) == items[-1].answer == router.run(ASKED).answer
    assert len(deltas) > 5 and not any(delta.working for delta in deltas)


def test_options_of_the_caller_hold(router: Router) -> None:
    result = router.run(ASKED, options=RunOptions(max_tokens=7, logprobs=2))
    event = answered(result)
    assert (event.generated_tokens, event.finish_reason) == (7, "length")
    assert "".join(token.token for token in event.logprobs).strip() == result.answer
    assert all(len(token.top) == 2 for token in event.logprobs)
    drawn = RunOptions(temperature=1.0, seed=5)
    assert router.run("q", options=drawn).answer == router.run("q", options=drawn).answer != router.run("q").answer


def test_the_terminal_shows_the_authors_of_every_token(router: Router) -> None:
    result = router.run(ASKED, options=AUTHORS)
    event = answered(result)
    assert event.pair is not None

    def shown(**console: Any) -> str:
        out = Console(file=io.StringIO(), width=200, **console)
        out.print(trace_tree(result, router.spec))
        return out.file.getvalue()  # type: ignore[attr-defined, no-any-return]

    plain = shown(color_system=None)
    assert f"{event.pair.large_share:.1%} by the large model, called {event.pair.switches} times" in plain
    assert "written by the small model, [by the large model] where a token's criticality was at least 0.5" in plain
    assert "\x1b[1;35m[by the large model]" in shown(color_system="truecolor", force_terminal=True)
    text = by_author(event.pair)
    marked = [text.plain[span.start : span.end] for span in text.spans if span.style == "bold magenta"][1:]
    large = [printable(token.token) for token in event.pair.tokens if token.author == "large"]
    assert [piece for piece in marked if piece not in "[]"] == [piece for piece in large if piece not in "[]"]


def test_a_large_model_that_is_lost_leads_along_the_error_edge(reference: Reference, tmp_path: Path) -> None:
    gone = {
        **workers(reference),
        "large": {"engine": "vllm", "model": str(reference.large), "url": "http://127.0.0.1:9/v1"},
    }
    with make("p", gone, {"p": pair(), "o": expert("other")}, edge("p", "o", "error")) as router:
        result = router.run(ASKED)
    assert visited(result) == ["p", "o"] and result.answer == "instead"
    assert isinstance(result.events[0], Failed)
    with make("p", gone, {"p": pair()}) as router, pytest.raises(EngineError):
        router.run(ASKED)


def test_a_token_router_for_another_large_model_is_refused(reference: Reference, tmp_path: Path) -> None:
    other = save_checkpoint(tmp_path / "other", "qwen3", seed=7)
    wrong = {**workers(reference), "large": {"engine": "local", "model": str(other)}}
    with (
        make("p", wrong, {"p": pair()}) as router,
        pytest.raises(CheckpointError, match="expected the large model with fingerprint"),
    ):
        router.run(ASKED)


def test_a_token_router_without_thresholds_needs_one_in_the_node(reference: Reference, tmp_path: Path) -> None:
    folder = save_random_router(tmp_path / "router", reference.small, reference.large)
    write_file(read_file(folder).model_copy(update={"thresholds": ()}), folder)
    uncalibrated = workers(Reference(reference.small, reference.large, folder))
    with make("p", uncalibrated, {"p": pair()}) as router, pytest.raises(CheckpointError, match="calibrate"):
        router.run(ASKED)
    with make("p", uncalibrated, {"p": pair(threshold=1.1)}) as router:
        assert router.run(ASKED).usage.large_share == 0


def test_a_pair_is_one_node_among_others(reference: Reference) -> None:
    nodes = {
        "o": expert("other"),
        "p": pair(answer_after="####", system="Be brief."),
        "j": {"kind": "join", "method": "concat"},
    }
    with make("o", workers(reference), nodes, edge("o", "p"), edge("p", "j")) as router:
        result = router.run(ASKED, options=AUTHORS)
    assert visited(result) == ["o", "p", "j"]
    event = result.events[1]
    assert isinstance(event, Answered) and event.query == "instead" and event.pair is not None


async def test_a_pair_that_is_cut_off_tells_what_it_took(router: Router) -> None:
    told: list[Event] = []
    stream = router.astream(ASKED, options=RunOptions(max_tokens=200, listener=told.append))
    async with aclosing(stream) as items:  # type: ignore[type-var]
        async for item in items:
            if isinstance(item, Delta):
                break
    (event,) = told
    assert isinstance(event, Stopped)
    whole = answered(await router.arun(ASKED))
    assert event.prompt_tokens == whole.prompt_tokens
    assert 0 < event.generated_tokens < 200
