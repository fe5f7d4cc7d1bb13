"""The task definitions that flows may name, as `configs/tasks.toml` holds them."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import BaseModel

from dist_task_pipelines.domain.errors import Fault, InvalidJson, InvalidTaskDefinition
from dist_task_pipelines.domain.json import JsonObject, JsonValue, check_depth
from dist_task_pipelines.flows.checks import (
    ConfigModels,
    config_errors,
    form_faults,
    no_executor,
    retry_faults,
    timeout_faults,
)
from dist_task_pipelines.flows.definition import TaskDefinitionSpec
from dist_task_pipelines.flows.faults import errors_of, faults_of, join, not_json, shown

NAME_LENGTH = 100

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True)
class Catalog:
    """Task definitions by name.

    Each is `{type, description, config, input_fields}`, with `retry`, `timeout` and
    `idempotent` where it says so; `input_fields` is None for one that takes any parameters.
    """

    definitions: Mapping[str, JsonObject]

    @classmethod
    def load(cls, path: Path, config_models: ConfigModels | None = None) -> Self:
        """Read a TOML file of tables `[tasks.<name>]`.

        Args:
            path: of the file.
            config_models: by the executor's type; when given, types and base configs are
                checked against them.

        Raises:
            InvalidTaskDefinition: every fault, with paths such as
                `tasks.deduct.input_fields[0].type`.
        """
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            fault = Fault(str(path), f"cannot be read: {error.strerror}")
            raise InvalidTaskDefinition([fault]) from None
        except ValueError as error:
            fault = Fault(str(path), f"is not valid TOML: {error}")
            raise InvalidTaskDefinition([fault]) from None
        return cls.parse(content, config_models)

    @classmethod
    def parse(cls, content: JsonObject, config_models: ConfigModels | None = None) -> Self:
        """Make a catalog of `{"tasks": {name: definition}}`; faults as in `load`.

        Raises:
            InvalidTaskDefinition: every fault.
        """
        if faults := list(_faults(content, config_models)):
            raise InvalidTaskDefinition(faults)
        tasks = content.get("tasks", {})
        return cls({name: _stored(definition) for name, definition in tasks.items()})


def _stored(definition: JsonObject) -> JsonObject:
    always: JsonObject = {"description": "", "config": {}, "input_fields": None}
    said = {key: value for key, value in definition.items() if value is not None}
    return {"type": said["type"], **always, **said}


def _faults(content: JsonObject, models: ConfigModels | None) -> Iterator[Fault]:
    try:
        check_depth(content)
    except InvalidJson as error:
        yield from error.faults
        return
    yield from not_json(content, "")
    yield from (
        Fault(join("", key), "unknown key; known here: tasks") for key in content.keys() - {"tasks"}
    )
    tasks = content.get("tasks", {})
    if not isinstance(tasks, dict):
        yield Fault("tasks", f"must be a table, not {shown(tasks)}")
        return
    for name, definition in tasks.items():
        yield from _name_faults(name)
        yield from _definition_faults(definition, join("tasks", name), models)


def _name_faults(name: str) -> Iterator[Fault]:
    if not _NAME.fullmatch(name) or len(name) > NAME_LENGTH:
        yield Fault(
            join("tasks", name),
            "the name must begin with a letter, hold only letters, digits, '_', '.' and '-', "
            f"and have at most {NAME_LENGTH} characters",
        )


def _definition_faults(
    definition: JsonValue, path: str, models: ConfigModels | None
) -> Iterator[Fault]:
    yield from faults_of(errors_of(TaskDefinitionSpec, definition), path, TaskDefinitionSpec)
    if not isinstance(definition, dict):
        return
    if isinstance(retry := definition.get("retry"), dict):
        yield from retry_faults(retry, join(path, "retry"))
    config = definition.get("config")
    if isinstance(config, dict):
        yield from timeout_faults(config, join(path, "config"))
        yield from form_faults(config, join(path, "config"))
    type = definition.get("type")
    if models is None or not isinstance(type, str):
        return
    if type not in models:
        yield Fault(join(path, "type"), no_executor(type, models))
    elif isinstance(config, dict):
        yield from _base_config_faults(models[type], config, join(path, "config"))


def _base_config_faults(model: type[BaseModel], config: JsonObject, path: str) -> Iterator[Fault]:
    """What is wrong whatever a flow adds; what is only missing, it may add."""
    for error in config_errors(model, config):
        if error["loc"] and not (error["type"] == "missing" and len(error["loc"]) == 1):
            yield from faults_of([error], path, model)
