"""Where settings come from: the file and the environment, and what is wrong with either.

Every fault names its place: the file and the key, or the variable. What the settings mean,
this module does not know.
"""

import collections.abc
import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, TomlConfigSettingsSource

from dist_task_pipelines.domain.errors import Fault, InvalidConfiguration

PREFIX = "DIST_TASK__"

Location = tuple[str | int, ...]  # of a value: ("services", "Payment", "address")

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
# Faults of numbers that repeat the value; any other value might be a secret.
_TELL_VALUE = {"greater_than_equal", "less_than_equal", "int_from_float"}
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Variables:
    """The environment's overrides: `DIST_TASK__<SECTION>__<KEY>`, or with a name between.

    Attributes:
        values: as nested as the settings are, texts already turned into numbers and paths.
        names: the variable that each value came from.
        faults: the variables that name no setting.
    """

    values: dict[str, Any]
    names: Mapping[Location, str]
    faults: tuple[Fault, ...]

    @classmethod
    def read(cls, settings: type[BaseSettings]) -> "Variables":
        """Look through the environment."""
        values: dict[str, Any] = {}
        names: dict[Location, str] = {}
        faults: list[Fault] = []
        for name in sorted(name for name in os.environ if name.startswith(PREFIX)):
            if found := _setting(settings, name):
                location, field = found
                names[location] = name
                _put(values, location, _parsed(os.environ[name], field))
            else:
                faults.append(_unknown(settings, name))
        return cls(values, names, tuple(faults))


def _setting(settings: type[BaseSettings], variable: str) -> tuple[Location, FieldInfo] | None:
    section, _, rest = variable.removeprefix(PREFIX).partition("__")
    name, _, key = rest.rpartition("__")
    if not (section.isupper() and key.isupper()):
        return None
    field = settings.model_fields.get(section.lower())
    if field is None or _is_named(field) != bool(name):
        return None
    location = (section.lower(), *([name] if name else []), key.lower())
    value_field = _model(field).model_fields.get(key.lower())
    return (location, value_field) if value_field else None


def _put(values: dict[str, Any], location: Location, value: Any) -> None:
    for part in location[:-1]:
        values = values.setdefault(str(part), {})
    values[str(location[-1])] = value


def _parsed(text: str, field: FieldInfo) -> Any:
    """The value that the text stands for; the text itself when it stands for none."""
    try:
        return TypeAdapter[Any](field.annotation or str).validate_strings(text)
    except ValidationError:
        return text


def _unknown(settings: type[BaseSettings], variable: str) -> Fault:
    known = list(_all_variables(settings))
    nearest = difflib.get_close_matches(variable, known, n=3, cutoff=0)
    return Fault(variable, f"names no setting; the nearest are {', '.join(nearest)}")


def _all_variables(settings: type[BaseSettings]) -> Iterator[str]:
    for section, field in settings.model_fields.items():
        for key in _model(field).model_fields:
            yield _variable((section, "<Name>", key) if _is_named(field) else (section, key))


def _variable(location: Location) -> str:
    first, *names, last = map(str, location)
    return PREFIX + "__".join((first.upper(), *names, last.upper()))


def _is_named(field: FieldInfo) -> bool:
    """Whether the section holds one table for each name, as `services` does."""
    return get_origin(field.annotation) is collections.abc.Mapping


def _model(field: FieldInfo) -> type[BaseModel]:
    candidates = (field.annotation, *get_args(field.annotation))
    return next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))


@dataclass(frozen=True)
class File:
    """The configuration file with every `${NAME}` filled in from the environment.

    Attributes:
        path: None when there is no file.
        missing: by place, the references that could not be filled in.
    """

    path: Path | None
    values: dict[str, Any]
    missing: Mapping[Location, str]

    @classmethod
    def read(
        cls, settings: type[BaseSettings], path: Path | None, overridden: Mapping[Location, str]
    ) -> "File":
        """Read the file; values that a variable overrides need not be complete.

        Raises:
            InvalidConfiguration: it cannot be read or is not TOML.
        """
        if path is None:
            return cls(None, {}, {})
        values = _toml(settings, path)
        missing = {
            location: fault
            for location, text in _texts(values, ())
            if location not in overridden and (fault := _reference_fault(text))
        }
        return cls(path, _filled(values), missing)


def _toml(settings: type[BaseSettings], path: Path) -> dict[str, Any]:
    try:
        path.open("rb").close()  # pydantic-settings takes a missing file for an empty one
        return TomlConfigSettingsSource(settings, path)()
    except OSError as error:
        fault = Fault(str(path), f"cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        fault = Fault(f"{path}: line {line}", "not UTF-8")
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"at line (\d+)", str(error))
        line = int(found[1]) if found else len(path.read_bytes().splitlines())
        fault = Fault(f"{path}: line {line}", f"not valid TOML: {error}")
    raise InvalidConfiguration([fault])


def _texts(value: Any, location: Location) -> Iterator[tuple[Location, str]]:
    if isinstance(value, str):
        yield location, value
    elif isinstance(value, dict):
        for key, child in value.items():
            yield from _texts(child, (*location, key))


def _reference_fault(text: str) -> str | None:
    absent = [name for name in _REFERENCE.findall(text) if name not in os.environ]
    if absent:
        return f"the environment has no {' and no '.join(absent)}"
    if "${" in _REFERENCE.sub("", text):
        return "after '${' the name of an environment variable and '}' must follow"
    return None


def _filled(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _filled(child) for key, child in value.items()}
    if isinstance(value, str):
        return _REFERENCE.sub(lambda found: os.environ.get(found[1], ""), value)
    return value


def faults(
    settings: type[BaseSettings],
    file: File,
    variables: Variables,
    error: ValidationError | None = None,
) -> list[Fault]:
    """Everything wrong with the configuration, each fault with its place."""

    def place(location: Location) -> str:
        if location in variables.names:
            return variables.names[location]
        return f"{file.path}: {_dotted(location)}" if file.path else _variable(location)

    return [
        *variables.faults,
        *(Fault(place(location), message) for location, message in file.missing.items()),
        *(
            Fault(place(details["loc"]), _message(settings, details))
            for details in (error.errors() if error else ())
            # One fault is told once: neither a value left unfilled nor a default that
            # follows from a wrong value is a second.
            if details["loc"] not in file.missing
            and details["type"] != "default_factory_not_called"
        ),
    ]


def _dotted(location: Location) -> str:
    parts = map(str, location)
    return ".".join(part if _BARE_KEY.fullmatch(part) else f'"{part}"' for part in parts)


def _message(settings: type[BaseSettings], details: ErrorDetails) -> str:
    match details["type"]:
        case "missing":
            return "is missing"
        case "extra_forbidden":
            return f"is not a setting; known here: {', '.join(_keys_beside(settings, details))}"
        case "model_type" | "dict_type":
            return "should be a table"
        case "value_error":
            return str(details["ctx"]["error"])
    message = details["msg"].removeprefix("Input ")
    return f"{message}, not {details['input']}" if details["type"] in _TELL_VALUE else message


def _keys_beside(settings: type[BaseSettings], details: ErrorDetails) -> list[str]:
    section, *rest = details["loc"]
    field = settings.model_fields[str(section)] if rest else None
    return list(_model(field).model_fields if field else settings.model_fields)
