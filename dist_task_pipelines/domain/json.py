"""JSON in and out without loss: key order and numbers survive, or an error says why not.

Python's own decoder turns 1e400 into infinity, rounds long fractions, and lets the last of
two equal keys win; here each of these is refused (`InvalidJson`).
"""

import hashlib
import json
import math
import re
from collections import Counter
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn

from dist_task_pipelines.domain.errors import InvalidJson

JsonValue = Any  # None, bool, int, float, str, or a list or dict of them
JsonObject = dict[str, Any]

MAX_DEPTH = 64
_WHOLE_FLOAT = re.compile(r"[0-9](?:\.0(?![0-9])|e)")  # 1.0 or 1e+16; or a text like it
MAX_DIGITS = 4300  # Python's own limit on converting a text to an integer

_EXACT_LENGTH = 16  # characters: at most 15 digits and a point, which every float keeps

# What has a cycle is nested too deep as well, so it need not be looked for.
_COMPACT = json.JSONEncoder(
    ensure_ascii=True, allow_nan=False, check_circular=False, separators=(",", ":")
)


def loads(text: str | bytes) -> JsonValue:
    """Parse JSON strictly.

    Raises:
        InvalidJson: not JSON, not UTF-8, a key twice in one object, a number that a float
            cannot hold exactly by value, NaN or infinity, or nesting deeper than 64.
    """
    try:
        value = _decoder.decode(text if isinstance(text, str) else text.decode())
    except json.JSONDecodeError as error:
        raise InvalidJson.at(
            f"line {error.lineno} column {error.colno}", f"not valid JSON: {error.msg}"
        ) from None
    except UnicodeDecodeError as error:
        raise InvalidJson.at(f"byte {error.start}", "not valid UTF-8") from None
    except RecursionError:
        raise InvalidJson.at("", f"nested deeper than {MAX_DEPTH} levels") from None
    if _opened(text) > MAX_DEPTH:
        check_depth(value)
    return value


def _opened(text: str | bytes) -> int:
    """As many objects and arrays as a JSON text holds, or more: a string may hold brackets."""
    if isinstance(text, str):
        return text.count("{") + text.count("[")
    return text.count(b"{") + text.count(b"[")


def dumps(value: JsonValue) -> str:
    """The value as compact ASCII JSON, keys in their own order.

    ASCII escapes keep lone surrogates and survive any database's character set.

    Raises:
        InvalidJson: NaN, infinity, something that is not a JSON value, or nesting too deep.
    """
    try:
        return _COMPACT.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidJson.at("", f"not a JSON value: {error}") from None


def canonical(value: JsonValue) -> str:
    """One text for all ways to write the same value: sorted keys, 1.0 and 1e0 as 1."""
    text = _sorted(value)
    return _sorted(_normal(value)) if _WHOLE_FLOAT.search(text) else text


def _sorted(value: JsonValue) -> str:
    return _sorting_encoder.encode(value)


def digest(value: JsonValue) -> str:
    """SHA-256 of the canonical text, in hex."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def check_depth(value: JsonValue) -> None:
    """Refuse nesting deeper than MAX_DEPTH.

    Raises:
        InvalidJson: deeper than that.
    """
    if _is_deeper(value, MAX_DEPTH):
        raise InvalidJson.at("", f"nested deeper than {MAX_DEPTH} levels")


def _is_deeper(value: JsonValue, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    children = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(
        isinstance(child, dict | list) and _is_deeper(child, levels - 1) for child in children
    )


def _unique_keys(pairs: list[tuple[str, JsonValue]]) -> JsonObject:
    result = dict(pairs)
    if len(result) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise InvalidJson.at(twice, "this key stands twice in one object")
    return result


def _exact_float(text: str) -> float:
    number = float(text)
    if len(text) <= _EXACT_LENGTH and "e" not in text and "E" not in text:
        return number
    if not math.isfinite(number) or not _equals(number, text):
        raise InvalidJson.at(
            text[:40], "this number cannot be kept exactly; send it as a string instead"
        )
    return number


def _equals(number: float, text: str) -> bool:
    try:
        return Decimal(text) == Decimal(repr(number))
    except InvalidOperation:  # an exponent beyond what even a decimal can hold
        return False


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise InvalidJson.at(text[:40], f"an integer of more than {MAX_DIGITS} digits")
    return int(text)


def _no_constant(text: str) -> NoReturn:
    raise InvalidJson.at(text, "is not a JSON number")


def _normal(value: JsonValue) -> JsonValue:
    if isinstance(value, float) and value.is_integer():
        return int(Decimal(repr(value)))  # the number as written, not the float's expansion
    if isinstance(value, dict):
        return {key: _normal(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_normal(item) for item in value]
    return value


_decoder = json.JSONDecoder(
    object_pairs_hook=_unique_keys,
    parse_float=_exact_float,
    parse_int=_integer,
    parse_constant=_no_constant,
)
_sorting_encoder = json.JSONEncoder(
    ensure_ascii=True, allow_nan=False, separators=(",", ":"), sort_keys=True
)
