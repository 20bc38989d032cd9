from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from experts.engines.replicas.circuit import Circuit, State, Tolerance


@pytest.fixture
def circuit() -> Circuit:
    return Circuit(Tolerance(consecutive=3, share=0.5, window=10))


def test_opens_after_failures_in_a_row(circuit: Circuit) -> None:
    for _ in range(2):
        circuit.failed(0)
    circuit.succeeded(0)
    for _ in range(2):
        circuit.failed(0)
    assert circuit.state is State.CLOSED
    circuit.failed(0)
    assert circuit.state is State.OPEN


def test_opens_when_half_of_the_recent_fail(circuit: Circuit) -> None:
    for _ in range(4):
        circuit.succeeded(0)
        circuit.failed(0)
    circuit.succeeded(0)
    assert circuit.state is State.CLOSED
    circuit.failed(0)
    assert circuit.state is State.OPEN


def opened(circuit: Circuit) -> Circuit:
    circuit.open()
    return circuit


def test_two_healthy_probes_close_it(circuit: Circuit) -> None:
    opened(circuit).probed(True)
    assert circuit.state is State.HALF_OPEN
    circuit.probed(True)
    assert circuit.state is State.CLOSED


def test_one_answer_closes_it(circuit: Circuit) -> None:
    opened(circuit).probed(True)
    circuit.succeeded(circuit.openings)
    assert circuit.state is State.CLOSED


def test_one_failure_opens_it_again(circuit: Circuit) -> None:
    opened(circuit).probed(True)
    circuit.failed(circuit.openings)
    assert circuit.state is State.OPEN


def test_unhealthy_probes_open_it(circuit: Circuit) -> None:
    for _ in range(3):
        circuit.probed(False)
    assert circuit.state is State.OPEN


def test_requests_from_before_do_not_count(circuit: Circuit) -> None:
    opened(circuit).probed(True)
    circuit.failed(0)
    assert circuit.state is State.HALF_OPEN
    circuit.succeeded(0)
    assert circuit.state is State.HALF_OPEN
    circuit.probed(True)
    for _ in range(50):
        circuit.failed(0)
    assert circuit.state is State.CLOSED


def test_a_closed_circuit_starts_with_a_clean_record(circuit: Circuit) -> None:
    for _ in range(3):
        circuit.failed(0)
    circuit.probed(True)
    circuit.probed(True)
    for _ in range(2):
        circuit.failed(1)
    assert circuit.state is State.CLOSED


class CircuitMachine(RuleBasedStateMachine):
    """Any order of events, against a list of all outcomes that count."""

    def __init__(self) -> None:
        super().__init__()
        self.tolerance = Tolerance(consecutive=3, share=0.6, window=5)
        self.circuit = Circuit(self.tolerance)
        self.outcomes: list[bool] = []

    @rule(good=st.booleans())
    def outcome(self, good: bool) -> None:
        before = self.circuit.state
        (self.circuit.succeeded if good else self.circuit.failed)(self.circuit.openings)
        if before is State.HALF_OPEN:
            assert self.circuit.state is (State.CLOSED if good else State.OPEN)
            self.outcomes = [True] if good else []
        elif before is State.CLOSED:
            self.outcomes.append(good)
            recent = self.outcomes[-self.tolerance.window :]
            row = not any(self.outcomes[-self.tolerance.consecutive :]) and len(self.outcomes) >= 3
            share = len(recent) == self.tolerance.window and recent.count(False) / len(recent) >= self.tolerance.share
            assert (self.circuit.state is State.OPEN) == (not good and (row or share))
        else:
            assert self.circuit.state is State.OPEN

    @precondition(lambda self: self.circuit.openings > 0)
    @rule(good=st.booleans(), age=st.integers(1, 3))
    def outcome_from_before(self, good: bool, age: int) -> None:
        before = self.circuit.state
        (self.circuit.succeeded if good else self.circuit.failed)(self.circuit.openings - age)
        assert self.circuit.state is before

    @rule()
    def healthy(self) -> None:
        before = self.circuit.state
        self.circuit.probed(True)
        after = {State.OPEN: State.HALF_OPEN, State.HALF_OPEN: State.CLOSED, State.CLOSED: State.CLOSED}
        assert self.circuit.state is after[before]
        if before is not State.CLOSED:
            self.outcomes = []

    @rule()
    def unhealthy(self) -> None:
        openings = self.circuit.openings
        was_open = self.circuit.state is State.OPEN
        self.outcome(False)
        assert self.circuit.openings == openings + (not was_open and self.circuit.state is State.OPEN)

    @invariant()
    def openings_count(self) -> None:
        assert (self.circuit.openings == 0) <= (self.circuit.state is State.CLOSED)


CircuitMachine.TestCase.settings = settings(max_examples=100, deadline=None)
TestCircuitMachine = CircuitMachine.TestCase
