"""Secrets: filled into a config when the call is made, and taken out of whatever comes back.

Knows nothing of where secrets are kept: callers pass a lookup.
"""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache

from dist_task_pipelines.domain.errors import Fault, InvalidConfiguration
from dist_task_pipelines.domain.json import JsonObject, JsonValue
from dist_task_pipelines.flows.faults import join
from dist_task_pipelines.flows.placeholders import Placeholder, Source, has_syntax, parse
from dist_task_pipelines.flows.urls import URL_PATH, encoded

REDACTED = "[redacted]"

Lookup = Callable[[str], str | None]  # by name; None: there is no such secret


def fill_secrets(
    config: JsonObject, lookup: Lookup, *, advice: str = ""
) -> tuple[JsonObject, set[str]]:
    """The config in its final form, and the values of the secrets now in it.

    Takes what `inputs.task_config` made. Undoes its escapes; a secret's own text is not
    looked into.

    Args:
        advice: what to do about a secret that there is not; `{name}` stands for its name.

    Raises:
        InvalidConfiguration: every secret that there is not.
    """
    filling = _Filling(lookup, advice)
    filled = {key: filling.value(item, (key,)) for key, item in config.items()}
    if filling.faults:
        raise InvalidConfiguration(filling.faults)
    return filled, filling.used


def redact(value: JsonValue, secrets: Iterable[str]) -> JsonValue:
    """The JSON value with each secret, wherever a string or a key holds it, as `[redacted]`."""
    pattern = _pattern(frozenset(secrets))
    return _redacted(value, pattern) if pattern else value


@lru_cache(maxsize=256)
def _pattern(secrets: frozenset[str]) -> re.Pattern[str] | None:
    longest_first = sorted(filter(None, secrets), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None


class _Filling:
    """One pass over one config: what it used and what it missed."""

    def __init__(self, lookup: Lookup, advice: str) -> None:
        self._lookup = lookup
        self._advice = advice
        self.used: set[str] = set()
        self.faults: list[Fault] = []

    def value(self, value: JsonValue, path: tuple[str | int, ...]) -> JsonValue:
        if isinstance(value, str):
            return self._text(value, join("config", *path)) if has_syntax(value) else value
        if isinstance(value, dict):
            return {key: self.value(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self.value(item, (*path, index)) for index, item in enumerate(value)]
        return value

    def _text(self, text: str, path: str) -> str:
        return "".join(
            self._part(piece, path, index) if isinstance(piece, Placeholder) else piece
            for index, piece in enumerate(parse(text))
        )

    def _part(self, placeholder: Placeholder, path: str, index: int) -> str:
        secret = self._secret(placeholder, path)
        if path != URL_PATH or index == 0:
            return secret
        try:
            return encoded(secret)
        except ValueError:  # which would repeat it
            self.faults.append(Fault(path, f"{placeholder.written} cannot stand in a URL"))
            return ""

    def _secret(self, placeholder: Placeholder, path: str) -> str:
        if placeholder.source is not Source.SECRET:
            self.faults.append(Fault(path, f"{placeholder.written} was not filled in"))
            return ""
        name = placeholder.path[0]
        secret = self._lookup(name)
        if secret is None:
            advice = self._advice.format(name=name)
            self.faults.append(Fault(path, f"there is no secret {name!r}{advice}"))
            return ""
        self.used.add(secret)
        return secret


def _redacted(value: JsonValue, pattern: re.Pattern[str]) -> JsonValue:
    if isinstance(value, str):
        return pattern.sub(REDACTED, value)
    if isinstance(value, list):
        return [_redacted(item, pattern) for item in value]
    if isinstance(value, dict):
        return _redacted_object(value, pattern)
    return value


def _redacted_object(value: JsonObject, pattern: re.Pattern[str]) -> JsonObject:
    result: JsonObject = {}
    for key, item in value.items():
        name = pattern.sub(REDACTED, key)
        while name in result:  # two keys that differ in their secrets only: keep both
            name += "'"
        result[name] = _redacted(item, pattern)
    return result
