from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experts.engines.replicas.balance import affinity_key, choose
from experts.engines.replicas.circuit import Circuit, Tolerance
from experts.engines.replicas.lease import Lease
from experts.engines.replicas.replica import Replica
from experts.engines.requests import GenerateRequest, Message, TokenId
from tests.experts.engines.replicas.switchable import SwitchableEngine

ENGINE = SwitchableEngine()


def replicas(*outstanding: int) -> list[Replica]:
    pool = [Replica(f"http://host:{8000 + n}", ENGINE, Circuit(Tolerance()), 8) for n in range(len(outstanding))]
    for replica, number in zip(pool, outstanding, strict=True):
        for _ in range(number):
            Lease(replica, lambda lease: None)
    return pool


def keys(number: int) -> list[bytes]:
    return [affinity_key(GenerateRequest(messages=(Message("user", f"question {n}"),))) for n in range(number)]


def dialogue(*contents: str, system: str = "be brief") -> GenerateRequest:
    turns = (Message("user" if n % 2 == 0 else "assistant", text) for n, text in enumerate(contents))
    return GenerateRequest(messages=(Message("system", system), *turns))


def ids(*numbers: int) -> GenerateRequest:
    return GenerateRequest(prompt_ids=tuple(map(TokenId, numbers)))


def test_key_stays_while_a_dialogue_goes_on() -> None:
    key = affinity_key(dialogue("hello"))
    assert affinity_key(dialogue("hello", "hi", "and now?")) == key
    assert affinity_key(dialogue("hello there")) != key
    assert affinity_key(dialogue("hello", system="be long")) != key
    assert affinity_key(replace(dialogue("hello"), adapter="law")) != key


def test_key_is_the_beginning_of_the_prompt() -> None:
    document = "word " * 200
    assert affinity_key(dialogue(document + "who?")) == affinity_key(dialogue(document + "when?"))
    block = range(128)
    assert affinity_key(ids(*block, 1)) == affinity_key(ids(*block, 2, 3))
    assert affinity_key(ids(1, 2)) != affinity_key(ids(1, 3))


def test_any_text_has_a_key() -> None:
    assert affinity_key(dialogue("\ud800")) != affinity_key(dialogue("\udfff"))
    assert affinity_key(GenerateRequest()) == affinity_key(GenerateRequest())


def test_a_key_has_a_home_and_homes_are_spread() -> None:
    idle = replicas(0, 0, 0)
    homes = [choose(idle, key) for key in keys(300)]
    assert homes == [choose(idle, key) for key in keys(300)]
    for replica in idle:
        assert 60 < homes.count(replica) < 140


def test_homes_stay_when_another_replica_goes() -> None:
    three = replicas(0, 0, 0)
    before = {key: choose(three, key) for key in keys(200)}
    three[1].circuit.open()
    for key, home in before.items():
        now = choose(three, key)
        assert now is home or home is three[1]
        assert now is not three[1]


@pytest.mark.parametrize("key", [None, *keys(5)])
def test_a_much_busier_home_is_left(key: bytes | None) -> None:
    for busy in range(3):
        loads = [0, 0, 0]
        loads[busy] = 3
        assert choose(pool := replicas(*loads), key) is not pool[busy]


def test_without_a_key_any_of_the_least_busy() -> None:
    pool = replicas(2, 1, 1)
    chosen = [choose(pool, None) for _ in range(100)]
    assert set(chosen) == {pool[1], pool[2]}


def test_nobody_is_free() -> None:
    pool = replicas(8, 8)
    assert choose(pool, None) is None
    assert choose(pool, keys(1)[0]) is None
    pool = replicas(0)
    pool[0].circuit.open()
    assert choose(pool, keys(1)[0]) is None


@given(st.lists(st.integers(0, 8), min_size=1, max_size=6), st.binary(min_size=16, max_size=16) | st.none())
def test_choice_is_free_and_load_stays_bounded(loads: list[int], key: bytes | None) -> None:
    pool = replicas(*loads)
    chosen = choose(pool, key)
    if chosen is None:
        assert min(loads) == 8
        return
    assert chosen.free
    fair = (sum(loads) + 1) / len(loads)
    assert chosen.outstanding < 1.25 * fair or chosen.outstanding == min(r.outstanding for r in pool if r.free)
