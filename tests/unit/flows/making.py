"""What the tests of flows build: models of configs, tasks, flows, and faults to compare."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from dist_task_pipelines.domain.errors import InvalidInput
from dist_task_pipelines.domain.flow import Flow, InputField, Task
from dist_task_pipelines.domain.json import JsonObject


class Config(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class CallConfig(Config):
    """A config with a field of each kind."""

    service: str
    method: Literal["deduct", "refund"] = "deduct"
    retries: int = 0
    headers: dict[str, str] = {}
    rows: list[int] = []
    body: Any = Field(default=None, alias="json")


class OpenConfig(BaseModel):
    model_config = ConfigDict(extra="allow")


MODELS: Mapping[str, type[BaseModel]] = {"call": CallConfig, "open": OpenConfig}


def task(id: str = "deduct", **options: Any) -> Task:
    options.setdefault("name", id)
    return Task(id=id, type="open", **options)


def flow(*tasks: Task) -> Flow:
    return Flow(id="pay_v1", name="pay", version=1, description="", tasks=tasks)


def fields(*fields: InputField) -> dict[str, Any]:
    return {"input_fields": fields}


def faults_of(
    kind: type[InvalidInput], call: Callable[..., object], *args: Any, **options: Any
) -> list[tuple[str, str]]:
    """The path and message of each fault that the call raises."""
    with pytest.raises(kind) as raised:
        call(*args, **options)
    return [(fault.path, fault.message) for fault in raised.value.faults]


def nested(levels: int) -> JsonObject:
    value: JsonObject = {}
    for _ in range(levels):
        value = {"in": value}
    return value
