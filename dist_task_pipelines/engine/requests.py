"""Which transactions of a batch a task may be called for, and what each call will send.

Pure: rows in, attempts out. A request is made once, for the first attempt; every later one
repeats it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from dist_task_pipelines.domain.errors import InvalidInput
from dist_task_pipelines.domain.flow import Flow, Task
from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.domain.keys import idempotency_key
from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.domain.state import NOT_STARTED, may_be_called
from dist_task_pipelines.domain.status import Applied
from dist_task_pipelines.executors.base import unforeseen
from dist_task_pipelines.flows import task_config, task_input
from dist_task_pipelines.ledger.records import Batch, Member, TaskRow

TaskRows = Mapping[str, TaskRow]  # by task id; a task that never started is absent


@dataclass(frozen=True, slots=True)
class Attempt:
    """A call that is about to be made, or that cannot be: then `refusal` says why.

    Attributes:
        retry_times: automatic retries granted since the task's exception was opened.
        request: the task's `config` and `input`, secrets not filled in.
    """

    member: Member
    key: str
    retry_times: int = 0
    request: JsonObject | None = None
    refusal: Outcome | None = None

    @property
    def input(self) -> JsonObject | None:
        """The task's input, where the request could be made."""
        return self.request["input"] if self.request else None


@dataclass(frozen=True, slots=True)
class Partition:
    """The members of a batch, as a task finds them.

    Attributes:
        ready: may be called now.
        passed: ended well before.
        waiting: neither; the task failed before or waits for others.
    """

    ready: list[Member] = field(default_factory=list)
    passed: list[Member] = field(default_factory=list)
    waiting: list[Member] = field(default_factory=list)


def partition(
    flow: Flow, task: Task, batch: Batch, loaded: Mapping[int, TaskRows], now: datetime
) -> Partition:
    """Sort those members of the batch that it still owns, which are those loaded."""
    members = Partition()
    for member in batch.members:
        if member.seq not in loaded:
            continue
        states = {name: row.state for name, row in loaded[member.seq].items()}
        if may_be_called(flow, task.id, states, now):
            members.ready.append(member)
        elif states.get(task.id, NOT_STARTED).status.lets_downstream_run:
            members.passed.append(member)
        elif task.id in states:
            members.waiting.append(member)
    return members


def prepare(task: Task, member: Member, rows: TaskRows) -> Attempt:
    """The attempt with its request: the one frozen before, or a new one of params and outputs."""
    row = rows.get(task.id, TaskRow(NOT_STARTED))
    attempt = Attempt(member, idempotency_key(member.id, task.id), row.retry_times, row.request)
    if attempt.request is not None:
        return attempt
    outputs = {name: row.output for name, row in rows.items() if row.output is not None}
    try:
        input = task_input(task, member.params, outputs)
        config = task_config(task, input, outputs)
    except InvalidInput as error:
        return replace(attempt, refusal=refused(error))
    except Exception as error:  # what one transaction holds must not take its batch down
        return replace(attempt, refusal=unforeseen(error, Applied.NO))
    return replace(attempt, request={"config": config, "input": input})


def refused(error: InvalidInput) -> Outcome:
    """The outcome of an attempt whose request could not be made."""
    return Outcome.failure(
        type(error).__name__,
        "; ".join(str(fault) for fault in error.faults),
        retryable=False,
        applied=Applied.NO,
    )
