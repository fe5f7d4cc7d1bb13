"""The types that each database has: what goes in comes out the same, or is refused by name."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.executors import Participants
from dist_task_pipelines.executors.db import DbExecutor
from tests.integration.executors.conftest import Calls

# type of the column, value, and what comes back where the database has another way to write it
MYSQL = [
    ("BIGINT UNSIGNED", 18446744073709551615),
    ("DECIMAL(65,30)", "12345678901234567890123456789012345.000000000000000000000000000001"),
    ("DATETIME(6)", "2026-01-31T12:00:00.000005"),
    ("TIMESTAMP(3) NULL", "2026-01-31T12:00:00.123000"),
    ("TIME(6)", "-838:59:58.000001"),
    ("TIME", "26:30:00"),
    ("YEAR", 2026),
    ("ENUM('new','used')", "used"),
    ("SET('a','b','c')", "a,c", ["a", "c"]),
    ("DOUBLE", 0.1),
    ("LONGBLOB", "AP8="),
    ("BINARY(2)", "AP8="),
    ("JSON", {"a": [1, None, 12345678901234567890]}),
    ("BOOLEAN", True, 1),
]
POSTGRESQL = [
    ("BIGINT", -9223372036854775808),
    ("NUMERIC", "12345678901234567890123456789012345.000000000000000000000000000001"),
    ("NUMERIC(9,2)", "1.50"),
    ("DOUBLE PRECISION", 0.1),
    ("REAL", 0.5),
    ("TIMESTAMP", "2026-01-31T12:00:00.000005"),
    ("TIMESTAMPTZ", "2026-01-31T12:00:00.000005+02:00", "2026-01-31T10:00:00.000005+00:00"),
    ("DATE", "2026-01-31"),
    ("TIME", "12:30:00.000001"),
    ("TIMETZ", "12:30:00+02:00"),
    ("INTERVAL", "1 mon 3 days 04:05:06.000007"),
    ("UUID", "00000000-0000-0000-0000-000000000007"),
    ("BYTEA", "AP8="),
    ("BOOLEAN", True),
    ("JSON", {"b": 1, "a": [0.1, 12345678901234567890]}),
    ("JSONB", {"a": [0.1, 12345678901234567890]}),
    ("mood", "happy"),
    ("INTEGER[]", [1, None, 3]),
    ("NUMERIC(9,2)[]", ["1.50", "2.00"]),
    ("TEXT[][]", [["a", "b"], ["c", None]]),
    ("TIMESTAMPTZ[]", ["2026-01-31T12:00:00+00:00"]),
    ("INET", "10.0.0.0/8"),
    ("INT4RANGE", "[1,5)"),
    ("TEXT", "é\N{PILE OF POO}"),
    ("CHAR(3)", "abc"),
]
SQLITE = [
    ("BIGINT", 9223372036854775807),
    ("DECIMAL(9,2)", "12.5"),
    ("DATETIME", "2026-01-31T12:00:00.000005"),
    ("DATE", "2026-01-31"),
    ("TIME", "12:30:00.000001"),
    ("BLOB", "AP8="),
    ("BOOLEAN", True),
    ("JSON", {"b": 1, "a": [0.1, 12345678901234567890]}),
    ("REAL", 0.1),
]
TYPES = [
    pytest.param(database, kind, value, rest[0] if rest else value, id=f"{database}-{kind}")
    for database, rows in (
        ("mysql_database", MYSQL),
        ("mariadb_database", MYSQL),
        ("postgresql_database", POSTGRESQL),
        ("sqlite", SQLITE),
    )
    for kind, value, *rest in rows
]
REFUSED = [
    ("TIMESTAMPTZ", "2026-01-31T12:00:00", "without a time zone it could be any of several"),
    ("TIMETZ", "12:00:00", "without a time zone"),
    ("TIMESTAMP", "2026-01-31T12:00:00Z", "would lose the time zone"),
    ("TIMESTAMP(0)", "2026-01-31T12:00:00.5", "rounded to 0 decimal places"),
    ("TIME(3)", "12:00:00.0005", "rounded to 3 decimal places"),
    ("INTEGER[]", 1, "takes a list, each an integer, not the number 1"),
    ("INTEGER[]", [1, "x"], "takes a list, each an integer"),
    ("NUMERIC(9,2)[]", ["1.005"], "rounded to 2 decimal places"),
    ("BIGINT", 2**63, "out of range"),
    ("INTEGER", 2**31, "out of range"),
    ("mood", "angry", "invalid input value for enum"),
    ("UUID", "7", "takes a UUID"),
    ("BYTEA", "no base64!", "takes bytes as a base64 string"),
    ("VARCHAR(3)", "abcd", "too long"),
    ("TEXT", "\x00", "NUL"),
    ("JSONB", {"a": "\x00"}, "cannot be converted to text"),
]

Column = Callable[[str, str], Calls]


@pytest.fixture
def column(
    request: pytest.FixtureRequest, runner: asyncio.Runner, tmp_path: Any
) -> Iterator[Column]:
    """Makes the table `t (id, v)` with this type of `v`, and an executor that works on it."""
    opened = []

    def making(database: str, kind: str) -> Calls:
        if database == "sqlite":
            url = f"sqlite:///{tmp_path / 'types.db'}"
        else:
            url = request.getfixturevalue(database)
        with create_engine(url, poolclass=NullPool).begin() as connection:
            if kind == "mood":
                connection.execute(text("CREATE TYPE mood AS ENUM ('happy', 'sad')"))
            connection.execute(text(f"CREATE TABLE t (id INTEGER PRIMARY KEY, v {kind})"))
        executor = DbExecutor.connect(Participants(databases={"d": url}, ledger_uuid="ours"))
        opened.append(executor)
        return Calls(runner, executor)

    yield making
    for executor in opened:
        runner.run(executor.close())


BASE = {"database": "d", "table": "t"}


def insert(call: Calls, value: object) -> Outcome:
    return call({**BASE, "operation": "insert", "data": {"id": 1, "v": value}})


@pytest.mark.parametrize(("database", "kind", "value", "expected"), TYPES)
def test_a_value_comes_back_as_it_went_in_and_is_found_again(
    column: Any, database: str, kind: str, value: object, expected: object
) -> None:
    call = column(database, kind)
    stored = insert(call, value)
    assert stored.succeeded, stored
    (row,) = call({**BASE, "operation": "select"}).output["rows"]
    assert (row["v"], type(row["v"])) == (expected, type(expected))
    changed = {**BASE, "operation": "update", "data": {"v": row["v"]}, "where": {"id": 1}}
    if not kind.startswith("SET"):  # which is told apart from a list by nothing
        assert call(changed, key="2:x").succeeded


@pytest.mark.parametrize(("kind", "value", "why"), REFUSED)
def test_what_postgresql_cannot_hold_is_refused(
    column: Any, kind: str, value: object, why: str
) -> None:
    outcome = insert(column("postgresql_database", kind), value)
    assert outcome.error is not None
    assert (outcome.error.type, outcome.retryable) == ("InvalidValue", False), outcome
    assert why in outcome.error.message


def test_a_table_of_another_schema(column: Any, postgresql_database: str) -> None:
    call = column("postgresql_database", "TEXT")
    with create_engine(postgresql_database, poolclass=NullPool).begin() as connection:
        connection.execute(text("CREATE SCHEMA sales"))
        connection.execute(text("CREATE TABLE sales.orders (id INTEGER PRIMARY KEY, v TEXT)"))
    orders = {"database": "d", "table": "sales.orders"}
    for key in ("1:x", "2:x"):
        upsert = {**orders, "operation": "upsert", "data": {"id": 1, "v": key}}
        assert call(upsert, key=key).succeeded
    assert call({**orders, "operation": "select"}).output["rows"] == [{"id": 1, "v": "2:x"}]
    assert call({**BASE, "operation": "select"}).output["rows"] == []
    missing = call({"database": "d", "table": "sales.t", "operation": "select"})
    assert missing.error is not None
    assert missing.error.type == "UnknownTable"
