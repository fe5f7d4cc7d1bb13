"""A flow version as the engine runs it: tasks, dependencies and everything they need.

Built from a stored definition, which was validated when it was created; nothing here
validates again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from dist_task_pipelines.domain.json import JsonObject, JsonValue
from dist_task_pipelines.domain.status import Backoff, RetryStrategy


@dataclass(frozen=True, slots=True)
class RetrySettings:
    """What to do when a task fails. Times are in seconds."""

    strategy: RetryStrategy = RetryStrategy.MANUAL
    max_attempts: int = 3  # automatic retries after the first call
    interval: float = 60
    backoff: Backoff = Backoff.FIXED
    max_interval: float = 3600  # the longest wait, a participant's Retry-After included
    jitter: bool = False  # wait a random part (half to all) of the interval


@dataclass(frozen=True, slots=True)
class InputField:
    """One declared parameter of a task."""

    name: str
    type: str
    required: bool = False
    default: JsonValue = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class Task:
    """A node of a flow, its task definition merged in."""

    id: str
    name: str  # of the task definition
    type: str  # of the executor: http, rpc, mq, db, or a third party's
    description: str = ""
    depends_on: tuple[str, ...] = ()
    config: JsonObject = field(default_factory=dict)
    input_fields: tuple[InputField, ...] | None = None  # None: any parameters
    input_from: Mapping[str, str] = field(default_factory=dict)  # input field: JSONPath
    retry: RetrySettings = RetrySettings()
    timeout: float = 30  # seconds, for one call
    idempotent: bool = True


@dataclass(frozen=True)
class Flow:
    """One version of a flow."""

    id: str
    name: str
    version: int
    description: str
    tasks: tuple[Task, ...]  # in the order of the definition

    @cached_property
    def by_id(self) -> dict[str, Task]:
        """The tasks by their id."""
        return {task.id: task for task in self.tasks}

    @cached_property
    def leading_on(self) -> frozenset[str]:
        """The tasks whose success alone lets another task be called."""
        return frozenset(task.depends_on[0] for task in self.tasks if len(task.depends_on) == 1)
