from __future__ import annotations

import numpy as np

from router.evals.tools import COUNTS, Questions, added, scores

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
    chosen, lost = added(questions(), 0)
    assert chosen > 60 and lost < 2
