"""Every domain's answers against an independent computation, and the splits."""

from __future__ import annotations

import datetime
import re
from random import Random

import pytest

from experts.pocket.corpus import draw_example, fixed_set
from experts.pocket.domains import NAMES, OFF_TOPIC, load_domain, load_phrasings
from experts.pocket.domains.base import Problem, split_of
from experts.pocket.phrasing import expand, templates_of
from experts.pocket.tokenizer import CHARACTERS

DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
MONTHS = [datetime.date(2000, m, 1).strftime("%B") for m in range(1, 13)]


def roman(value: int) -> str:
    pairs = zip(
        (1000, 900, 500, 400, 100, 90, 50, 40, 10, 9, 5, 4, 1),
        ["M", "CM", "D", "CD", "C", "XC", "L", "XL", "X", "IX", "V", "IV", "I"],
        strict=True,
    )
    out = ""
    for size, letters in pairs:
        out += letters * (value // size)
        value %= size
    return out


def arithmetic(canonical: str) -> str:
    a, sign, b = re.fullmatch(r"(\d+)([-+*])(\d+)", canonical.strip("|")).groups()
    result = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__}[sign](int(a), int(b))
    return str(abs(result) if canonical.startswith("|") else result)


def bases(canonical: str) -> str:
    form, digits, target = re.fullmatch(r"([dbh])(\w+)>([dbh])", canonical).groups()
    return format(int(digits, {"d": 10, "b": 2, "h": 16}[form]), {"d": "d", "b": "b", "h": "x"}[target])


def spelling(canonical: str) -> str:
    match canonical.split():
        case ["reverse", word]:
            return word[::-1]
        case ["sort", word]:
            return "".join(sorted(word))
        case ["count", letter, word]:
            return str(word.count(letter))
        case ["letter", "last", word]:
            return word[-1]
        case ["letter", n, word]:
            return word[int(n) - 1]
    raise AssertionError(canonical)


def logic(canonical: str) -> str:
    text = canonical
    rules = {r"!t": "f", r"!f": "t", r"\(([tf])\)": r"\1"}
    while text not in ("t", "f"):
        before = text
        for pattern, result in rules.items():
            text = re.sub(pattern, result, text)
        if text == before:
            text = re.sub(r"([tf])&([tf])", lambda m: "t" if m[1] == m[2] == "t" else "f", text, count=1)
        if text == before:
            text = re.sub(r"(?<![&!])([tf])\|([tf])(?!&)", lambda m: "t" if "t" in m.groups() else "f", text, count=1)
        assert text != before, canonical
    return {"t": "true", "f": "false"}[text]


def calendar(canonical: str) -> str:
    if match := re.fullmatch(r"(\w{3})([-+])(\d+)(w?)", canonical):
        name, sign, n, weeks = match.groups()
        names = DAYS if any(d.lower().startswith(name) for d in DAYS) else MONTHS
        at = [x[:3].lower() for x in names].index(name)
        return names[(at + (1 if sign == "+" else -1) * int(n) * (7 if weeks else 1)) % len(names)]
    word, *rest = canonical.split()
    months = [m[:3].lower() for m in MONTHS]
    leap = lambda year: year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)  # noqa: E731
    match word:
        case "leap":
            return "yes" if leap(int(rest[0])) else "no"
        case "nextleap":
            return str(next(y for y in range(int(rest[0]) + 1, 9999) if leap(y)))
        case "days":
            year = int(rest[1]) if len(rest) > 1 else 2001
            month = months.index(rest[0]) + 1
            after = datetime.date(2001, month % 12 + 1, 1) - datetime.timedelta(days=1)
            return str(after.day + (month == 2 and leap(year)))
        case "number":
            return str(months.index(rest[0]) + 1)
        case "month":
            return MONTHS[int(rest[0]) - 1]
        case "first" | "second":
            order = sorted(rest, key=months.index)
            return MONTHS[months.index(order[0 if word == "first" else 1])]
    raise AssertionError(canonical)


@pytest.mark.parametrize(("name", "answer"), [
    ("arithmetic", arithmetic), ("bases", bases), ("spelling", spelling), ("logic", logic), ("calendar", calendar),
])  # fmt: skip
def test_answers_are_right(name: str, answer) -> None:
    domain, rng = load_domain(name), Random(11)
    for _ in range(2000):
        _, problem = domain.draw(rng, "train")
        assert problem.answer == answer(problem.canonical), problem


def test_numerals_are_right() -> None:
    domain, rng = load_domain("numerals"), Random(12)
    for _ in range(1000):
        task, problem = domain.draw(rng, "train")
        kind, _, rest = problem.canonical.partition(" ")
        if kind == "roman":
            assert problem.answer == roman(int(rest))
        elif task.name == "from_roman":
            assert roman(int(problem.answer)).lower() == rest


@pytest.mark.parametrize("name", [*NAMES, OFF_TOPIC])
def test_every_template_fills(name: str) -> None:
    domain, rng = load_domain(name), Random(13)
    phrasings = load_phrasings(name)
    assert set(phrasings) == {task.name for task in domain.tasks}
    for task in domain.tasks:
        for template in phrasings[task.name]:
            slots = task.draw(rng, "train").slots
            text = expand(template, rng)
            assert not set("[]") & set(text)
            assert set(re.findall(r"\{(\w+)\}", text)) <= set(slots), template


@pytest.mark.parametrize("name", NAMES)
def test_no_problem_and_no_template_is_in_two_splits(name: str) -> None:
    domain, rng = load_domain(name), Random(14)
    for task in domain.tasks:
        every = load_phrasings(name)[task.name]
        parts = [templates_of(every, split) for split in ("train", "valid", "test")]
        assert sum(map(len, parts)) == len(every)
        assert all(parts), f"{name}.{task.name} has a split without templates"
        if task.holds_out:
            assert {task.draw(rng, "test").split for _ in range(50)} == {"test"}


def test_commuted_sums_share_a_split() -> None:
    rng, seen = Random(15), {}
    for _ in range(3000):
        task, problem = load_domain("arithmetic").draw(rng, "train")
        if task.name in ("add", "multiply"):
            a, b = re.split(r"[+*]", problem.canonical)
            pair = (task.name, frozenset((a, b)))
            assert seen.setdefault(pair, problem.split) == problem.split


def test_split_depends_on_the_text_alone() -> None:
    assert split_of("add 1 2") == split_of("add 1 2")
    shares = [split_of(str(i)) for i in range(5000)]
    assert 0.08 < shares.count("test") / 5000 < 0.12


@pytest.mark.parametrize("name", NAMES)
def test_canonical_and_response_are_in_the_vocabulary(name: str) -> None:
    rng = Random(16)
    for _ in range(300):
        _, problem = load_domain(name).draw(rng, "train")
        assert set(problem.canonical + problem.response) <= set(CHARACTERS)
        assert problem.canonical == problem.canonical.lower()


def test_capitals_cover_every_member_of_the_united_nations() -> None:
    rng = Random(17)
    drawn = {load_domain("capitals").draw(rng, "train")[1].canonical for _ in range(20_000)}
    assert sum(c.startswith("capital ") for c in drawn) == 193


def test_test_sets_repeat() -> None:
    assert fixed_set("bases", "test", 20) == fixed_set("bases", "test", 20)
    assert fixed_set("bases", "test", 20) != fixed_set("bases", "valid", 20)


def test_slots_survive_noise() -> None:
    rng = Random(18)
    for _ in range(500):
        example = draw_example(rng, "spelling", "train", noise=1.0)
        word = example.canonical.split()[-1]
        assert word in example.query.lower(), example


def test_problem_key_defaults_to_its_canonical_form() -> None:
    assert Problem({}, "mon+3", "Thursday").split == split_of("mon+3")
