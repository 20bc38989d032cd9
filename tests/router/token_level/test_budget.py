"""The large model's share is bounded at every moment, whatever the models and the token router do."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from router.token_level.budget import ShareBudget

SHARES = st.one_of(
    st.integers(0, 100).map(lambda percent: percent / 100), st.floats(0, 1, allow_subnormal=False), st.just(1 / 3)
)


@given(share=SHARES, runs=st.lists(st.tuples(st.integers(0, 30), st.integers(1, 9)), max_size=30))
def test_never_exceeded_at_any_moment(share: float, runs: list[tuple[int, int]]) -> None:
    """``runs``: how long the small model would write before a critical token, and how long the large one would then."""
    budget, authors = ShareBudget(share), list[str]()
    for small, run in runs:
        wait = budget.wait(authors.count("large"), len(authors))
        if wait is None or wait > 1000:
            assert share < 1
            break
        authors += ["small"] * max(small, wait)
        room = budget.room(authors.count("large"), len(authors))
        authors += ["large"] * (run if room is None else min(run, room))
        assert room is None or room >= 1, "the wait was long enough for one"
    for length in range(1, len(authors) + 1):
        assert Fraction(authors[:length].count("large"), length) <= Fraction(str(share))


@given(share=SHARES, large=st.integers(0, 50), total=st.integers(0, 500))
def test_waits_no_longer_than_needed(share: float, large: int, total: int) -> None:
    large = min(large, total)
    wait = ShareBudget(share).wait(large, total)
    exact = Fraction(str(share))
    if wait is None:
        assert share == 0
    elif wait > 0:
        assert large + 1 > exact * (total + wait), "one token less would be too few"


def test_a_share_is_what_was_written() -> None:
    budget = ShareBudget(0.7)
    assert [budget.room(0, total) for total in (2, 3, 30)] == [4, 7, 70]
    assert ShareBudget(0.0).wait(0, 100) is None
    assert (ShareBudget(1.0).wait(5, 5), ShareBudget(1.0).room(5, 5)) == (0, None)
