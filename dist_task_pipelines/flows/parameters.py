"""The parameters of a transaction: checked when it is submitted, never changed.

A key of the params is a task's id, or a task definition's name for all tasks of that name
that have none by id. A key that would be read as the one task's id and another's name is
refused. null and absent are the same.
"""

from collections.abc import Container, Iterable, Iterator

from dist_task_pipelines.domain.errors import Fault, InvalidParams
from dist_task_pipelines.domain.flow import Flow, InputField, Task
from dist_task_pipelines.domain.json import JsonObject, JsonValue
from dist_task_pipelines.flows.conversions import CONVERTERS
from dist_task_pipelines.flows.faults import join, listed, shown


def convert(field: InputField, value: JsonValue) -> JsonValue:
    """The value as the field's type.

    Raises:
        InvalidParams: it cannot become that type without loss.
    """
    try:
        return CONVERTERS[field.type](value)
    except ValueError as error:
        raise InvalidParams([Fault(field.name, str(error))]) from None


def check_params(flow: Flow, params: JsonValue) -> None:
    """Check the params of a transaction as far as they are known when it is submitted.

    Raises:
        InvalidParams: every fault, with paths such as `params.deduct.amount`: keys that name
            no task, undeclared names, values that do not fit their type, and required fields
            that neither the params nor an `input_from` supplies.
    """
    if params is None:
        params = {}
    if not isinstance(params, dict):
        raise InvalidParams([Fault("params", f"must be an object, not {shown(params)}")])
    faults = [*_unknown_keys(flow, params)]
    for task in flow.tasks:
        _check_task(flow, task, params, faults)
    if faults:
        raise InvalidParams(list(dict.fromkeys(faults)))  # tasks of one name share their params


def task_params(task: Task, params: JsonObject) -> JsonObject:
    """The task's own part of a transaction's params."""
    key = _key(task, params)
    return {} if key is None else params[key]


def typed(
    fields: Iterable[InputField],
    given: JsonObject,
    path: str,
    faults: list[Fault],
    supplied: Container[str] = (),
) -> JsonObject:
    """The given values converted, in their order, then defaults; faults go to the list.

    `supplied` names fields that may be absent although required.
    """
    declared = {field.name: field for field in fields}
    result: JsonObject = {}
    for name, value in given.items():
        field = declared.get(name)
        if field is None:
            known = listed(declared)
            faults.append(Fault(join(path, name), f"is not declared; the fields are: {known}"))
        elif value is not None:
            _put(result, field, value, path, faults)
    for field in declared.values():
        if given.get(field.name) is not None:
            continue
        if field.default is not None:
            _put(result, field, field.default, path, faults)
        elif field.required and field.name not in supplied:
            faults.append(Fault(join(path, field.name), f"is required (type {field.type})"))
    return result


def _put(
    result: JsonObject, field: InputField, value: JsonValue, path: str, faults: list[Fault]
) -> None:
    try:
        result[field.name] = CONVERTERS[field.type](value)
    except ValueError as error:
        faults.append(Fault(join(path, field.name), str(error)))


def _check_task(flow: Flow, task: Task, params: JsonObject, faults: list[Fault]) -> None:
    key = _key(task, params)
    given = {} if key is None else params[key]
    path = join("params", task.id if key is None else key)
    if key != task.id and key in flow.by_id:
        message = f"is the id of one task and the definition of {task.id!r}; key the latter by id"
        faults.append(Fault(path, message))
    elif not isinstance(given, dict):
        faults.append(Fault(path, f"must be an object, not {shown(given)}"))
    elif task.input_fields is not None:
        typed(task.input_fields, given, path, faults, supplied=task.input_from)


def _key(task: Task, params: JsonObject) -> str | None:
    """The key of the params that holds the task's: its id, else its definition's name."""
    return next((key for key in (task.id, task.name) if params.get(key) is not None), None)


def _unknown_keys(flow: Flow, params: JsonObject) -> Iterator[Fault]:
    for key in params:
        if key not in flow.by_id and all(key != task.name for task in flow.tasks):
            known = listed(flow.by_id)
            yield Fault(join("params", key), f"names no task of this flow; its tasks are: {known}")
