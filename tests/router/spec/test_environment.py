"""Values from the environment."""

from __future__ import annotations

import pytest

from router.spec.scalars import resolve, substitute


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${A}", "x"), ("a${A}b${A}", "axbx"), ("${NONE:-d}", "d"), ("${NONE:-}", ""), ("${EMPTY:-d}", "d"),
        ("${EMPTY}", ""), ("$${A}", "${A}"), ("$$", "$"), ("$$$${A}", "$${A}"), ("foo$", "foo$"), ("$1 $x", "$1 $x"),
        ("${A:-${A}", "x"), ("${NESTED}", "${A}"),
    ],
)  # fmt: skip
def test_substitute(text: str, value: str) -> None:
    assert substitute(text, {"A": "x", "EMPTY": "", "NESTED": "${A}"}) == value


@pytest.mark.parametrize("text", ["${", "${}", "${1}", "${A", "${A-B}", "${A:=b}"])
def test_what_begins_no_reference_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="without NAME"):
        substitute(text, {"A": "x"})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None), ("~", None), ("null", None), ("true", True), ("FALSE", False), ("yes", "yes"), ("on", "on"),
        ("off", "off"), ("no", "no"), ("12", 12), ("-3", -3), ("0o17", 15), ("0x1F", 31), ("017", 17), ("1e3", 1000.0),
        ("1.", 1.0), (".5", 0.5), ("-1.5e-1", -0.15), ("1_000", "1_000"), ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("nan", "nan"), ("inf", "inf"), ("1e", "1e"), ("٣", "٣"), ("+", "+"), ("=", "="), ("<<", "<<"),
    ],
)  # fmt: skip
def test_resolve_follows_the_core_schema(text: str, value: object) -> None:
    resolved = resolve(text)
    assert resolved == value and type(resolved) is type(value)


@pytest.mark.parametrize("text", [".inf", "-.INF", ".nan", "1e999", "9" * 41, "0x" + "f" * 40])
def test_numbers_without_measure_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        resolve(text)
