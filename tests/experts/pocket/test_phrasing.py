"""Templates become questions; disturbing them never touches a slot; what is held out stays what it is."""

import hashlib
from pathlib import Path
from random import Random

import pytest
import yaml

from experts.pocket import phrasing
from experts.pocket.corpus import unsettled_template
from experts.pocket.domains.base import split_of
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


def test_what_is_held_out_is_frozen() -> None:
    """Scores of different dates compare. A new template that falls to valid or test has to be worded otherwise."""
    files = sorted((Path(phrasing.__file__).with_name("phrasings")).glob("*.yaml"))
    held_out = [
        (file.stem, task, template)
        for file in files
        for task, templates in yaml.safe_load(file.read_text(encoding="utf-8")).items()
        for template in templates
        if split_of(template) != "train"
    ]
    digest = hashlib.blake2b(repr(sorted(held_out)).encode(), digest_size=8).hexdigest()
    assert (len(held_out), digest) == (4284, "c09909b99485c535")
