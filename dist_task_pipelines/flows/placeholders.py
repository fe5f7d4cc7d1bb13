"""The grammar of placeholders in a definition's strings.

`${input.x.y}`, `${tasks.<id>.output.x.y}` and `${secret.NAME}` stand for values. Before a
`{`, two dollars stand for one: `$${` is the text `${`, and `$$${input.x}` is a dollar
followed by the value. Elsewhere a dollar is a dollar.

The same grammar holds for a config between the two times it is filled in: inputs and
outputs first, secrets when the call is made. Whatever is filled in first is escaped, so
nothing that a caller or a participant sent can become a placeholder. Keys of objects are
never looked into.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from dist_task_pipelines.domain.json import JsonValue
from dist_task_pipelines.flows.faults import join

FORMS = "${input.x}, ${tasks.<id>.output.x} and ${secret.NAME}"

# Each begins only where a run of dollars does, so that a long run costs linear time.
_TOKEN = re.compile(
    r"(?<!\$)(?P<pairs>(?:\$\$)*+)(?:(?P<written>\$\{(?P<body>[^{}]*)(?P<end>\}?))|(?<=\$)\{)"
)
_DOLLARS = re.compile(r"(?<!\$)\$++(?=\{)")
_DOLLARS_OR_LAST = re.compile(r"(?<!\$)\$++(?=\{|\Z)")
_SECRET_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Source(Enum):
    """Where the value of a placeholder comes from."""

    INPUT = "input"
    OUTPUT = "output"
    SECRET = "secret"
    UNKNOWN = "unknown"  # it has none of the known forms


@dataclass(frozen=True, slots=True)
class Placeholder:
    """One placeholder.

    Attributes:
        written: the whole of it, as in `${tasks.deduct.output.x}`.
        task: the task whose output it takes; empty for other sources.
        path: the keys to follow; of a secret, its name.
    """

    written: str
    source: Source
    path: tuple[str, ...] = ()
    task: str = ""


Template = tuple[str | Placeholder, ...]


def has_syntax(text: str) -> bool:
    """Whether the text can hold a placeholder or an escape at all."""
    return "${" in text


def parse(text: str) -> Template:
    """The text's literal parts, escapes undone, and its placeholders, in order."""
    pieces: list[str | Placeholder] = []
    literal, position = "", 0
    for token in _TOKEN.finditer(text):
        literal += text[position : token.start()] + token["pairs"][::2]
        position = token.end()
        if token["written"] is None:
            literal += "{"
            continue
        pieces += [literal, _placeholder(token)] if literal else [_placeholder(token)]
        literal = ""
    literal += text[position:]
    return (*pieces, literal) if literal or not pieces else tuple(pieces)


@lru_cache(maxsize=4096)
def template(text: str) -> Template:
    """`parse`, remembered: for the strings of definitions, which come again and again."""
    return parse(text)


def placeholders(text: str) -> list[Placeholder]:
    """The placeholders in the text."""
    return [piece for piece in parse(text) if isinstance(piece, Placeholder)]


def texts(value: JsonValue, path: str) -> Iterator[tuple[str, str]]:
    """Every string in a JSON value that the grammar can concern, with its path."""
    if isinstance(value, str):
        if has_syntax(value):
            yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from texts(item, join(path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from texts(item, join(path, index))


def keys_with_syntax(value: JsonValue, path: str) -> Iterator[str]:
    """The path of every key in a JSON value that looks as if it held a placeholder."""
    if isinstance(value, dict):
        yield from (join(path, key) for key in value if has_syntax(key))
        for key, item in value.items():
            yield from keys_with_syntax(item, join(path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from keys_with_syntax(item, join(path, index))


def escaped(value: JsonValue) -> JsonValue:
    """The value written so that parsing gives it back: its strings hold no placeholder."""
    if isinstance(value, str):
        return _doubled(value) if has_syntax(value) else value
    if isinstance(value, dict):
        return {key: escaped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [escaped(item) for item in value]
    return value


def written(pieces: Iterable[str | Placeholder]) -> str:
    """The text that parses into these pieces; adjacent literals count as one."""
    text, literal = "", ""
    for piece in pieces:
        if isinstance(piece, str):
            literal += piece
        else:
            text += _DOLLARS_OR_LAST.sub(_twice, literal) + piece.written
            literal = ""
    return text + _doubled(literal)


def _doubled(literal: str) -> str:
    return _DOLLARS.sub(_twice, literal)


def _twice(match: re.Match[str]) -> str:
    return match[0] * 2


def _placeholder(token: re.Match[str]) -> Placeholder:
    text = token["written"]
    parts = token["body"].split(".") if token["end"] else []
    match parts:
        case ["input", *path] if path and all(path):
            return Placeholder(text, Source.INPUT, tuple(path))
        case ["tasks", task, "output", *path] if task and path and all(path):
            return Placeholder(text, Source.OUTPUT, tuple(path), task)
        case ["secret", name] if _SECRET_NAME.fullmatch(name):
            return Placeholder(text, Source.SECRET, (name,))
    return Placeholder(text, Source.UNKNOWN)
