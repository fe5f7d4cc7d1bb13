"""Faults in JSON, each with its path, in the platform's own words.

Turns pydantic's errors into faults, and finds what is not JSON at all. Knows nothing of
flows.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, get_args

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from dist_task_pipelines.domain.errors import Fault
from dist_task_pipelines.domain.json import JsonValue

_PLAIN_KEY = re.compile(r"[^\s.\[\]\"]+")
_LONGEST_SHOWN = 40
_MOST_LISTED = 20
_PLAIN = {str, int, bool, type(None)}


def join(path: str, *keys: str | int) -> str:
    """The path of a value inside the one at `path`: `tasks[1].config["a b"]`."""
    for key in keys:
        if isinstance(key, int):
            path = f"{path}[{key}]"
        elif not _PLAIN_KEY.fullmatch(key):
            path = f"{path}[{json.dumps(key)}]"
        else:
            path = f"{path}.{key}" if path else key
    return path


def shown(value: JsonValue) -> str:
    """The value as a message names it: short, and never a whole document."""
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, int) and value.bit_length() > 128:
        return "a number of more than 128 bits"
    text = repr(value) if isinstance(value, str) else json.dumps(value, default=repr)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def listed(names: Iterable[str]) -> str:
    """The names as a message lists them: the first twenty."""
    every = [*names]
    more = f" and {len(every) - _MOST_LISTED} more" if len(every) > _MOST_LISTED else ""
    return (", ".join(every[:_MOST_LISTED]) or "none") + more


def errors_of(model: type[BaseModel] | TypeAdapter[Any], value: JsonValue) -> list[ErrorDetails]:
    """Everything pydantic finds wrong with the value."""
    validate = model.validate_python if isinstance(model, TypeAdapter) else model.model_validate
    try:
        validate(value)
    except ValidationError as error:
        return error.errors(include_url=False)
    return []


def faults_of(
    errors: Sequence[ErrorDetails], path: str, model: type[BaseModel] | None = None
) -> list[Fault]:
    """The errors as faults of the value at `path`; the model tells which keys exist."""
    return [Fault(join(path, *error["loc"]), _message(error, model)) for error in errors]


def not_json(value: JsonValue, path: str) -> Iterator[Fault]:
    """A fault for each part that JSON cannot hold: dates, NaN, keys that are no text."""
    return iter(()) if _is_json(value) else _not_json(value, path)


def _not_json(value: JsonValue, path: str) -> Iterator[Fault]:
    if isinstance(value, dict):
        for key, item in value.items():
            if isinstance(key, str):
                yield from _not_json(item, join(path, key))
            else:
                yield Fault(path, f"the key {key!r} must be a string")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _not_json(item, join(path, index))
    elif isinstance(value, float) and not math.isfinite(value):
        yield Fault(path, f"{value} is not a JSON number")
    elif not isinstance(value, str | int | float | None):
        yield Fault(path, f"a {type(value).__name__} is not a JSON value; write it as a string")


def _is_json(value: JsonValue) -> bool:
    """Whether JSON can hold the value, told without making a path for each part."""
    kind = type(value)
    if kind is dict:
        return all(type(key) is str and _is_json(item) for key, item in value.items())
    if kind is list:
        return all(map(_is_json, value))
    return kind in _PLAIN or (kind is float and math.isfinite(value))


def _message(error: ErrorDetails, model: type[BaseModel] | None) -> str:
    if error["type"] == "missing":
        return "is required"
    if error["type"] == "extra_forbidden":
        known = _keys_at(model, error["loc"][:-1])
        return f"unknown key; known here: {listed(known)}" if known else "unknown key"
    if error["type"] in ("model_type", "dict_type"):
        return f"must be an object, not {shown(error['input'])}"
    message = error["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if message.startswith("Input should"):
        return f"must{message.removeprefix('Input should')}, not {shown(error['input'])}"
    return message


def _keys_at(model: type[BaseModel] | None, location: tuple[int | str, ...]) -> list[str]:
    """The keys that the model takes at that place; none when it cannot be told."""
    for key in location:
        if model and isinstance(key, str):
            fields = {field.alias or name: field for name, field in model.model_fields.items()}
            model = _model_in(fields[key].annotation) if key in fields else None
    if model is None:
        return []
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(argument) for argument in get_args(annotation))
    return next((model for model in found if model), None)
