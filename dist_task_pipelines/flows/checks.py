"""What one task of a definition says, checked against its task definition and the flow."""

import keyword
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter
from pydantic_core import ErrorDetails

from dist_task_pipelines.domain.errors import Fault
from dist_task_pipelines.domain.json import JsonObject, JsonValue
from dist_task_pipelines.flows.definition import Timeout
from dist_task_pipelines.flows.faults import errors_of, faults_of, join, listed
from dist_task_pipelines.flows.outputs import output_path
from dist_task_pipelines.flows.placeholders import (
    FORMS,
    Placeholder,
    Source,
    keys_with_syntax,
    placeholders,
    texts,
)

ConfigModels = Mapping[str, type[BaseModel]]  # by type of executor

TASK_ID_LENGTH = 64
RESERVED_IDS = frozenset(
    {"arg_dict", "bool", "conf", "config", "context", "dict", "float", "input"}
    | {"input_arg_dict", "int", "meta", "output", "output_arg_dict", "str", "type"}
)
"""Words that Dagster refuses as the name of an op, beside Python's keywords."""

_TASK_ID = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_TIMEOUT: TypeAdapter[Any] = TypeAdapter(Timeout, config=ConfigDict(strict=True))


@dataclass(frozen=True, slots=True)
class Subject:
    """One task and what it is checked against.

    Attributes:
        path: where it stands: `tasks[1]`.
        task: as written, without the keys that have the wrong shape.
        definition: its task definition; empty when there is none of that name.
        fields: the names of its input fields; None when any will do.
        ids: of all tasks of the flow.
        upstream: the ids it may refer to; None when that cannot be told.
    """

    path: str
    task: JsonObject
    definition: JsonObject
    fields: Sequence[str] | None
    ids: Set[str]
    upstream: Set[str] | None

    def takes(self, field: str) -> bool:
        """Whether the task's input can hold the field."""
        return self.fields is None or field in self.fields


def task_faults(subject: Subject, models: ConfigModels) -> Iterator[Fault]:
    """Everything wrong with the task that its shape does not show."""
    base, own = subject.definition.get("retry") or {}, subject.task.get("retry") or {}
    yield from retry_faults({**base, **own}, join(subject.path, "retry"))
    yield from _input_from_faults(subject)
    if subject.definition:
        yield from _config_faults(subject, models)


def id_faults(tasks: Sequence[JsonObject]) -> Iterator[Fault]:
    """Malformed, reserved and repeated ids."""
    seen: dict[str, int] = {}
    for index, task in enumerate(tasks):
        if "id" not in task:
            continue
        path = join("tasks", index, "id")
        if fault := _id_fault(task["id"]):
            yield Fault(path, f"{task['id']!r} {fault}")
        if task["id"] in seen:
            yield Fault(path, f"{task['id']!r} is already the id of tasks[{seen[task['id']]}]")
        seen.setdefault(task["id"], index)


def _id_fault(id: str) -> str | None:
    if not _TASK_ID.fullmatch(id):
        return "must begin with a letter and hold only letters, digits and '_'"
    if len(id) > TASK_ID_LENGTH:
        return f"is {len(id)} characters long, the most is {TASK_ID_LENGTH}"
    if keyword.iskeyword(id) or id in RESERVED_IDS:
        return "is a reserved word; choose another id"
    return None


def retry_faults(retry: JsonObject, path: str) -> Iterator[Fault]:
    """A longest wait that is shorter than the wait it bounds."""
    match retry:
        case {"interval": int() | float() as wait, "max_interval": int() | float() as longest}:
            if longest < wait:
                message = f"is {longest} s, which is less than the interval of {wait} s"
                yield Fault(join(path, "max_interval"), message)


def _input_from_faults(subject: Subject) -> Iterator[Fault]:
    """Bad JSONPaths, tasks that are not upstream, and fields that are not declared."""
    for name, text in (subject.task.get("input_from") or {}).items():
        path = join(subject.path, "input_from", name)
        if not subject.takes(name):
            yield Fault(path, _undeclared(name, subject))
        try:
            tasks = output_path(text).tasks
        except ValueError as error:
            yield Fault(path, str(error))
        else:
            yield from (Fault(path, why) for task in sorted(tasks) for why in _far(subject, task))


def _config_faults(subject: Subject, models: ConfigModels) -> Iterator[Fault]:
    """Whatever is wrong with the task's config laid over its definition's."""
    path = join(subject.path, "config")
    base, own = subject.definition["config"], subject.task.get("config") or {}
    yield from timeout_faults(own, path)
    config = {**base, **own}
    for key, item in config.items():
        for fault in (*form_faults({key: item}, path), *_reference_faults(subject, key, item)):
            yield fault if key in own else _inherited(fault, subject)
    model = models.get(subject.definition["type"])
    if model is None:
        message = no_executor(subject.definition["type"], models)
        yield _inherited(Fault(join(subject.path, "task_name"), message), subject)
        return
    for error in config_errors(model, config):
        (fault,) = faults_of([error], path, model)
        key = error["loc"][0] if error["loc"] else None
        yield _inherited(fault, subject) if key in base and key not in own else fault


def form_faults(config: JsonObject, path: str) -> Iterator[Fault]:
    """Placeholders of no known form, or where none can stand."""
    for where, text in texts(config, path):
        for placeholder in placeholders(text):
            if placeholder.source is Source.UNKNOWN:
                written = placeholder.written
                message = f"{written} is none of {FORMS}; for the text itself write ${written}"
                yield Fault(where, message)
    for where in keys_with_syntax(config, path):
        yield Fault(where, "a key is taken as it is written: no placeholder can stand in it")


def no_executor(type: str, models: ConfigModels) -> str:
    """Says that nothing executes tasks of the type, and what there is."""
    return f"there is no executor of type {type!r}; there are: {listed(sorted(models))}"


def timeout_faults(config: JsonObject, path: str) -> list[Fault]:
    """What is wrong with a config's `timeout`, which every type of task takes."""
    if config.get("timeout") is None:
        return []
    return faults_of(errors_of(_TIMEOUT, config["timeout"]), join(path, "timeout"))


def config_errors(model: type[BaseModel], config: JsonObject) -> list[ErrorDetails]:
    """What does not fit the model.

    Leaves out `timeout`, which is not the model's, and what a placeholder may yet make fit.
    """
    its_own = {key: item for key, item in config.items() if key != "timeout"}
    return [error for error in errors_of(model, its_own) if not _is_open(error, its_own)]


def _is_open(error: ErrorDetails, config: JsonObject) -> bool:
    """Whether the error is about a string whose placeholders are not filled in yet."""
    if error["type"] == "extra_forbidden":
        return False
    value: JsonValue = config
    for key in error["loc"]:  # may name what pydantic tried, beside keys of the value
        if isinstance(value, dict) and key in value:
            value = value[key]
    return _holds_placeholder(value) or _holds_placeholder(error["input"])


def _holds_placeholder(value: JsonValue) -> bool:
    return isinstance(value, str) and bool(placeholders(value))


def _inherited(fault: Fault, subject: Subject) -> Fault:
    name = subject.task["task_name"]
    return Fault(fault.path, f"{fault.message} (from the task definition {name!r})")


def _reference_faults(subject: Subject, key: str, value: JsonValue) -> Iterator[Fault]:
    """Placeholders for what the task does not have."""
    for where, text in texts(value, join(subject.path, "config", key)):
        for placeholder in placeholders(text):
            for why in _unresolvable(subject, placeholder):
                yield Fault(where, f"{placeholder.written}: {why}")


def _unresolvable(subject: Subject, placeholder: Placeholder) -> Iterator[str]:
    if placeholder.source is Source.OUTPUT:
        yield from _far(subject, placeholder.task)
    elif placeholder.source is Source.INPUT and not subject.takes(placeholder.path[0]):
        yield _undeclared(placeholder.path[0], subject)


def _far(subject: Subject, task: str) -> Iterator[str]:
    """Why the task's output cannot be referred to."""
    if task not in subject.ids:
        yield f"there is no task {task!r}; the tasks are: {listed(subject.ids)}"
    elif subject.upstream is not None and task not in subject.upstream:
        yield f"{task!r} is not upstream; add it to depends_on"


def _undeclared(field: str, subject: Subject) -> str:
    return f"the input has no field {field!r}; the fields are: {listed(subject.fields or ())}"
