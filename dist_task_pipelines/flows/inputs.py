"""What a task is called with: its input and its config, made when the task starts.

Both are made once, before the first attempt, and frozen. Knows nothing of secrets except
how to leave their placeholders in place.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from dist_task_pipelines.domain.errors import Fault, InvalidParams
from dist_task_pipelines.domain.flow import Task
from dist_task_pipelines.domain.json import JsonObject, JsonValue
from dist_task_pipelines.flows.faults import join, shown
from dist_task_pipelines.flows.outputs import (
    MISSING,
    Outputs,
    UnresolvedError,
    check_readable,
    output_path,
)
from dist_task_pipelines.flows.parameters import task_params, typed
from dist_task_pipelines.flows.placeholders import (
    FORMS,
    Placeholder,
    Source,
    escaped,
    has_syntax,
    placeholders,
    template,
    texts,
    written,
)
from dist_task_pipelines.flows.urls import URL_PATH, encoded


def task_input(task: Task, params: JsonObject, outputs: Outputs) -> JsonObject:
    """The task's input: its params, then what `input_from` finds, then defaults, converted.

    Args:
        params: of the whole transaction, as `check_params` accepted them.
        outputs: of the tasks upstream, by id; a skipped task has none.

    A field that the params give is not looked for. What `input_from` does not find is a
    fault, unless the field is declared and optional or has a default.

    Raises:
        InvalidParams: every fault, with paths such as `input.amount`.
    """
    faults: list[Fault] = []
    own = task_params(task, params)
    given = {**own, **_found(task, own, outputs, faults)}
    if task.input_fields is not None:
        given = typed(task.input_fields, given, "input", faults, supplied=task.input_from)
    if faults:
        raise InvalidParams(faults)
    return given


def task_config(task: Task, input: JsonObject, outputs: Outputs) -> JsonObject:
    """The task's config with every placeholder filled in except secrets.

    The result still follows the grammar of `placeholders`: text that was filled in is
    escaped, and `secrets.fill_secrets` gives it its final form.

    Raises:
        InvalidParams: every placeholder that has no value, or one that cannot stand inside
            a longer string, with paths such as `config.url`.
    """
    values = _Values(input, outputs)
    try:
        return {
            key: _filled(item, values, join("config", key)) for key, item in task.config.items()
        }
    except UnresolvedError:
        raise InvalidParams(list(_unfilled(task.config, values))) from None


def outputs_read(task: Task) -> frozenset[str]:
    """The tasks whose outputs its input or its config is made of."""
    by_path = (output_path(path).tasks for path in task.input_from.values())
    by_placeholder = (
        placeholder.task
        for _, text in texts(task.config, "config")
        for placeholder in placeholders(text)
        if placeholder.source is Source.OUTPUT
    )
    return frozenset(by_placeholder).union(*by_path)


@dataclass(frozen=True, slots=True)
class _Values:
    input: JsonObject
    outputs: Outputs

    def of(self, placeholder: Placeholder) -> JsonValue:
        """The value that the placeholder stands for."""
        value: JsonValue = self.input
        if placeholder.source is Source.OUTPUT:
            value = self._output(placeholder)
        elif placeholder.source is not Source.INPUT:
            raise UnresolvedError(f"{placeholder.written} is none of {FORMS}")
        for key in placeholder.path:
            if not isinstance(value, dict) or key not in value:
                raise UnresolvedError(f"{placeholder.written} has no value: there is no {key!r}")
            value = value[key]
        return value

    def _output(self, placeholder: Placeholder) -> JsonObject:
        task = placeholder.task
        if task not in self.outputs:
            raise UnresolvedError(f"{placeholder.written} has no value: {task!r} has no output")
        check_readable(self.outputs, task)
        return self.outputs[task]


def _found(task: Task, params: JsonObject, outputs: Outputs, faults: list[Fault]) -> JsonObject:
    """What `input_from` finds for the fields that the params leave open."""
    result: JsonObject = {}
    for name, path in task.input_from.items():
        if params.get(name) is not None:
            continue
        try:
            value = output_path(path).find(outputs)
        except UnresolvedError as error:
            faults.append(Fault(join("input", name), str(error)))
            continue
        if value is not MISSING and (value is not None or task.input_fields is None):
            result[name] = value
        elif _is_needed(task, name):
            faults.append(Fault(join("input", name), f"{path} found no value"))
    return result


def _is_needed(task: Task, name: str) -> bool:
    """Whether the task cannot do without the field; an open input needs what it names."""
    if task.input_fields is None:
        return True
    field = next(field for field in task.input_fields if field.name == name)
    return field.required and field.default is None


def _filled(value: JsonValue, values: _Values, path: str) -> JsonValue:
    if isinstance(value, str):
        return _filled_text(value, values, path) if has_syntax(value) else value
    if isinstance(value, dict):
        return {key: _filled(item, values, join(path, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, values, join(path, index)) for index, item in enumerate(value)]
    return value


def _filled_text(text: str, values: _Values, path: str) -> JsonValue:
    pieces = template(text)
    if len(pieces) > 1:
        return written(_part(piece, values, path, index) for index, piece in enumerate(pieces))
    value = _value(pieces[0], values, alone=True)
    return value.written if isinstance(value, Placeholder) else escaped(value)


def _part(piece: str | Placeholder, values: _Values, path: str, index: int) -> str | Placeholder:
    """What takes the place of a piece of a longer string."""
    if isinstance(piece, str) or piece.source is Source.SECRET:
        return piece
    value: str = _value(piece, values, alone=False)
    if path != URL_PATH or index == 0:
        return value
    try:
        return encoded(value)
    except ValueError as error:
        raise UnresolvedError(f"{piece.written} {error}") from None


def _value(piece: str | Placeholder, values: _Values, *, alone: bool) -> JsonValue:
    """What takes the piece's place: of any type when it stands alone, else a string."""
    if isinstance(piece, str) or piece.source is Source.SECRET:
        return piece
    value = values.of(piece)
    if alone or isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return json.dumps(value)
    raise UnresolvedError(
        f"{piece.written} is {shown(value)}, which cannot stand inside a longer string"
    )


def _unfilled(config: JsonObject, values: _Values) -> Iterator[Fault]:
    """A fault for each placeholder of the config that cannot be filled in."""
    for path, text in texts(config, "config"):
        pieces = template(text)
        for index, piece in enumerate(pieces):
            try:
                if len(pieces) == 1:
                    _value(piece, values, alone=True)
                else:
                    _part(piece, values, path, index)
            except UnresolvedError as error:
                yield Fault(path, str(error))
