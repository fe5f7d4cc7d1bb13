"""Values between JSON and columns: the same on the way back, or refused by name."""

import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Column, types
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.sql.elements import Null

from dist_task_pipelines.executors.db_values import (
    BadValue,
    ExactDecimal,
    exact_type,
    to_column,
    to_json,
)

ID = uuid.UUID(int=7)


def bound(kind: types.TypeEngine[Any], value: object) -> object:
    return to_column(Column("c", kind), value)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (types.Integer(), 5, 5),
        (types.Integer(), True, 1),
        (mysql.TINYINT(1), False, 0),
        (types.BigInteger(), 2**64 - 1, 2**64 - 1),
        (types.Boolean(), True, True),
        (types.Boolean(), 1, True),
        (types.Float(), 1, 1),
        (types.Float(), 0.1, 0.1),
        (types.Numeric(), "12.50", Decimal("12.50")),
        (types.Numeric(), 0.1, Decimal("0.1")),
        (types.Numeric(), 7, Decimal(7)),
        (mysql.DECIMAL(9, 2), "1e2", Decimal("1E+2")),
        (ExactDecimal(), "12.50", Decimal("12.50")),
        (ExactDecimal(), 2**63 - 1, Decimal(2**63 - 1)),
        (ExactDecimal(), "1e300", Decimal("1e300")),
        (types.DateTime(), "2026-01-31T12:00:00.5", datetime(2026, 1, 31, 12, 0, 0, 500000)),
        (
            types.DateTime(timezone=True),
            "2026-01-31T12:00:00Z",
            datetime(2026, 1, 31, 12, tzinfo=UTC),
        ),
        (types.Numeric(9, 2), "1.5000", Decimal("1.5000")),
        (types.Numeric(9, 0), "0.00", Decimal("0.00")),
        (mysql.DECIMAL(9, 0), "1e3", Decimal("1e3")),
        (mysql.DATETIME(fsp=1), "2026-01-31T12:00:00.5", datetime(2026, 1, 31, 12, 0, 0, 500000)),
        (types.Date(), "2026-01-31", date(2026, 1, 31)),
        (types.Time(), "12:30:00", time(12, 30)),
        (types.Time(timezone=True), "12:30:00Z", time(12, 30, tzinfo=UTC)),
        (mysql.TIME(), "12:30:00", timedelta(hours=12, minutes=30)),
        (mysql.TIME(fsp=1), "-838:59:59.5", -timedelta(hours=838, minutes=59, seconds=59.5)),
        (types.ARRAY(types.Integer()), [1, None, [2]], [1, None, [2]]),
        (types.ARRAY(types.Numeric(9, 2)), ["1.50"], [Decimal("1.50")]),
        (types.LargeBinary(), "AP8=", b"\x00\xff"),
        (mysql.LONGBLOB(), "", b""),
        (types.Uuid(), str(ID), ID),
        (types.String(), "é", "é"),
        (types.Text(), "", ""),
        (types.JSON(), {"a": [1]}, {"a": [1]}),
        (mysql.JSON(), "text", "text"),
        (mysql.YEAR(), 2026, 2026),
        (mysql.ENUM("a"), "a", "a"),
        (types.NullType(), 1.5, 1.5),
    ],
)
def test_what_a_column_takes(kind: types.TypeEngine[Any], value: object, expected: object) -> None:
    got = bound(kind, value)
    assert (got, type(got)) == (expected, type(expected))


@pytest.mark.parametrize(
    "kind", [types.Integer(), types.JSON(), types.String(), types.DateTime(), types.NullType()]
)
def test_null_is_null(kind: types.TypeEngine[Any]) -> None:
    assert isinstance(bound(kind, None), Null)


@pytest.mark.parametrize(
    ("kind", "value", "why"),
    [
        (types.Integer(), 1.5, "column 'c' takes an integer, not the number 1.5"),
        (types.Integer(), "5", "takes an integer, not a string"),
        (types.Integer(), 2**64, "takes an integer, not the number"),
        (types.Boolean(), 2, "takes a boolean, not the number 2"),
        (types.Boolean(), "true", "takes a boolean, not a string"),
        (types.Float(), "1.5", "takes a number, not a string"),
        (types.Float(), True, "takes a number, not the boolean true"),
        (types.Float(), 2**53 + 1, "cannot hold it exactly"),
        (types.Numeric(), "ten", "takes a decimal number or a string of one, not a string"),
        (types.Numeric(), "NaN", "takes a decimal number"),
        (types.Numeric(), False, "not the boolean false"),
        (ExactDecimal(), "123456789012345.67", "SQLite would round it"),
        (ExactDecimal(), 10**30 + 1, "SQLite would round it"),
        (types.DateTime(), "yesterday", "takes a time like 2026-01-31T12:00:00"),
        (types.DateTime(), "2026-01-31T12:00:00Z", "would lose the time zone"),
        (types.DateTime(), 0, "takes a time like"),
        (types.Date(), "31.1.2026", "takes a date like"),
        (types.Time(), "12:00+01:00", "would lose the time zone"),
        (types.DateTime(timezone=True), "2026-01-31T12:00:00", "without a time zone"),
        (types.Time(timezone=True), "12:00:00", "without a time zone"),
        (mysql.TIME(), "noon", "takes a time like 12:00:00"),
        (types.ARRAY(types.Integer()), 1, "takes a list, each an integer, not the number 1"),
        (types.ARRAY(types.Numeric(9, 2)), ["1.005"], "rounded to 2 decimal places"),
        (types.Float(), 10**400, "takes a number"),
        (types.Numeric(9, 2), "1.005", "it would be rounded to 2 decimal places"),
        (mysql.DECIMAL(9, 0), 0.5, "it would be rounded to 0 decimal places"),
        (mysql.DATETIME(), "2026-01-31T12:00:00.5", "rounded to 0 decimal places"),
        (mysql.TIMESTAMP(fsp=3), "2026-01-31T12:00:00.0005", "rounded to 3 decimal places"),
        (mysql.TIME(), "12:00:00.000001", "rounded to 0 decimal places"),
        (types.LargeBinary(), "no base64!", "takes bytes as a base64 string"),
        (types.Uuid(), "7", "takes a UUID"),
        (types.String(), 7, "takes a string, not the number 7"),
        (types.String(), ["a"], "takes a string, not a list"),
        (types.NullType(), {"a": 1}, "takes a string, a number or a boolean, not an object"),
    ],
)
def test_what_a_column_refuses(kind: types.TypeEngine[Any], value: object, why: str) -> None:
    with pytest.raises(BadValue) as caught:
        bound(kind, value)
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (2**70, 2**70),
        (0.1, 0.1),
        (float("nan"), "NaN"),
        (float("-inf"), "-Infinity"),
        ("é", "é"),
        ({"a": [1]}, {"a": [1]}),
        (Decimal("12.50"), "12.50"),
        (datetime(2026, 1, 31, 12, 0, 0, 5), "2026-01-31T12:00:00.000005"),
        (datetime(2026, 1, 31, 12, tzinfo=UTC), "2026-01-31T12:00:00+00:00"),
        (date(2026, 1, 31), "2026-01-31"),
        (time(12, 30), "12:30:00"),
        (timedelta(hours=26, minutes=3, seconds=9), "26:03:09"),
        (-timedelta(hours=26, minutes=30, milliseconds=500), "-26:30:00.5"),
        (timedelta(0), "00:00:00"),
        (b"\x00\xff", "AP8="),
        (memoryview(b"a"), "YQ=="),
        (ID, str(ID)),
        ({"b", "a"}, ["a", "b"]),
        ([Decimal("1.50"), None, [b"a"]], ["1.50", None, ["YQ=="]]),
    ],
)
def test_what_a_database_returns(value: object, expected: object) -> None:
    got = to_json("c", value)
    assert (got, type(got)) == (expected, type(expected))


def test_what_json_has_nothing_for() -> None:
    with pytest.raises(BadValue, match="column 'c' holds a complex"):
        to_json("c", 1j)


def test_types_that_would_lose_something_are_replaced() -> None:
    assert exact_type(sqlite.NUMERIC(9, 2), "sqlite").python_type is Decimal
    assert not isinstance(exact_type(sqlite.NUMERIC(9, 2), "sqlite"), types.Numeric)
    assert isinstance(exact_type(mysql.DECIMAL(9, 2), "mysql"), mysql.DECIMAL)
    assert exact_type(mysql.DOUBLE(), "mysql").python_type is float
