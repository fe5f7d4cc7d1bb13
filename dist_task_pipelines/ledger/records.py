"""The values that go into the ledger and come out of it; all frozen."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypedDict

from dist_task_pipelines.domain.errors import Conflict
from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.domain.outcome import Outcome, TaskError
from dist_task_pipelines.domain.retry import Verdict
from dist_task_pipelines.domain.state import Grant, TaskState
from dist_task_pipelines.domain.status import (
    Applied,
    Health,
    LogAction,
    RetryStrategy,
    TaskStatus,
    TransactionStatus,
)


@dataclass(frozen=True, slots=True)
class FlowSummary:
    """One version of a flow, as lists give it."""

    id: str
    name: str
    version: int
    description: str
    flow_type: str
    is_active: bool
    created_at: datetime
    updated_at: datetime
    create_user: str
    updated_user: str


@dataclass(frozen=True, slots=True)
class FlowRecord(FlowSummary):
    """One version of a flow, as stored."""

    definition: JsonObject


@dataclass(frozen=True, slots=True)
class Submission:
    """A request to run a flow: what a caller sent, checked but nothing resolved in it.

    Attributes:
        id: the transaction id, the caller's idempotency key.
        flow_id: the flow version that it will run.
        request_hash: equal for equal requests; see `domain.keys`.
        encoded: the params as `domain.json` writes them, where the caller has done so.
        delay: seconds before the dispatcher may pick it up by itself.
    """

    id: str
    flow_id: str
    params: JsonObject
    request_hash: str
    encoded: str | None = None
    delay: float = 0


@dataclass(frozen=True, slots=True)
class TransactionSummary:
    """One transaction as lists give it."""

    seq: int
    id: str
    flow_id: str
    status: TransactionStatus
    health: Health
    batch_id: int | None
    run_id: str | None
    next_due_at: datetime | None
    lease_losses: int
    cancel_requested: bool
    error_message: str | None
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    completed_at: datetime | None


@dataclass(frozen=True, slots=True)
class TransactionRecord(TransactionSummary):
    """One transaction with all that its caller sent."""

    params: JsonObject
    request_hash: str

    def check_same(self, request_hash: str) -> None:
        """Refuse a request that this transaction does not stand for.

        Raises:
            Conflict: it stands for another one.
        """
        if self.request_hash != request_hash:
            raise Conflict(
                f"transaction {self.id!r} exists with another flow or other params; an id stands "
                "for one request"
            )


class TransactionFilter(TypedDict, total=False):
    """Which transactions a list holds; what is absent or None does not restrict it."""

    status: TransactionStatus | None
    health: Health | None
    flow_id: str | None
    since: datetime | None  # created then or later
    until: datetime | None  # created before


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """One task of one transaction; one that never started has `attempts` 0."""

    task_id: str
    name: str
    type: str
    status: TaskStatus
    attempts: int = 0
    grant: Grant | None = None
    output_data: JsonObject | None = None
    input_data: JsonObject | None = None
    applied: Applied | None = None
    error_type: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One row of the execution log; `task_id` is None where it is about the transaction."""

    task_id: str | None
    action: LogAction
    message: str
    details: JsonObject | None
    run_id: str | None
    attempt: int | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class RefusedMessage:
    """A message that can never become a transaction.

    Attributes:
        id: the broker's, the same each time that it delivers the message.
        flow_id: the flow that it names, as far as it can be read.
        source: the message: its topic and its body.
    """

    id: str
    flow_id: str
    error: TaskError
    source: JsonObject


@dataclass(frozen=True, slots=True)
class ExceptionRecord:
    """A task that needs a retry or a person; or a message that became no transaction.

    Attributes:
        transaction_id: None for a message; its `task_id` and `task_name` are empty.
        source: the message: its topic, its id and its body; None in lists.
    """

    id: int
    transaction_id: str | None
    task_id: str
    flow_id: str
    task_name: str
    error_type: str
    error_code: str
    message: str
    stack: str
    fingerprint: str
    retry_strategy: RetryStrategy
    retry_times: int
    retry_max: int
    retry_interval: float
    retry_next_at: datetime | None
    handled: bool
    handled_by: str | None
    handled_at: datetime | None
    handled_remark: str | None
    occurred_at: datetime
    source: JsonObject | None = None


class ExceptionFilter(TypedDict, total=False):
    """Which exceptions a list holds; what is absent or None does not restrict it."""

    handled: bool | None
    flow_id: str | None
    task_name: str | None
    fingerprint: str | None
    transaction_id: str | None


@dataclass(frozen=True, slots=True)
class ActionRecord:
    """One row of the audit trail."""

    actor: str
    action: str
    target: str
    reason: str
    before: JsonObject
    after: JsonObject
    created_at: datetime


@dataclass(frozen=True, slots=True)
class DispatchLimits:
    """How much may be in flight. A batch is bounded in transactions and in bytes of params."""

    max_batch: int = 500
    max_batch_bytes: int = 4_000_000
    max_runs_in_flight: int = 8
    max_runs_in_flight_per_flow: int = 6
    start_timeout: float = 300  # seconds a dispatched batch may wait for its run to start


@dataclass(frozen=True, slots=True)
class ToDo:
    """What a look finds that a dispatcher should see to."""

    due: bool  # some transaction may be called
    unattended: bool  # some batch lost its worker, or no worker came to take it


@dataclass(frozen=True, slots=True)
class DispatchedBatch:
    """A batch that waits for a run to take it."""

    id: int
    flow_id: str
    size: int
    transaction_id: str | None  # of a batch of one
    parent_run_id: str | None  # of a batch of one: the run that carried it before
    dispatched_at: datetime
    run_id: str | None = None  # the only run that may take it; None: any may


@dataclass(frozen=True, slots=True)
class Member:
    """A transaction as the run that owns it sees it."""

    seq: int
    id: str
    params: JsonObject


@dataclass(frozen=True, slots=True)
class Batch:
    """The transactions that one run owns, and until when.

    A batch is taken at most once, so its id is the fencing token: whoever writes for batch
    7 writes only to transactions that still name batch 7 as their owner.
    """

    id: int
    flow_id: str
    run_id: str
    members: tuple[Member, ...]
    left_alone: tuple["LeftAlone", ...] = ()


@dataclass(frozen=True, slots=True)
class LeftAlone:
    """A transaction that a re-executed run may not touch, and why."""

    transaction_id: str
    reason: str


class BatchEnd(StrEnum):
    """Why a batch ended."""

    DONE = "done"  # its run came to its end
    ERROR = "error"  # its run broke down: counts as a lost lease
    HANDED_BACK = "handed_back"  # its worker was shut down
    STOPPED = "stopped"  # a person terminated its run
    LOST = "lost"  # its lease ran out
    SUPERSEDED = "superseded"  # no run took it in time


@dataclass(frozen=True, slots=True)
class WorkerRecord:
    """A process that executes runs."""

    name: str
    host: str
    pid: int
    runs: int  # that it executes at this moment
    started_at: datetime
    last_seen_at: datetime


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A task of a member, with what the next attempt needs."""

    state: TaskState
    retry_times: int = 0  # automatic retries granted so far
    request: JsonObject | None = None
    output: JsonObject | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """An attempt that is about to begin. `request` is what the first attempt froze."""

    seq: int
    idempotency_key: str
    request: JsonObject | None
    input_data: JsonObject | None


@dataclass(frozen=True, slots=True)
class Finish:
    """An attempt that ended."""

    seq: int
    outcome: Outcome
    verdict: Verdict
