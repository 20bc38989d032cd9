"""Templates become questions; disturbing them never touches a slot."""

from random import Random

import pytest

from experts.pocket.corpus import unsettled_template
from experts.pocket.phrasing import phrase, unsettle

TEMPLATE = "[please|] tell me what remains of {a} when {b} are gone"


def test_a_phrasing_has_every_slot_as_it_is() -> None:
    rng = Random(1)
    for _ in range(300):
        text = phrase(TEMPLATE, {"a": "ninety-Two", "b": "17"}, rng, noise=1.0)
        assert "17" in text and "ninety-two" in text.lower()


def test_unsettled_templates_keep_their_slots_in_order() -> None:
    rng = Random(2)
    found = {unsettle(TEMPLATE, rng, share=0.5, words=("plum",)) for _ in range(300)}
    assert len(found) > 100
    for template in found:
        assert template.count("{a}") == template.count("{b}") == 1 and template.index("{a}") < template.index("{b}")
        assert set(template.split()) <= {"plum", *TEMPLATE.replace("[please|]", "please").split()}
    assert any("plum" in template for template in found)


@pytest.mark.parametrize(("share", "expected"), [(0.0, "what remains of {a}"), (1.0, "{a}")])
def test_the_share_of_words_left_out(share: float, expected: str) -> None:
    assert unsettle("what remains of {a}", Random(3), share=share) == expected


@pytest.mark.parametrize(("slots", "strangers"), [({"a": "12", "b": "7"}, True), ({"a": "12", "b": "pain"}, False)])
def test_no_stranger_comes_beside_a_word_that_is_asked_about(slots: dict[str, str], strangers: bool) -> None:
    """It could be taken for the one that is meant."""
    rng, own = Random(4), set(TEMPLATE.replace("[please|]", "please").split())
    found = {word for _ in range(200) for word in unsettled_template(TEMPLATE, slots, rng).split()}
    assert bool(found - own) == strangers
