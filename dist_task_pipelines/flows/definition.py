"""The shape of flow definitions and task definitions: keys, types and bounds.

What one part says about another (dependencies, placeholders, configs) is for `resolution`.
Unknown keys are refused; null stands for absent; no value is converted. Times are in
seconds.
"""

from collections import Counter
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.domain.status import Backoff, RetryStrategy
from dist_task_pipelines.flows.conversions import CONVERTERS
from dist_task_pipelines.flows.faults import listed

MAX_TASKS = 100  # Dagster keeps the snapshot of a job in 64 KB
DAY = 86_400

Timeout = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]
Interval = Annotated[float, Field(ge=0, le=30 * DAY, allow_inf_nan=False)]


class Spec(BaseModel):
    """What every part of a definition has in common."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {key: item for key, item in data.items() if item is not None or not cls._has(key)}

    @classmethod
    def _has(cls, key: str) -> bool:
        return key in cls.model_fields


class FieldSpec(Spec):
    """One declared parameter; `type` before `default`, which is checked against it."""

    name: Annotated[str, Field(min_length=1)]
    type: str
    required: bool = False
    default: Any = None
    description: str = ""

    @field_validator("type")
    @classmethod
    def _is_a_type(cls, value: str) -> str:
        if value not in CONVERTERS:
            raise ValueError(f"{value!r} is not a type; the types are: {listed(CONVERTERS)}")
        return value

    @field_validator("default")
    @classmethod
    def _fits_the_type(cls, value: Any, info: ValidationInfo) -> Any:
        if convert := CONVERTERS.get(info.data.get("type", "")):
            convert(value)
        return value


def _unique_names(fields: list[FieldSpec]) -> list[FieldSpec]:
    twice = [name for name, count in Counter(field.name for field in fields).items() if count > 1]
    if twice:
        raise ValueError(f"declared more than once: {listed(twice)}")
    return fields


InputFields = Annotated[list[FieldSpec], AfterValidator(_unique_names)]


class RetrySpec(Spec):
    """What to do when a task fails; what is absent comes from the next wider setting."""

    strategy: Annotated[RetryStrategy | None, Field(strict=False)] = None
    max_attempts: Annotated[int, Field(ge=0, le=1000)] | None = None
    interval: Interval | None = None
    backoff: Annotated[Backoff | None, Field(strict=False)] = None
    max_interval: Interval | None = None
    jitter: bool | None = None


class CallSpec(Spec):
    """What both a task and its task definition may say; the task's word goes first."""

    description: str = ""
    config: JsonObject = {}
    input_fields: InputFields | None = None  # None: any parameters
    retry: RetrySpec | None = None
    timeout: Timeout | None = None
    idempotent: bool | None = None


class TaskDefinitionSpec(CallSpec):
    """A reusable task: the type of its executor, its fields and its base config."""

    type: Annotated[str, Field(min_length=1)]


class TaskSpec(CallSpec):
    """A node of a flow."""

    id: str
    task_name: str
    depends_on: Annotated[list[str], Field(max_length=MAX_TASKS)] = []
    input_from: dict[str, str] = {}  # input field: JSONPath over the outputs upstream


class FlowSpec(Spec):
    """A flow: tasks and their dependencies."""

    name: str | None = None
    description: str = ""
    tasks: list[TaskSpec]
