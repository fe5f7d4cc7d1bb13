"""Values between JSON and database columns: converted without loss, or refused by name.

Pure; the column's type, as reflected, decides.
"""

import base64
import binascii
import math
import re
import uuid
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from sqlalchemy import Dialect, null, types
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.schema import Column

from dist_task_pipelines.domain.json import JsonValue

_INTEGERS = range(-(2**63), 2**64)  # what any database's largest integer type holds


class BadValue(ValueError):
    """A value that its column cannot hold without loss."""


class ExactDecimal(types.TypeDecorator[Decimal]):
    """A decimal column of SQLite, which has no decimals.

    SQLite makes a number of a text in such a column, exact up to 15 digits; SQLAlchemy
    would go through a float and ten places on both ways.
    """

    impl = types.String
    cache_ok = True

    @property
    def python_type(self) -> type[Decimal]:
        """What the column's values are in Python."""
        return Decimal

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """A decimal as the database takes it."""
        return None if value is None else str(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        """What the database returned, as a decimal."""
        return None if value is None else Decimal(str(value))


class ExactTime(mysql.TIME):
    """A TIME column of MySQL, which may be negative and longer than a day.

    SQLAlchemy would make a time of day of it.
    """

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        """What the driver returned, a timedelta, as it is."""


def exact_type(kind: types.TypeEngine[Any], dialect: str) -> types.TypeEngine[Any]:
    """The reflected type, or one that loses nothing where it would."""
    if isinstance(kind, types.Float):
        kind.asdecimal = False  # a MySQL DOUBLE would be rounded to ten places
        return kind
    if dialect == "sqlite" and isinstance(kind, types.Numeric):
        return ExactDecimal()
    if isinstance(kind, mysql.TIME):
        return ExactTime(fsp=kind.fsp)
    if isinstance(kind, postgresql.ranges.AbstractRange):
        return types.NullType()  # they are texts here
    return kind


def to_column(column: Column[Any], value: JsonValue) -> Any:
    """The value to bind for a column.

    Raises:
        BadValue: the column cannot hold it; names the column and what it takes.
    """
    if value is None:
        return null()
    wanted, convert = _rule_of(column.type)
    try:
        converted = convert(value)
        _refuse_rounding(column.type, converted)
    except (ValueError, OverflowError) as error:
        found = f" ({error})" if error.args else ""
        raise BadValue(
            f"column {column.name!r} takes {wanted}, not {_described(value)}{found}"
        ) from None
    return converted


def to_json(column: str, value: Any) -> JsonValue:
    """What a database returned, as JSON.

    Decimals become texts, times ISO texts, bytes base64; numbers that JSON does not have
    become their names (`NaN`, `Infinity`).

    Raises:
        BadValue: nothing in JSON is like it.
    """
    if value is None or isinstance(value, str | bool | int | dict):
        return value
    if isinstance(value, list):
        return [to_json(column, item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(Decimal(value))
    for kind, convert in _FROM_DATABASE.items():
        if isinstance(value, kind):
            return convert(value)
    raise BadValue(f"column {column!r} holds a {type(value).__name__}, which JSON has nothing for")


def _integer(value: JsonValue) -> int:
    if not isinstance(value, int) or value not in _INTEGERS:
        raise ValueError
    return int(value)


def _boolean(value: JsonValue) -> bool:
    if not isinstance(value, int) or value not in (0, 1):
        raise ValueError
    return bool(value)


def _number(value: JsonValue) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError
    if float(value) != value:
        raise ValueError("a floating point number cannot hold it exactly")
    return value


def _decimal(value: JsonValue) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise ValueError from None
    if not number.is_finite():
        raise ValueError
    return number


def _short_decimal(value: JsonValue) -> Decimal:
    number = _decimal(value)
    digits = "".join(map(str, number.as_tuple().digits)).strip("0")
    if len(digits) > 15 and (_places(number) or abs(number) >= 2**63):
        raise ValueError("SQLite would round it")
    return number


def _text(value: JsonValue) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value


def _bytes(value: JsonValue) -> bytes:
    try:
        return base64.b64decode(_text(value), validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None


def _uuid(value: JsonValue) -> uuid.UUID:
    return uuid.UUID(_text(value))


def _date(value: JsonValue) -> date:
    return date.fromisoformat(_text(value))


def _datetime(value: JsonValue) -> datetime:
    moment = _moment(value)
    _refuse_zone(moment)
    return moment


def _moment(value: JsonValue) -> datetime:
    return datetime.fromisoformat(_text(value))


def _zoned(value: JsonValue) -> datetime:
    moment = _moment(value)
    _need_zone(moment)
    return moment


def _time(value: JsonValue) -> time:
    moment = time.fromisoformat(_text(value))
    _refuse_zone(moment)
    return moment


def _zoned_time(value: JsonValue) -> time:
    moment = time.fromisoformat(_text(value))
    _need_zone(moment)
    return moment


def _span(value: JsonValue) -> timedelta:
    """What `_clock` made a text of."""
    found = _CLOCK.fullmatch(_text(value))
    if not found:
        raise ValueError
    span = timedelta(
        hours=int(found["hours"]),
        minutes=int(found["minutes"]),
        seconds=int(found["seconds"] or 0),
        microseconds=int((found["fraction"] or "").ljust(6, "0")),
    )
    return -span if found["sign"] else span


def _need_zone(moment: datetime | time) -> None:
    if moment.tzinfo is None:
        raise ValueError("without a time zone it could be any of several")


def _refuse_zone(moment: datetime | time) -> None:
    if moment.tzinfo is not None:
        raise ValueError("the column would lose the time zone")


def _refuse_rounding(kind: types.TypeEngine[Any], value: object) -> None:
    """Refuse what the database would round without a word: MySQL does, with both."""
    if isinstance(value, Decimal):
        places, kept = _places(value), getattr(kind, "scale", None)
    elif isinstance(value, datetime | time):
        places, kept = _places(Decimal(value.microsecond).scaleb(-6)), _places_of_seconds(kind)
    elif isinstance(value, timedelta):
        places, kept = _places(Decimal(value.microseconds).scaleb(-6)), _places_of_seconds(kind)
    else:
        return
    if kept is not None and places > kept:
        raise ValueError(f"it would be rounded to {kept} decimal places")


def _places_of_seconds(kind: types.TypeEngine[Any]) -> int | None:
    """How many the column keeps, None when all."""
    if hasattr(kind, "fsp"):  # MySQL
        return kind.fsp or 0
    return getattr(kind, "precision", None)  # PostgreSQL


def _places(number: Decimal) -> int:
    """How many decimal places the number has, zeros at its end not counted."""
    _, digits, exponent = number.as_tuple()
    if not number:
        return 0
    text = "".join(map(str, digits))
    zeros = len(text) - len(text.rstrip("0"))
    return max(0, -int(exponent) - zeros)


def _scalar(value: JsonValue) -> JsonValue:
    if isinstance(value, dict | list):
        raise ValueError
    return value


def _any(value: JsonValue) -> JsonValue:
    return value


def _base64(value: Any) -> str:
    return base64.b64encode(value).decode()


def _clock(value: timedelta) -> str:
    """A MySQL TIME, which may be negative and longer than a day: `-26:30:00.5`."""
    sign, span = ("-", -value) if value < timedelta(0) else ("", value)
    minutes, seconds = divmod(span.days * 86400 + span.seconds, 60)
    fraction = f".{span.microseconds:06}".rstrip("0") if span.microseconds else ""
    return f"{sign}{minutes // 60:02}:{minutes % 60:02}:{seconds:02}{fraction}"


_CLOCK = re.compile(
    r"(?P<sign>-?)(?P<hours>[0-9]{1,3}):(?P<minutes>[0-5][0-9])"
    r"(:(?P<seconds>[0-5][0-9])(\.(?P<fraction>[0-9]{1,6}))?)?"
)

_Rule = tuple[str, Callable[[JsonValue], Any]]

# By the Python type of the column's values.
_TO_DATABASE: Mapping[type, _Rule] = {
    bool: ("a boolean", _boolean),
    int: ("an integer", _integer),
    float: ("a number", _number),
    Decimal: ("a decimal number or a string of one", _decimal),
    datetime: ("a time like 2026-01-31T12:00:00", _datetime),
    date: ("a date like 2026-01-31", _date),
    time: ("a time of day like 12:00:00", _time),
    bytes: ("bytes as a base64 string", _bytes),
    uuid.UUID: ("a UUID", _uuid),
    str: ("a string", _text),
}
_SQLITE_DECIMAL: _Rule = ("a decimal number of at most 15 digits", _short_decimal)
_OTHER: _Rule = ("a string, a number or a boolean", _scalar)
_JSON: _Rule = ("any JSON value", _any)
_ZONED: _Rule = ("a time like 2026-01-31T12:00:00+00:00", _zoned)
_ZONED_TIME: _Rule = ("a time of day like 12:00:00+00:00", _zoned_time)
_SPAN: _Rule = ("a time like 12:00:00", _span)

# By the column's type, where its Python type does not tell; some only where it has a time zone.
_SPECIAL: tuple[tuple[type[types.TypeEngine[Any]], bool, _Rule], ...] = (
    (ExactDecimal, False, _SQLITE_DECIMAL),
    (types.JSON, False, _JSON),
    (types.DateTime, True, _ZONED),
    (types.Time, True, _ZONED_TIME),
    (mysql.TIME, False, _SPAN),
)

_FROM_DATABASE: Mapping[type, Callable[[Any], JsonValue]] = {
    Decimal: str,
    datetime: datetime.isoformat,
    date: date.isoformat,
    time: time.isoformat,
    timedelta: _clock,
    bytes: _base64,
    memoryview: _base64,
    uuid.UUID: str,
    set: sorted,
}


def _rule_of(kind: types.TypeEngine[Any]) -> _Rule:
    if isinstance(kind, types.ARRAY):
        return _array_rule(kind.item_type)
    zoned = bool(getattr(kind, "timezone", False))
    for special, needs_zone, rule in _SPECIAL:
        if isinstance(kind, special) and (zoned or not needs_zone):
            return rule
    return _TO_DATABASE.get(kind.python_type, _OTHER)


def _array_rule(kind: types.TypeEngine[Any]) -> _Rule:
    wanted, convert = _rule_of(kind)

    def convert_all(value: JsonValue) -> list[Any]:
        if not isinstance(value, list):
            raise ValueError
        return [_item(item) for item in value]

    def _item(item: JsonValue) -> Any:
        if item is None:
            return None
        if isinstance(item, list):  # an array of several dimensions
            return convert_all(item)
        converted = convert(item)
        _refuse_rounding(kind, converted)
        return converted

    return f"a list, each {wanted}", convert_all


def _described(value: JsonValue) -> str:
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    kinds: Mapping[type, str] = {str: "a string", dict: "an object", list: "a list"}
    return kinds.get(type(value), f"the number {value}")
