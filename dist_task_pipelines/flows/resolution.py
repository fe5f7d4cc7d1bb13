"""Turning a definition as somebody wrote it into the one that the ledger keeps.

The stored form holds the task definitions it uses, so a version needs nothing else.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic_core import ErrorDetails

from dist_task_pipelines.domain import json
from dist_task_pipelines.domain.errors import Fault, InvalidDefinition, InvalidJson
from dist_task_pipelines.domain.ids import flow_name_fault
from dist_task_pipelines.domain.json import JsonObject, JsonValue
from dist_task_pipelines.flows.catalog import Catalog
from dist_task_pipelines.flows.checks import ConfigModels, Subject, id_faults, task_faults
from dist_task_pipelines.flows.definition import MAX_TASKS, FlowSpec
from dist_task_pipelines.flows.faults import errors_of, faults_of, join, listed, not_json, shown
from dist_task_pipelines.flows.graph import (
    Edges,
    cycle_faults,
    dependency_faults,
    edges_of,
    upstream_of,
)
from dist_task_pipelines.flows.stored import TASK_DEFINITIONS


def resolve_definition(
    definition: JsonObject | str, *, name: str, catalog: Catalog, config_models: ConfigModels
) -> JsonObject:
    """The definition as given, with its `name` and the `task_definitions` that it uses.

    Args:
        definition: an object, or the JSON text of one.
        name: the flow's.
        catalog: the task definitions there are.
        config_models: what a task's config must fit, by the executor's type.

    Raises:
        InvalidDefinition: every fault, with paths such as `tasks[1].depends_on[0]`.
    """
    given = _as_object(definition)
    count = len(given["tasks"]) if isinstance(given.get("tasks"), list) else None
    faults = [*_name_faults(name, given.get("name")), *_count_faults(count)]
    if count is None or count <= MAX_TASKS:
        errors = errors_of(FlowSpec, given)
        faults += faults_of(errors, "", FlowSpec)
        faults += _cross_faults(_drafts(given.get("tasks"), errors), catalog, config_models)
    if faults:
        raise InvalidDefinition(faults)
    used = dict.fromkeys(task["task_name"] for task in given["tasks"])
    definitions = {task_name: catalog.definitions[task_name] for task_name in used}
    return {**given, "name": name, TASK_DEFINITIONS: definitions}


def _as_object(definition: JsonValue) -> JsonObject:
    try:
        value = json.loads(definition) if isinstance(definition, str) else definition
        json.check_depth(value)
    except InvalidJson as error:
        raise InvalidDefinition(error.faults) from None
    if faults := list(not_json(value, "")):
        raise InvalidDefinition(faults)
    if not isinstance(value, dict):
        raise InvalidDefinition([Fault("", f"must be a JSON object, not {shown(value)}")])
    return value


def _name_faults(name: str, inner: JsonValue) -> Iterator[Fault]:
    if fault := flow_name_fault(name):
        yield Fault("name", f"{name!r} {fault}")
    if isinstance(inner, str) and inner != name:
        yield Fault("name", f"is {inner!r} here, but the flow's is {name!r}; they must be equal")


def _count_faults(count: int | None) -> Iterator[Fault]:
    if count == 0:
        yield Fault("tasks", "a flow needs at least one task")
    elif count is not None and count > MAX_TASKS:
        yield Fault("tasks", f"are {count}, the most is {MAX_TASKS}")


@dataclass(frozen=True, slots=True)
class _Draft:
    """What of a task has the right shape, so that it can be checked whatever the rest is."""

    task: JsonObject
    lost: set[str]  # keys that were left out


def _drafts(tasks: JsonValue, errors: Sequence[ErrorDetails]) -> list[_Draft]:
    if not isinstance(tasks, list):
        return []
    drafts = [_Draft(dict(task) if isinstance(task, dict) else {}, set()) for task in tasks]
    for error in errors:
        match error["loc"]:
            case ("tasks", int(index), ("input_from" | "retry") as key, str(inner)):
                kept = drafts[index].task[key]
                drafts[index].task[key] = {k: v for k, v in kept.items() if k != inner}
            case ("tasks", int(index), str(key), *_):
                drafts[index].task.pop(key, None)
                drafts[index].lost.add(key)
    return drafts


def _cross_faults(drafts: list[_Draft], catalog: Catalog, models: ConfigModels) -> Iterator[Fault]:
    """What is wrong between the tasks, and between each and its task definition."""
    tasks = [draft.task for draft in drafts]
    yield from id_faults(tasks)
    yield from dependency_faults(tasks)
    yield from cycle_faults(tasks)
    yield from _task_name_faults(tasks, catalog)
    for subject in _subjects(drafts, edges_of(tasks), catalog):
        yield from task_faults(subject, models)


def _task_name_faults(tasks: Sequence[JsonObject], catalog: Catalog) -> Iterator[Fault]:
    for index, task in enumerate(tasks):
        name = task.get("task_name")
        if name is not None and name not in catalog.definitions:
            known = listed(sorted(catalog.definitions))
            path = join("tasks", index, "task_name")
            yield Fault(path, f"there is no task definition {name!r}; there are: {known}")


def _subjects(drafts: list[_Draft], edges: Edges, catalog: Catalog) -> Iterator[Subject]:
    unsure = {draft.task.get("id") for draft in drafts if "depends_on" in draft.lost}
    for index, draft in enumerate(drafts):
        task = draft.task
        definition = catalog.definitions.get(task.get("task_name", ""), {})
        upstream = upstream_of(task.get("depends_on") or (), edges)
        is_sure = "depends_on" not in draft.lost and not upstream & unsure
        yield Subject(
            path=join("tasks", index),
            task=task,
            definition=definition,
            fields=_fields(draft, definition),
            ids=edges.keys(),
            upstream=upstream if is_sure else None,
        )


def _fields(draft: _Draft, definition: JsonObject) -> list[str] | None:
    """The names of the task's input fields; None when it takes any, or they are in doubt."""
    fields = draft.task.get("input_fields")
    if fields is None:
        fields = definition.get("input_fields")
    if fields is None or "input_fields" in draft.lost:
        return None
    return [field["name"] for field in fields]
