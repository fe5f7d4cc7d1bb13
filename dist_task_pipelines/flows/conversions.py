"""The parameter types: what each accepts and what it makes of it.

A conversion is lossless or refused. Numbers count by the value that was written, as
`domain.json` keeps them: 1.0 is the integer 1, and 1.9 is none.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import isfinite
from types import MappingProxyType

from dist_task_pipelines.domain import json
from dist_task_pipelines.domain.errors import InvalidJson
from dist_task_pipelines.domain.json import JsonValue
from dist_task_pipelines.flows.faults import shown

Converter = Callable[[JsonValue], JsonValue]

_INTEGER = re.compile(r"[+-]?[0-9]{1,4000}")
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?")
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"([T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6}0*)?(Z|[+-][0-9]{2}:[0-9]{2})?)?"
)
_INT64 = range(-(2**63), 2**63)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BOOLEANS = {
    **dict.fromkeys(("1", "t", "T", "true", "True", "TRUE"), True),
    **dict.fromkeys(("0", "f", "F", "false", "False", "FALSE"), False),
}


class UnfitError(ValueError):
    """The value cannot become the type without loss; the message says why."""


def _is_number(value: JsonValue) -> bool:
    if isinstance(value, float):
        return isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def _as_written(number: float) -> int | Decimal:
    """A number by its decimal value: repr, not the binary expansion of a float."""
    if isinstance(number, int):
        return number
    exact = Decimal(repr(number))
    return int(exact) if number.is_integer() else exact


def _string(value: JsonValue) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if _is_number(value):
        number = _as_written(value)
        return f"{number:f}" if isinstance(number, Decimal) else str(number)
    raise UnfitError(f"must be a string, a number or a boolean, not {shown(value)}")


def _int(value: JsonValue) -> int:
    number = _as_written(value) if _is_number(value) else value
    if isinstance(number, str) and _INTEGER.fullmatch(number):
        number = int(number)
    if not isinstance(number, int) or isinstance(number, bool):
        raise UnfitError(f"must be an integer, not {shown(value)}")
    if number not in _INT64:
        raise UnfitError(f"must fit in 64 bits, which {shown(value)} does not")
    return number


def _float(value: JsonValue) -> float:
    if isinstance(value, float) and isfinite(value):
        return value
    text = value if isinstance(value, str) else str(value)
    if not _DECIMAL.fullmatch(text):
        raise UnfitError(f"must be a number, not {shown(value)}")
    number = float(text)
    if not isfinite(number) or Decimal(repr(number)) != Decimal(text):
        raise UnfitError(f"{shown(value)} cannot be kept exactly as a floating-point number")
    return number


def _bool(value: JsonValue) -> bool:
    if isinstance(value, str) and value in _BOOLEANS:
        return _BOOLEANS[value]
    if isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    raise UnfitError(f"must be true or false, not {shown(value)}")


def _object(value: JsonValue) -> JsonValue:
    result = _parsed(value, {})
    if not isinstance(result, dict):
        raise UnfitError(f"must be an object, not {shown(value)}")
    return result


def _array(value: JsonValue) -> JsonValue:
    result = _parsed(value, [])
    if not isinstance(result, list):
        raise UnfitError(f"must be a list, not {shown(value)}")
    return result


def _parsed(value: JsonValue, empty: JsonValue) -> JsonValue:
    """What a text of JSON stands for; anything but a text is itself."""
    if value == "":
        return empty
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except InvalidJson as error:
        reason = "; ".join(str(fault) for fault in error.faults)
        raise UnfitError(f"this text cannot be read as JSON: {reason}") from None


def _time(value: JsonValue) -> str:
    """The moment in UTC, ISO 8601. Without an offset it is UTC; a number is Unix seconds."""
    try:
        if isinstance(value, str) and _TIME.fullmatch(value.upper()):
            return _utc(datetime.fromisoformat(value.upper()))
        if _is_number(value) and (microseconds := _as_written(value) * 10**6) % 1 == 0:
            return _utc(_EPOCH + timedelta(microseconds=int(microseconds)))
    except (ValueError, OverflowError):
        pass
    raise UnfitError(
        "must be a time such as 2024-01-31T10:00:00Z, a date, or Unix seconds, "
        f"to the microsecond at most, not {shown(value)}"
    )


def _utc(moment: datetime) -> str:
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.astimezone(UTC).isoformat()


def _anything(value: JsonValue) -> JsonValue:
    if value is None:
        raise UnfitError("must not be null")
    return value


def _list_of(convert: Converter) -> Converter:
    def converter(value: JsonValue) -> JsonValue:
        if value == "":
            return []
        if isinstance(value, str):
            return [convert(value)]
        if not isinstance(value, list):
            raise UnfitError(f"must be a list, not {shown(value)}")
        return [_item(convert, index, item) for index, item in enumerate(value)]

    return converter


def _item(convert: Converter, index: int, item: JsonValue) -> JsonValue:
    try:
        return convert(item)
    except UnfitError as error:
        raise UnfitError(f"item {index}: {error}") from None


CONVERTERS: Mapping[str, Converter] = MappingProxyType(
    {
        "string": _string,
        "int": _int,
        "int64": _int,
        "float": _float,
        "float64": _float,
        "bool": _bool,
        "[]string": _list_of(_string),
        "[]int": _list_of(_int),
        "[]float": _list_of(_float),
        "object": _object,
        "array": _array,
        "time": _time,
        "*": _anything,
    }
)
"""By the type's name: turns a value into that type, or raises UnfitError."""
