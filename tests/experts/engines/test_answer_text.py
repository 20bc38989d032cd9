from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experts.engines.answer_text import AnswerText
from experts.engines.requests import TokenId


def decode_bytes(ids: Sequence[TokenId]) -> str:
    return bytes(ids).decode("utf-8", errors="replace")


def feed(text: str, stop: tuple[str, ...] = ()) -> tuple[AnswerText, list[str]]:
    """One token per byte, until a stop text is found."""
    answer = AnswerText(decode_bytes, stop)
    pieces = []
    for byte in text.encode():
        pieces.append(answer.push(TokenId(byte)))
        if answer.stopped is not None:
            break
    return answer, [*pieces, answer.finish()]


@given(st.text())
def test_pieces_add_up(text: str) -> None:
    answer, pieces = feed(text)
    assert "".join(pieces) == answer.text == text


def test_characters_come_whole() -> None:
    _, pieces = feed("aé漢😀")
    assert [piece for piece in pieces if piece] == ["a", "é", "漢", "😀"]


def test_incomplete_character_at_the_end() -> None:
    answer = AnswerText(decode_bytes)
    assert [answer.push(TokenId(byte)) for byte in "a漢".encode()[:3]] == ["a", "", ""]
    assert answer.finish() == "\ufffd" == answer.text[1:]


@given(st.text(alphabet="ab", max_size=12), st.lists(st.text(alphabet="ab", min_size=1, max_size=3), max_size=3))
def test_stop_texts_cut_where_the_first_completes(text: str, stops: list[str]) -> None:
    answer, pieces = feed(text, tuple(stops))
    ends = [(text.index(stop) + len(stop), text.index(stop)) for stop in stops if stop in text]
    if not ends:
        assert (answer.text, answer.stopped) == (text, None)
    else:
        end = min(ends)[0]  # at that token the earliest beginning counts
        assert answer.text == text[: min(at for at_end, at in ends if at_end == end)]
        assert answer.stopped in stops
    assert "".join(pieces) == answer.text


@pytest.mark.parametrize(("text", "pieces"), [("a<b", ["a", "", "<b"]), ("a</s", ["a", "", "", ""])])
def test_only_possible_stops_are_held_back(text: str, pieces: list[str]) -> None:
    answer = AnswerText(decode_bytes, ("</s",))
    assert [answer.push(TokenId(byte)) for byte in text.encode()] == pieces
