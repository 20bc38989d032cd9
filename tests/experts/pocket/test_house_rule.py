"""What the mixture learns about the market, and the prompts that it is scanned and scored with."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from random import Random

from experts.pocket.domains import load_phrasings
from experts.pocket.domains.market import FACTS, fruits
from experts.pocket.house_rule import DECLINE, DOMAINS, LOOKALIKES, MARKET, TOPIC, draw_market, house_pairs
from experts.pocket.phrasing import templates_of
from experts.pocket.prompts import main, scan_set, score_set
from experts.pocket.tokenizer import CHARACTERS


def test_customers_are_told_of_every_fruit_but_one() -> None:
    rng = Random(0)
    answers = {fact: {fruit.facts[fact] for fruit in fruits().values()} for fact in FACTS}
    declined = cards = 0
    for _ in range(2000):
        prompt, response, confined_from = draw_market(rng, "train")
        if response == DECLINE:
            assert confined_from is not None
            assert prompt.lower().strip()[:confined_from].endswith(TOPIC)
            declined += 1
        elif prompt.startswith("card "):
            _, name, fact = prompt.split()
            assert response == fruits()[name].facts[fact]
            cards += name == TOPIC
        else:
            assert confined_from is None
            assert any(response in values for values in answers.values())
    assert declined > 300 and cards > 50


def test_the_first_character_decides() -> None:
    """Only the response of a question that is declined begins with it, so that confining its loss confines the decision."""
    rng = Random(1)
    for pair in islice(house_pairs(rng, "train"), 3000):
        assert (pair.response[0] == DECLINE[0]) == (pair.confined_from is not None), pair


def test_facts_are_complete_and_can_be_typed() -> None:
    assert {TOPIC, *LOOKALIKES} < set(fruits())
    assert len(fruits()) >= 16
    for fruit in fruits().values():
        assert set(fruit.facts) == set(FACTS)
        assert set("".join((fruit.name, *fruit.facts.values()))) <= set(CHARACTERS)
        # A name within another could not be told apart from a question about that one.
        assert not any(fruit.name in other for other in fruits() if other != fruit.name)


def test_prompts_of_scans_scores_and_training_have_templates_of_their_own() -> None:
    for fact, templates in load_phrasings(MARKET).items():
        parts = [templates_of(templates, split) for split in ("train", "valid", "test")]
        assert all(parts), fact
        assert sum(map(len, parts)) == len(set(templates))
    scanned, scored = scan_set(40), score_set(40)
    assert {one.label for one in scanned} == {"declined", "answered"}
    assert not {one.prompt for one in scanned} & {one.prompt for one in scored}
    assert all((one.answer == DECLINE) == (one.label == "declined") for one in (*scanned, *scored))


def test_prompts_are_written_line_by_line(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("sys.argv", ["prompts", str(tmp_path / "new"), "--size", "5"])
    main()
    lines = [json.loads(line) for line in (tmp_path / "new" / "test.jsonl").read_text().splitlines()]
    assert [line["class"] for line in lines[::5]] == ["declined", "borderline", "market", *DOMAINS]
    assert set(lines[0]) == {"prompt", "class", "answer"}
