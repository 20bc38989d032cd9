from __future__ import annotations

import numpy as np

from router.evals.tools_choice import COUNTS, SHARES, Questions, added, scores
from router.evals.tools_prompted import first_named, is_answer
from router.functional.head_rivals import TAKEN

TOOLS, GROUPS, VARIANTS, WIDTH = 4, 12, 3, 16


def questions() -> Questions:
    """Questions around their tool's description, each asked with several numbers."""
    random = np.random.default_rng(0)
    descriptions = np.eye(TOOLS, WIDTH, dtype=np.float32)
    labels = np.repeat(np.arange(TOOLS), GROUPS * VARIANTS)
    noise = random.normal(0, 0.15, (TOOLS * GROUPS, WIDTH)).repeat(VARIANTS, axis=0)
    vectors = (descriptions[labels] + noise).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    groups = tuple(f"{group}" for group in range(TOOLS * GROUPS) for _ in range(VARIANTS))
    return Questions(vectors, labels, groups, descriptions, WIDTH)


def test_no_group_is_on_both_sides_and_every_tool_on_each() -> None:
    asked = questions()
    learn, score = asked.split(0)
    assert {asked.groups[place] for place in learn}.isdisjoint(asked.groups[place] for place in score)
    assert {*asked.labels[learn]} == {*asked.labels[score]} == {*range(TOOLS)}


def test_where_descriptions_tell_the_tools_they_lead() -> None:
    found = scores(questions(), 0)
    assert all(len(row) == 1 + len(COUNTS) for row in found.values())
    assert found["prior only"][0] > 90
    assert found["prior + regularisation"][1] > found["random initialisation, as ToolkenGPT trains"][1]
    chosen, lost, _ = added(questions(), 0)[SHARES.index(TAKEN)]
    assert chosen > 60 and lost < 2


def test_the_more_an_added_tool_may_take_the_more_it_is_chosen() -> None:
    found = added(questions(), 0)
    assert [chosen for chosen, _, _ in found] == sorted(chosen for chosen, _, _ in found)
    assert all(lost <= most for _, lost, most in found)


def test_what_a_model_wrote_is_read() -> None:
    assert is_answer("Together that is 1,234.50 coins.", "1234.5")
    assert is_answer("3 of 4, so 0.75", "0.7501")
    assert not is_answer("It is 12.", "13")
    assert not is_answer("I do not know.", "13")
    assert first_named("Use lcm, not gcd.", ["gcd", "lcm"]) == "lcm"
    assert first_named("additional", ["add"]) is None
