"""Servers on GPUs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experts.errors import WorkerPlanError
from experts.workers.packing import Demand, pack


def test_large_ones_first_and_small_ones_into_the_gaps() -> None:
    demands = [Demand("small", 2, 1, 0.3), Demand("large", 1, 1, 0.7), Demand("wide", 1, 2, 0.6)]
    places = pack(demands, [1.0, 1.0, 1.0])
    assert places == {"wide": ((0, 1),), "large": ((2,),), "small": ((0,), (1,))}


def test_shares_that_add_up_to_one_fit() -> None:
    assert pack([Demand("a", 10, 1, 0.1)], [1.0]) == {"a": ((0,),) * 10}


def test_a_gpu_in_use_is_passed_over() -> None:
    assert pack([Demand("a", 1, 1, 0.9)], [0.4, 0.95]) == {"a": ((1,),)}


def test_refusal_shows_the_arithmetic() -> None:
    with pytest.raises(WorkerPlanError) as caught:
        pack([Demand("a", 2, 1, 0.9), Demand("b", 2, 2, 0.5)], [0.1, 0.1, 1.0])
    message = str(caught.value)
    assert "worker a needs 2 x 0.9 of a GPU; " in message
    assert "worker b needs 4 x 0.5 of a GPU (2 replicas on 2 GPUs each); together 3.8" in message
    assert "3 GPUs with 0.1, 0.1, 1 free" in message
    assert "b finds" in message


def test_more_gpus_than_there_are() -> None:
    with pytest.raises(WorkerPlanError, match="Found 1 GPU with 1 free"):
        pack([Demand("a", 1, 2, 0.1)], [1.0])


DEMANDS = st.lists(
    st.builds(
        Demand, name=st.uuids().map(str), replicas=st.integers(1, 4), gpus=st.integers(1, 4),
        share=st.integers(1, 100).map(lambda percent: percent / 100),
    ),
    max_size=6, unique_by=lambda demand: demand.name,
)  # fmt: skip
FREE = st.lists(st.integers(0, 100).map(lambda percent: percent / 100), max_size=8)


@given(DEMANDS, FREE)
def test_no_gpu_is_overfull(demands: list[Demand], free: list[float]) -> None:
    try:
        places = pack(demands, free)
    except WorkerPlanError:
        return
    used = [0.0] * len(free)
    for demand in demands:
        assert len(places[demand.name]) == demand.replicas
        for gpus in places[demand.name]:
            assert len(set(gpus)) == len(gpus) == demand.gpus
            for gpu in gpus:
                used[gpu] += demand.share
    assert all(share <= room + 1e-3 for share, room in zip(used, free, strict=True))


@given(DEMANDS)
def test_never_refuses_where_every_server_can_have_gpus_of_its_own(demands: list[Demand]) -> None:
    pack(demands, [1.0] * sum(demand.replicas * demand.gpus for demand in demands))


@given(st.integers(1, 20), st.integers(1, 100), st.lists(st.integers(0, 100), max_size=6))
def test_equal_servers_use_all_the_room_there_is(count: int, percent: int, free: list[int]) -> None:
    room = sum(share // percent for share in free)
    demand = Demand("a", count, 1, percent / 100)
    if count <= room:
        pack([demand], [share / 100 for share in free])
    else:
        with pytest.raises(WorkerPlanError):
            pack([demand], [share / 100 for share in free])
