"""SQL reads the files that the spec names, and nothing that a model writes changes them or opens another."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router.errors import DataError, TokengraphError
from router.tools.builtins.sql import sql_over
from router.tools.builtins.tables import opened
from router.tools.call import ToolCaller
from router.tools.errors import ToolDefinitionError, ToolFailed, ToolTimeout
from router.tools.function import FunctionTool
from router.tools.processes import ToolProcesses
from router.tools.registry import Registry

ORDERS = "CREATE TABLE orders (id INTEGER PRIMARY KEY, item VARCHAR, price REAL); INSERT INTO orders VALUES (1, 'pen', 1.5), (2, 'cup', NULL)"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    file = tmp_path / "a shop?#%41.db"  # a name that a URI has to quote
    connection = sqlite3.connect(file)
    connection.executescript(ORDERS + "; CREATE VIEW cheap AS SELECT item FROM orders WHERE price < 5")
    connection.close()
    return file


@pytest.fixture
def duck(tmp_path: Path) -> Path:
    duckdb = pytest.importorskip("duckdb")
    file = tmp_path / "shop.duckdb"
    connection = duckdb.connect(str(file))
    connection.execute(ORDERS)
    connection.close()
    return file


@pytest.fixture
def people(tmp_path: Path) -> Path:
    file = tmp_path / "the people.csv"
    file.write_text('\ufeffname;age;zip;big\n"Ann; PhD";31;00123;1e3\nBob;;04567;-2.5\n\n', encoding="utf-8")
    return file


def _ask(tool: FunctionTool, query: str) -> str:
    settings = tool.signature.settings.validate_python(tool.settings)
    return str(tool.function(query, **settings))


def test_the_model_is_told_the_tables(shop: Path, people: Path) -> None:
    assert "cheap(item VARCHAR); orders(id INTEGER, item VARCHAR, price REAL)" in sql_over([shop]).description
    tool = sql_over([people], name="staff")
    assert (tool.name, tool.parameters) == ("staff", ("query",))
    assert "the_people(name TEXT, age INTEGER, zip TEXT, big REAL)" in tool.description


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT * FROM orders ORDER BY id", "id | item | price\n1 | pen | 1.5\n2 | cup | null"),
        ("SELECT count(*) FROM orders;", "2"),
        ("WITH x AS (SELECT max(id) AS m FROM orders) SELECT m + 1 FROM x", "3"),
        ("SELECT item FROM orders WHERE id > 5", "item"),
    ],
)
@pytest.mark.parametrize("kind", ["shop", "duck"])
def test_a_select_is_answered(request: pytest.FixtureRequest, kind: str, query: str, expected: str) -> None:
    assert _ask(sql_over([request.getfixturevalue(kind)]), query) == expected


def test_csv_files_are_tables_that_can_be_joined(tmp_path: Path, people: Path) -> None:
    towns = tmp_path / "towns.tsv"
    towns.write_text("zip\ttown\n00123\tRome\n")
    tool = sql_over([people, towns])
    assert _ask(tool, "SELECT town FROM the_people JOIN towns USING (zip)") == "Rome"
    assert _ask(tool, "SELECT sum(big) FROM the_people") == "997.5"
    towns.write_text("zip\ttown\n00123\tOslo\n04567\tRiga\n")  # a file that changes is read again
    assert _ask(tool, "SELECT count(*) FROM towns") == "2"


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (("123456789012345678", "-1"), "INTEGER"),
        (("1234567890123456789", "1"), "TEXT"),
        (("12345678901234567890123", "-98765432109876543210987"), "TEXT"),
        (("123456789012345678", "1.5"), "TEXT"),
        (("123456789012345", "1.5", "-2e3"), "REAL"),
        (("0.1234567890123456789",), "REAL"),
    ],
)
def test_long_whole_numbers_keep_their_digits(tmp_path: Path, values: tuple[str, ...], kind: str) -> None:
    file = tmp_path / "accounts.csv"
    file.write_text("number\n" + "\n".join(values))
    tool = sql_over([file])
    assert f"accounts(number {kind})" in tool.description
    if kind != "REAL":
        assert _ask(tool, f"SELECT number FROM accounts WHERE number = '{values[0]}'") == values[0]


def test_long_results_are_cut(shop: Path) -> None:
    endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c"
    assert _ask(sql_over([shop], rows=2), endless) == "x\n1\n2\n... (more rows)"


WRITES = [
    "INSERT INTO orders VALUES (3, 'x', 1)", "DELETE FROM orders", "DROP TABLE orders", "UPDATE orders SET item = 'x'",
    "CREATE TABLE t (a INT)", "CREATE TEMP TABLE t (a INT)", "ALTER TABLE orders ADD COLUMN x INT", "PRAGMA journal_mode = WAL",
    "PRAGMA query_only = OFF", "ATTACH 'other.db' AS o", "ATTACH '/etc/passwd' AS o", "DETACH main", "VACUUM INTO 'leak.db'", "BEGIN",
    "COMMIT", "SELECT 1; DROP TABLE orders", "SELECT 1; SELECT 2", "SELECT load_extension('x')", "SELECT writefile('leak', 'x')",
    "SELECT readfile('/etc/passwd')", "SELECT * FROM '/etc/passwd'", "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_text('/etc/passwd')", "SELECT * FROM glob('/*')", "COPY orders TO 'leak.csv'", "COPY (SELECT 1) TO 'leak.csv'",
    "EXPORT DATABASE 'leak'", "INSTALL httpfs", "LOAD httpfs", "SET memory_limit = '10GB'", "SET enable_external_access = true",
    "RESET ALL", "CHECKPOINT", "SELECT getenv('HOME')", "CREATE OR REPLACE MACRO f() AS 1", "EXPLAIN ANALYZE DELETE FROM orders",
    "WITH x AS (SELECT 1) DELETE FROM orders", "REPLACE INTO orders VALUES (1, 'x', 1)", "", "SELECT", "nonsense", "SELECT '\0", "--",
    "SELECT " + "(" * 2000 + "1" + ")" * 2000, "SELECT 1 --" + "x" * 20_000,
]  # fmt: skip


@pytest.mark.parametrize("kind", ["shop", "duck"])
def test_nothing_is_written_and_no_other_file_opened(
    request: pytest.FixtureRequest, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file: Path = request.getfixturevalue(kind)
    monkeypatch.chdir(tmp_path)
    before = (file.read_bytes(), sorted(tmp_path.iterdir()))
    with opened([file]) as database:
        for query in WRITES:
            with pytest.raises(ToolFailed):
                print(kind, query, database.select(query, 5, 5.0))
        assert database.select("SELECT count(*) FROM orders", 5, 5.0).rows == [(2,)]
    assert (file.read_bytes(), sorted(tmp_path.iterdir())) == before


def test_a_csv_table_cannot_be_written_either(people: Path) -> None:
    tool = sql_over([people])
    for query in (
        "DELETE FROM the_people",
        "DROP TABLE the_people",
        "ATTACH '/etc/passwd' AS x",
        "PRAGMA query_only = OFF",
    ):
        with pytest.raises(ToolFailed, match="read-only"):
            _ask(tool, query)
    assert _ask(tool, "SELECT count(*) FROM the_people") == "2"


ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c"


@pytest.mark.parametrize("kind", ["shop", "duck"])
def test_an_endless_query_is_stopped(request: pytest.FixtureRequest, kind: str) -> None:
    tool = sql_over([request.getfixturevalue(kind)], seconds=0.3)
    with pytest.raises(ToolFailed, match=r"within 0\.3 s"):
        _ask(tool, ENDLESS)
    assert _ask(tool, "SELECT count(*) FROM orders") == "2"


@pytest.mark.parametrize(
    "query",
    ["SELECT length(zeroblob(1000000000))", "SELECT hex(randomblob(900000))", ("SELECT group_concat(hex(randomblob(9999)), '') FROM "
     "(WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 999) SELECT x FROM c)")],
)  # fmt: skip
def test_a_query_that_takes_much_memory_is_refused(shop: Path, query: str) -> None:
    with pytest.raises(ToolFailed, match="too big"):
        _ask(sql_over([shop]), query)


MANY_BIG = (
    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 1000) "
    "SELECT count(*) FROM (SELECT DISTINCT zeroblob(900000) || x FROM c)"
)


async def test_what_a_query_holds_is_bounded_in_the_tools_process(shop: Path) -> None:
    caller = ToolCaller(Registry([sql_over([shop], seconds=60)]), processes=ToolProcesses(limit=1))
    try:
        result = await caller.call("sql", {"query": MANY_BIG})
        assert isinstance(result.error, ToolFailed) and "too big for memory" in result.text
        assert (await caller.call("sql", {"query": "SELECT item FROM orders WHERE id = 1"})).text == "pen"
    finally:
        await caller.aclose()


def test_other_connections_of_this_process_are_not_bounded(shop: Path, people: Path) -> None:
    for file in (shop, people):
        _ask(sql_over([file]), "SELECT 1")
    with contextlib.closing(sqlite3.connect(":memory:")) as other:
        assert other.execute("PRAGMA hard_heap_limit").fetchone() == (0,)


async def test_a_query_that_does_not_stop_by_itself_is_stopped_with_its_process(shop: Path) -> None:
    from dataclasses import replace

    tool = replace(sql_over([shop]), seconds=1)
    caller = ToolCaller(Registry([tool]), processes=ToolProcesses(limit=1))
    try:
        result = await caller.call("sql", "sql(SELECT printf('%.*c', 2000000000, 'x'))")
        assert isinstance(result.error, ToolTimeout)
        assert (await caller.call("sql", "sql(SELECT item FROM orders WHERE id = 1)")).text == "pen"
    finally:
        await caller.aclose()


@pytest.mark.parametrize(
    ("name", "text", "error", "reason"),
    [
        ("a.csv", "a,b\n1\n", DataError, r"a.csv:2: expected 2 values, found 1"),
        ("a.csv", "", DataError, "expected a first line with the names"),
        ("a.csv", "a,a\n1,2\n", DataError, "columns of different names"),
        ("a.csv", 'a,b\n"1,2\n', DataError, "expected a CSV file"),
        ("a.db", "no database", DataError, "expected a SQLite database"),
        ("a.txt", "x", ToolDefinitionError, "expected CSV files"),
        ("a.duckdb", "no database", DataError, "expected a DuckDB database"),
    ],
)
def test_a_file_that_is_no_table_is_refused(
    tmp_path: Path, name: str, text: str, error: type[TokengraphError], reason: str
) -> None:
    if name.endswith("duckdb"):
        pytest.importorskip("duckdb")
    (tmp_path / name).write_text(text)
    with pytest.raises(error, match=reason):
        sql_over([tmp_path / name])


def test_files_must_be_there_and_of_one_kind(tmp_path: Path, shop: Path, people: Path) -> None:
    for files in ([], [shop, people], [shop, shop]):
        with pytest.raises(ToolDefinitionError, match="expected CSV files"):
            sql_over(files)
    with pytest.raises(ToolDefinitionError, match="Path does not point to a file"):
        sql_over([tmp_path / "missing.csv"])
    with pytest.raises(ToolDefinitionError, match="rows: "):
        sql_over([shop], rows=0)


@given(st.text() | st.text("SELECTFROM orders*()'\",;-= 12\n", max_size=60))
@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_query_nothing_but_a_tool_error_comes_out(shop: Path, query: str) -> None:
    with contextlib.suppress(ToolFailed):
        _ask(sql_over([shop]), query)
