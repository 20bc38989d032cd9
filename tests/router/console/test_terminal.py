"""Texts on a terminal."""

from __future__ import annotations

import pytest

from router.console.errors import show_error
from router.console.graphs import graph_path
from router.console.route import with_tokens
from router.console.terminal import duration, one_line, printable, quantity
from router.errors import DataError, EngineUnavailable, GraphError, RunError, TokenHeadError
from router.spec import parse_spec


def test_text_cannot_steer_the_terminal() -> None:
    assert printable("a\x1b[2Jb\x9b\x7f\r\n\tc") == "a␛[2Jb\ufffd␡␍\n\tc"


def test_one_line() -> None:
    assert one_line(" a\n b ") == "a b"
    cut = one_line("x" * 1000 + "y" * 1000, 10)
    assert cut == "xxxxx … yyyyy (2,000 characters)"


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0"), (999, "999"), (1000, "1k"), (999_600, "1M"), (1_234_567, "1.23M"), (7e9, "7B")]
)
def test_quantity(count: float, text: str) -> None:
    assert quantity(count) == text


@pytest.mark.parametrize(
    ("milliseconds", "text"), [(0.4, "0 ms"), (999.4, "999 ms"), (999.6, "1.0 s"), (61_000, "61.0 s")]
)
def test_duration(milliseconds: float, text: str) -> None:
    assert duration(milliseconds) == text


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DataError("f:1", "x", "y"), 2), (GraphError("g"), 2), (TokenHeadError("t"), 2), (RunError("r"), 1),
        (EngineUnavailable("e"), 1), (OSError(28, "No space left on device"), 1),
    ],
)  # fmt: skip
def test_exit_codes(error: Exception, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert show_error(error) == code  # type: ignore[arg-type]
    assert capsys.readouterr().err.startswith("error: ")


def test_the_default_graph_is_the_bundled_one() -> None:
    assert graph_path(None).is_file()


def test_tokens_need_a_router_as_entry() -> None:
    spec = parse_spec(
        "entry: a\nworkers: {w: {engine: scripted, rules: [{answer: x}]}}\nnodes: {a: {kind: expert, worker: w}}"
    )
    assert with_tokens(spec, None) is spec
    with pytest.raises(GraphError, match="expected a router as the entry a"):
        with_tokens(spec, graph_path(None).parent)
