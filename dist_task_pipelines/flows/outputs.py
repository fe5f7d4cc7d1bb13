"""Reading the outputs of upstream tasks: by task, and by JSONPath for `input_from`.

A JSONPath follows RFC 9535 strictly, begins with a task (`$.deduct.receipt_no`) and has no
regular expressions, whose time nobody can bound. One that can find a single value gives
that value; any other gives the list of what it finds.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from jsonpath import JSONPath, JSONPathEnvironment, JSONPathError
from jsonpath.filter import RootFilterQuery, walk
from jsonpath.segments import JSONPathChildSegment
from jsonpath.selectors import Filter, NameSelector

from dist_task_pipelines.domain.json import JsonObject, JsonValue

Outputs = Mapping[str, JsonObject]  # by task id; a task without an output is absent

MISSING: Final = object()


class UnresolvedError(ValueError):
    """A reference has no value; the message names it and says why."""


def check_readable(outputs: Outputs, task: str) -> None:
    """Refuse an output that the executor could not keep.

    Executors write `{"unreadable": "<why>"}` in place of a reply that was too large or not
    in a form they read.

    Raises:
        UnresolvedError: it is such an output.
    """
    output = outputs.get(task, {})
    if output.keys() == {"unreadable"}:
        raise UnresolvedError(f"the output of {task!r} could not be kept: {output['unreadable']}")


@dataclass(frozen=True, slots=True)
class OutputPath:
    """A compiled JSONPath over outputs.

    Attributes:
        tasks: the tasks whose outputs it reads.
        single: whether it can find one value only.
    """

    text: str
    tasks: frozenset[str]
    single: bool
    path: JSONPath

    def find(self, outputs: Outputs) -> JsonValue:
        """What it finds; MISSING when a single value is not there.

        Raises:
            UnresolvedError: an output could not be kept, or cannot be searched.
        """
        for task in self.tasks:
            check_readable(outputs, task)
        try:
            found = self.path.findall({t: outputs[t] for t in self.tasks if t in outputs})
        except JSONPathError as error:
            raise UnresolvedError(f"{self.text} cannot be evaluated: {_reason(error)}") from None
        if not self.single:
            return found
        return found[0] if found else MISSING


@lru_cache(maxsize=4096)
def output_path(text: str) -> OutputPath:
    """Compile the JSONPath.

    Raises:
        ValueError: it is not a JSONPath, or does not begin with a task.
    """
    try:
        path = _ENVIRONMENT.compile(text)
    except JSONPathError as error:
        raise ValueError(f"{text!r} is not a JSONPath: {_reason(error)}") from None
    assert isinstance(path, JSONPath)  # a strict environment makes nothing else
    tasks = frozenset(_first_name(query, text) for query in _queries(path))
    return OutputPath(text, tasks, path.singular_query(), path)


def _environment() -> JSONPathEnvironment:
    environment = JSONPathEnvironment(strict=True)
    for name in ("match", "search"):
        del environment.function_extensions[name]
    return environment


_ENVIRONMENT = _environment()


def _queries(path: JSONPath) -> Iterator[JSONPath]:
    """The path itself and every path from the root inside its filters."""
    yield path
    for segment in path.segments:
        for selector in segment.selectors:
            if isinstance(selector, Filter):
                nodes = walk(selector.expression)
                yield from (node.path for node in nodes if isinstance(node, RootFilterQuery))


def _first_name(path: JSONPath, text: str) -> str:
    match path.segments:
        case (JSONPathChildSegment(selectors=(NameSelector(name=name),)), *_):
            return name
    raise ValueError(f"{text!r} must begin with a task, as in $.deduct.receipt_no")


def _reason(error: JSONPathError) -> str:
    # str(error) draws a picture over several lines, and fails at the end of the text
    where = error.token.index if error.token else -1
    return f"{error.message}, at column {where + 1}" if where >= 0 else str(error.message)
