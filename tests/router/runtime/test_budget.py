"""Budgets of every kind hold, side by side too."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from experts.engines.config import ScriptedWorker
from experts.engines.requests import Chunk, GenerateRequest
from experts.engines.scripted import ScriptedEngine
from router.errors import BudgetExceeded
from tests.router.runtime.graphs import edge, expert, make, router, says, visited

LOOP = (edge("a", "b"), edge("b", "a", "low_confidence", below=0.9))


class Counting(ScriptedEngine):
    """Counts what it writes."""

    def __init__(self, answer: str, logprob: float = 0.0) -> None:
        super().__init__(ScriptedWorker.model_validate(says(answer, logprob=logprob)))
        self.calls = self.tokens = 0

    async def stream(self, request: GenerateRequest) -> AsyncIterator[Chunk]:
        self.calls += 1
        async for chunk in super().stream(request):
            self.tokens += len(chunk.token_ids)
            yield chunk


def wide(width: int, engine: Counting, **budget: Any) -> Any:
    """One node asks several at once."""
    names = [f"n{i}" for i in range(width)]
    nodes = {"s": expert("w"), "j": {"kind": "join"}} | {name: expert("w") for name in names}
    edges = [edge("s", name, cost=1) for name in names] + [edge(name, "j") for name in names]
    return make("s", {"w": says("x")}, nodes, *edges, engines={"w": engine}, budget=budget)


@pytest.mark.parametrize("steps", [2, 3, 7])
def test_steps_in_a_cycle(steps: int) -> None:
    engine = Counting("x", -1)
    graph = make("a", {"w": says("x")}, {n: expert("w") for n in "ab"}, *LOOP, engines={"w": engine},
                 budget={"steps": steps})  # fmt: skip
    with pytest.raises(BudgetExceeded) as caught:
        graph.run("q")
    assert (caught.value.what, caught.value.used, engine.calls) == ("steps", steps + 1, steps)
    assert len(caught.value.events) == steps + 1


@pytest.mark.parametrize("steps", [2, 4, 5])
def test_steps_in_a_fan_out(steps: int) -> None:
    engine = Counting("x")
    with pytest.raises(BudgetExceeded, match="steps"):
        wide(4, engine, steps=steps).run("q")
    assert engine.calls <= steps


def test_waiting_joins_take_no_share() -> None:
    assert wide(4, Counting("x"), steps=6).run("q").usage.steps == 6
    nodes = {n: expert("w") for n in "sabc"} | {"j": {"kind": "join"}}
    edges = [edge("s", "a"), edge("s", "b"), edge("b", "c"), edge("a", "j"), edge("c", "j")]
    # While j waits for c with a's answer in hand, c alone writes: all that is left is its own.
    graph = make("s", {"w": says("12345")}, nodes, *edges, budget={"steps": 5, "tokens": 24})
    assert graph.run("q").usage.generated_tokens == 24


@pytest.mark.parametrize("tokens", [3, 7, 14, 20, 22])
def test_tokens_are_shared_in_a_fan_out(tokens: int) -> None:
    engine = Counting("123456")  # and an end token: seven each
    with pytest.raises(BudgetExceeded, match="tokens"):
        wide(3, engine, tokens=tokens).run("q")
    assert engine.tokens <= tokens


def test_tokens_that_suffice() -> None:
    engine = Counting("123456")
    assert wide(3, engine, tokens=28).run("q").usage.generated_tokens == engine.tokens == 28


def test_the_nodes_own_limit_is_no_budget() -> None:
    result = make("a", {"w": says("123456")}, {"a": expert("w", max_tokens=3)}, budget={"tokens": 3}).run("q")
    assert result.answer == "123"


def test_tokens_of_a_router_count() -> None:
    workers = {"r": says("<node_0>('0123456789')<end>"), "w": says("ok")}
    nodes = {"r": router("r"), "a": expert("w"), "b": expert("w")}
    for tokens, enough in ((19, True), (18, False), (16, False), (15, False), (2, False), (1, False)):
        graph = make("r", workers, nodes, edge("r", "a"), edge("r", "b"), budget={"tokens": tokens})
        if enough:
            assert graph.run("q").usage.generated_tokens == tokens
        else:
            with pytest.raises(BudgetExceeded, match="tokens") as caught:
                graph.run("q")
            assert sum(event.generated_tokens for event in caught.value.events) <= tokens


def test_cost() -> None:
    engine = Counting("x")
    with pytest.raises(BudgetExceeded, match="cost"):
        wide(3, engine, cost=2.5).run("q")
    assert engine.calls == 1
    nodes = {n: expert("w") for n in "abcd"}
    cents = [edge(*pair, cost=0.1) for pair in ("ab", "bc", "cd")]
    assert make("a", {"w": says("x")}, nodes, *cents, budget={"cost": 0.3}).run("q").answer == "x"


def test_seconds() -> None:
    slow = {"w": says("x", seconds=0.2)}
    one = make("a", slow, {"a": expert("w")}, budget={"seconds": 0.05})

    _ = one.runnable  # compiled outside of the clock
    started = time.perf_counter()
    with pytest.raises(BudgetExceeded, match="seconds"):
        one.run("q")
    assert time.perf_counter() - started < 5
    two = make("a", slow, {n: expert("w") for n in "ab"}, edge("a", "b"), budget={"seconds": 0.3})
    with pytest.raises(BudgetExceeded, match="seconds") as caught:
        two.run("q")
    assert [event.node for event in caught.value.events] == ["a", "b"]


@pytest.mark.parametrize("node", [None, "a"])
def test_loading_models_takes_none_of_the_seconds(monkeypatch: pytest.MonkeyPatch, node: Any) -> None:
    async def slowly(worker: Any) -> ScriptedEngine:
        await asyncio.sleep(0.5)
        return ScriptedEngine(worker)

    monkeypatch.setattr("router.runtime.engines.create_engine", slowly)
    nodes = {n: expert(n) for n in "ab"}
    graph = make("a", {n: says(n) for n in "ab"}, nodes, edge("a", "b"), budget={"seconds": 0.4})
    result = asyncio.run(graph.arun("q", node=node))
    assert sum(event.milliseconds for event in result.events) < 400
    slow = make("a", {"a": says("x", seconds=0.5)}, {"a": expert("a")}, budget={"seconds": 0.4})
    with pytest.raises(BudgetExceeded, match="seconds"):
        slow.run("q")


def test_waiting_for_a_server_takes_of_the_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(worker: Any) -> ScriptedEngine:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr("router.runtime.engines.create_engine", never)
    worker = {"engine": "vllm", "model": "pocket:arithmetic", "url": "http://127.0.0.1:9/v1"}
    graph = make("a", {"w": worker}, {"a": expert("w")}, budget={"seconds": 0.1})
    with pytest.raises(BudgetExceeded, match="seconds"):
        graph.run("q")


def test_a_budget_is_no_failure_that_an_edge_answers() -> None:
    graph = make(
        "a", {"w": says("123456")}, {"a": expert("w"), "b": expert("w")}, edge("a", "b", "error"), budget={"tokens": 3}
    )
    with pytest.raises(BudgetExceeded):
        graph.run("q")


def test_a_timeout_of_the_engine_is_not_the_budgets() -> None:
    class Impatient(Counting):
        async def generate(self, request: GenerateRequest) -> Any:
            raise TimeoutError("the engine's own")

    graph = make("a", {"w": says("x")}, {"a": expert("w")}, engines={"w": Impatient("x")}, budget={"seconds": 60})
    with pytest.raises(TimeoutError, match="own"):
        graph.run("q")


def test_every_run_has_its_own_budget(tmp_path: Any) -> None:
    graph = make("a", {"w": says("x")}, {n: expert("w") for n in "ab"}, edge("a", "b"), budget={"steps": 2},
                 checkpoints=tmp_path / "c.sqlite")  # fmt: skip
    for _ in range(3):
        assert visited(graph.run("q", thread_id="t")) == ["a", "b"]

    async def both() -> Any:
        return await asyncio.gather(*(graph.arun("q") for _ in range(5)))

    assert [result.usage.steps for result in asyncio.run(both())] == [2] * 5
