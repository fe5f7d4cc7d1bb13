"""What the platform in memory keeps: flows, transactions, tasks, exceptions, log rows."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from dist_task_pipelines import schemas
from dist_task_pipelines.domain.flow import Flow
from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.domain.state import Grant, TaskState
from dist_task_pipelines.domain.status import Health, LogAction, TaskStatus, TransactionStatus
from dist_task_pipelines.flows.stored import split_stored


def now() -> datetime:
    """The present moment."""
    return datetime.now(UTC)


@dataclass(slots=True)
class FlowRow:
    """A version of a flow."""

    flow: Flow
    definition: JsonObject
    flow_type: str
    user: str
    description: str
    is_active: bool = True
    is_deleted: bool = False
    created_at: datetime = field(default_factory=now)
    updated_at: datetime = field(default_factory=now)
    updated_user: str = ""

    def view(self, *, with_definition: bool) -> schemas.FlowVersion:
        """As the API shows it."""
        return schemas.FlowVersion(
            flow_id=self.flow.id,
            name=self.flow.name,
            version=self.flow.version,
            description=self.description,
            flow_type=self.flow_type,
            **(split_stored(self.definition) if with_definition else {}),
            is_active=self.is_active,
            created_at=self.created_at,
            updated_at=self.updated_at,
            create_user=self.user,
            updated_user=self.updated_user,
        )


@dataclass(slots=True)
class TaskRow:
    """A task of a transaction."""

    status: TaskStatus = TaskStatus.PENDING
    grant: Grant | None = None
    handled: bool = False
    attempts: int = 0
    retry_times: int = 0  # automatic ones
    outcome: Outcome | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None

    @property
    def state(self) -> TaskState:
        """As the rules of a transaction's life take it."""
        error = self.outcome.error if self.outcome else None
        text = error.message if error else ""
        return TaskState(self.status, self.grant, self.handled, text, self.attempts)


@dataclass(slots=True)
class TransactionRow:
    """A transaction."""

    id: str
    reference: str  # the flow as it was named
    flow: Flow
    params: JsonObject
    request_hash: str
    tasks: dict[str, TaskRow]
    status: TransactionStatus = TransactionStatus.PENDING
    health: Health = Health.HEALTHY
    error_message: str | None = None
    created_at: datetime = field(default_factory=now)
    started_at: datetime | None = None
    completed_at: datetime | None = None
    logs: list[schemas.LogEntry] = field(default_factory=list)

    def log(
        self,
        action: LogAction,
        message: str,
        task_id: str | None = None,
        attempt: int | None = None,
    ) -> None:
        """Write a row of the execution log."""
        entry = schemas.LogEntry(
            task_id=task_id,
            action=action,
            message=message,
            details=None,
            run_id=None,
            attempt=attempt,
            created_at=now(),
        )
        self.logs.append(entry)

    def accepted(self) -> schemas.Accepted:
        """As a submit is answered."""
        return schemas.Accepted(
            instance_id=self.id,
            flow_id=self.flow.id,
            status=self.status,
            created_at=self.created_at,
        )

    def view(self, *, whole: bool) -> schemas.Transaction:
        """As the API shows it: whole, or as a line of a list."""
        return schemas.Transaction(
            instance_id=self.id,
            flow_id=self.flow.id,
            status=self.status,
            health=self.health,
            params=self.params if whole else None,
            run_id=None,
            run_url=None,
            error_message=self.error_message,
            created_at=self.created_at,
            started_at=self.started_at,
            completed_at=self.completed_at,
            tasks=self.task_views() if whole else None,
        )

    def task_views(self) -> list[schemas.TaskView]:
        """Its tasks, in the flow's order."""
        return [_task_view(self, task.id) for task in self.flow.tasks]


@dataclass(slots=True)
class ExceptionRow:
    """A task that needs a retry or a person."""

    id: int
    transaction: TransactionRow
    task_id: str
    fingerprint: str
    handled_by: str | None = None
    handled_at: datetime | None = None
    remark: str | None = None
    occurred_at: datetime = field(default_factory=now)
    outcome: Outcome = field(default_factory=Outcome)

    @property
    def is_handled(self) -> bool:
        """Whether it is settled."""
        return self.handled_by is not None

    def view(self) -> schemas.ExceptionView:
        """As the API shows it."""
        task = self.transaction.flow.by_id[self.task_id]
        row = self.transaction.tasks[self.task_id]
        error = self.outcome.error
        assert error
        return schemas.ExceptionView(
            exception_id=self.id,
            instance_id=self.transaction.id,
            flow_id=self.transaction.flow.id,
            task_id=self.task_id,
            task_name=task.name,
            error_type=error.type,
            error_code=error.code,
            message=error.message,
            stack=error.stack,
            fingerprint=self.fingerprint,
            retry_strategy=task.retry.strategy,
            retry_times=row.retry_times,
            retry_max=task.retry.max_attempts,
            retry_interval=task.retry.interval,
            retry_next_at=row.grant.due_at if row.grant and not self.is_handled else None,
            handled=self.is_handled,
            handled_by=self.handled_by,
            handled_at=self.handled_at,
            handled_remark=self.remark,
            occurred_at=self.occurred_at,
        )


def _task_view(transaction: TransactionRow, task_id: str) -> schemas.TaskView:
    task, row = transaction.flow.by_id[task_id], transaction.tasks[task_id]
    outcome = row.outcome
    error = outcome.error if outcome else None
    shown = error and schemas.TaskErrorView(
        type=error.type, code=error.code or None, message=error.message
    )
    return schemas.TaskView(
        task_id=task_id,
        task_name=task.name,
        type=task.type,
        status=row.status,
        attempts=row.attempts,
        next_retry_at=row.grant.due_at if row.grant else None,
        input=None,
        output=outcome.output if outcome and outcome.succeeded else None,
        applied=outcome.applied if outcome else None,
        error=shown,
        started_at=row.started_at,
        completed_at=row.completed_at,
    )
