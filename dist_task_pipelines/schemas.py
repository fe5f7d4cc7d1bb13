"""The shapes of REST: what each call takes and answers, for the server and for clients.

Requests refuse unknown fields and convert nothing. Answers may gain fields, which a client
ignores. An error's status is given here too. Imports neither FastAPI nor Dagster.
"""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, Generic, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer

from dist_task_pipelines.domain.counts import COUNTED_AT_MOST
from dist_task_pipelines.domain.errors import (
    Conflict,
    DistTaskError,
    InvalidInput,
    LedgerUnavailable,
    NotAllowed,
    NotFound,
    RowRefused,
    TooLarge,
    WrongMediaType,
    by_class,
)
from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.domain.status import (
    Applied,
    Health,
    LogAction,
    RetryStrategy,
    TaskStatus,
    TransactionStatus,
)

MAX_BATCH = 1000  # transactions in one request
MAX_PAGE_SIZE = 500
DEFAULT_PAGE_SIZE = 20
MAX_PAGED_ROWS = 10_000  # rows that `page` reaches; a cursor goes on
STATUS_OF: dict[type[DistTaskError], int] = {  # the nearest class of the error's counts
    InvalidInput: 400,
    NotAllowed: 400,
    RowRefused: 400,
    NotFound: 404,
    Conflict: 409,
    TooLarge: 413,
    WrongMediaType: 415,
    LedgerUnavailable: 503,
    DistTaskError: 500,
}

FLOW_ID = "order_flow_v1"
TRANSACTION_ID = "order_001"
RUN_ID = "6f0c4f2e-5c0b-4b55-9c3a-0e8a5a6f9d10"
TIME = "2026-03-01T09:30:00.123456Z"
PARAMS: JsonObject = {"deduct": {"user_id": "u1", "amount": 99, "order_id": TRANSACTION_ID}}
DEFINITION: JsonObject = {
    "description": "charge the account",
    "tasks": [
        {
            "id": "deduct",
            "task_name": "deduct",
            "retry": {"strategy": "auto", "max_attempts": 3, "interval": 5},
        }
    ],
}


@lru_cache(maxsize=256)  # those of a list or of a batch are often the same
def text_of(moment: datetime) -> str:
    """RFC 3339 in UTC, always with microseconds."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


Time = Annotated[
    AwareDatetime,
    PlainSerializer(text_of, return_type=str),
    Field(examples=[TIME]),
]
T = TypeVar("T")


def _absent(value: object) -> bool:
    return value is None


class Request(BaseModel):
    """A request's body: unknown fields and wrong types are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Answer(BaseModel):
    """An answer, or a part of one."""

    model_config = ConfigDict(frozen=True)


class Envelope(Answer, Generic[T]):
    """Around every answer."""

    code: int = Field(0, description="0, or the HTTP status of an error")
    message: str = "success"
    data: T


class FaultView(Answer):
    """One thing wrong with a request."""

    path: str = Field(description="where", examples=["tasks[0].config.url"])
    message: str = Field(description="what", examples=["is required"])


class Faults(Answer):
    """Everything wrong with a request."""

    errors: list[FaultView]


class ErrorEnvelope(Answer):
    """Around every error."""

    code: int = Field(description="the HTTP status", examples=[400])
    message: str = Field(examples=["invalid request, 1 fault:\n  instance_id: is required"])
    data: Faults | None = Field(None, description="each fault with its place, if there are any")


class Pagination(Answer):
    """The place of a page in the whole list."""

    page: int | None = Field(description="from 1; null for a page reached by cursor")
    page_size: int
    page_size_is_capped: bool = Field(
        False, description=f"a larger page_size was asked for than {MAX_PAGE_SIZE}"
    )
    total: int = Field(description=f"counted up to {COUNTED_AT_MOST:,}")
    total_is_capped: bool = Field(description="there are more than `total`")
    next_cursor: str | None = Field(description="for the next page; null on the last one")


class Page(Answer, Generic[T]):
    """A part of a list."""

    list: list[T]
    pagination: Pagination


class FlowCreate(Request):
    """A flow's first or next version."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "order_flow",
                    "flow_type": "order",
                    "definition": DEFINITION,
                    "create_user": "ann",
                }
            ]
        }
    )

    name: str = Field(description="letters, digits, '_' and '-', beginning with a letter")
    definition: JsonObject | str = Field(description="a JSON object, or the same as a string")
    flow_type: str = Field("", max_length=50, description="a label chosen by the caller")
    create_user: str = Field("", max_length=100, description="who; by default X-Actor")
    description: str | None = Field(None, description="by default the definition's")


class FlowUpdate(Request):
    """The next version of an existing flow, of the same `flow_type` if none is given."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"definition": DEFINITION}]})

    definition: JsonObject | str = Field(description="a JSON object, or the same as a string")
    flow_type: str | None = Field(None, max_length=50)
    updated_user: str = Field("", max_length=100, description="who; by default X-Actor")
    description: str | None = Field(None, description="by default the definition's")


class FlowVersion(Answer):
    """One version of a flow."""

    flow_id: str = Field(examples=[FLOW_ID])
    name: str = Field(examples=["order_flow"])
    version: int = Field(examples=[1])
    description: str
    flow_type: str
    definition: JsonObject | None = Field(
        None, exclude_if=_absent, description="as it was sent; absent in lists"
    )
    task_definitions: JsonObject | None = Field(
        None, exclude_if=_absent, description="those its tasks name, as of its creation"
    )
    default_retry: JsonObject | None = Field(
        None, exclude_if=_absent, description="for tasks that set none"
    )
    is_active: bool = Field(description="whether it takes new transactions")
    created_at: Time
    updated_at: Time
    create_user: str
    updated_user: str


class FlowDeleted(Answer):
    """A version is withdrawn."""

    flow_id: str = Field(examples=[FLOW_ID])
    deleted: bool = True


class TaskDefinition(Answer):
    """A reusable task that flows may name."""

    name: str = Field(examples=["deduct"])
    type: str = Field(examples=["rpc"])
    description: str
    config: JsonObject = Field(description="what every task of this name begins with")
    input_fields: list[JsonObject] | None = Field(description="null: any parameters")
    retry: JsonObject | None = None
    timeout: float | None = Field(None, description="seconds")
    idempotent: bool | None = None


class Submit(Request):
    """A transaction to run."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"instance_id": TRANSACTION_ID, "flow_id": "order_flow", "params": PARAMS}]
        }
    )

    instance_id: str = Field(
        description="the idempotency key, which stands for one request: 1 to 128 characters, no "
        "white space at either end, no control characters"
    )
    flow_id: str = Field(description="a flow id, or a flow's name for its newest active version")
    params: JsonObject | None = Field(None, description="by task id, or by task name")


class SubmitBatch(Request):
    """Transactions to run, accepted in one commit."""

    transactions: list[Submit] = Field(max_length=MAX_BATCH)


class Accepted(Answer):
    """A transaction after a submit."""

    instance_id: str = Field(examples=[TRANSACTION_ID])
    flow_id: str = Field(examples=[FLOW_ID])
    status: TransactionStatus
    created_at: Time


class SubmitResult(Answer):
    """The result of one transaction of a batch: the answer it would have had alone."""

    instance_id: str = Field(examples=[TRANSACTION_ID])
    code: int = Field(description="0, or the HTTP status of the error", examples=[0])
    message: str = "success"
    data: Accepted | Faults | None = None


class SubmitResults(Answer):
    """The result of each transaction of a batch, in the order they were sent."""

    accepted: int
    refused: int
    results: list[SubmitResult]


class TaskErrorView(Answer):
    """Why a task failed."""

    type: str = Field(examples=["HttpStatus"])
    code: str | None = Field(description="the participant's own", examples=["404"])
    message: str | None


class TaskView(Answer):
    """One task of a transaction; one that never started has `attempts` 0."""

    task_id: str = Field(examples=["deduct"])
    task_name: str
    type: str = Field(examples=["rpc"])
    status: TaskStatus
    attempts: int
    next_retry_at: Time | None = Field(description="when it will be called again")
    input: JsonObject | None
    output: JsonObject | None
    applied: Applied | None = Field(description="whether the last call took effect")
    error: TaskErrorView | None
    started_at: Time | None
    completed_at: Time | None


class Transaction(Answer):
    """One execution of one flow version."""

    instance_id: str = Field(examples=[TRANSACTION_ID])
    flow_id: str = Field(examples=[FLOW_ID])
    status: TransactionStatus
    health: Health
    params: JsonObject | None = Field(
        None, exclude_if=_absent, description="as sent; absent in lists"
    )
    run_id: str | None = Field(description="the Dagster run that carried it last")
    run_url: str | None = Field(description="that run's page", examples=[f"/runs/{RUN_ID}"])
    error_message: str | None
    created_at: Time
    started_at: Time | None
    completed_at: Time | None
    tasks: list[TaskView] | None = Field(
        None, exclude_if=_absent, description="in the flow's order; absent in lists"
    )


class LogEntry(Answer):
    """One row of a transaction's execution log."""

    task_id: str | None = Field(description="null: about the transaction itself")
    action: LogAction
    message: str
    details: JsonObject | None
    run_id: str | None
    attempt: int | None
    created_at: Time


class Reason(Request):
    """Why a person does something; kept in the audit trail."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "account topped up"}]})

    reason: str = ""


class Retried(Answer):
    """A failed transaction goes on."""

    instance_id: str = Field(examples=[TRANSACTION_ID])
    status: TransactionStatus
    tasks: list[str] = Field(
        description="the tasks that will be called once more", examples=[["deduct"]]
    )


class Cancelled(Answer):
    """`cancelled`, or `running` where it is honoured before the next task (202)."""

    instance_id: str = Field(examples=[TRANSACTION_ID])
    status: TransactionStatus


class ExceptionView(Answer):
    """A task that needs a retry or a person."""

    exception_id: int = Field(examples=[7])
    instance_id: str | None = Field(examples=[TRANSACTION_ID])
    flow_id: str = Field(examples=[FLOW_ID])
    task_id: str
    task_name: str
    error_type: str
    error_code: str
    message: str
    stack: str
    fingerprint: str = Field(description="equal for exceptions with one cause")
    retry_strategy: RetryStrategy
    retry_times: int = Field(description="automatic retries granted so far")
    retry_max: int
    retry_interval: float = Field(description="seconds")
    retry_next_at: Time | None
    handled: bool
    handled_by: str | None
    handled_at: Time | None
    handled_remark: str | None
    occurred_at: Time
    source: JsonObject | None = Field(
        None,
        description="the message that became no transaction: its topic, message_id "
        "and body, or body_base64 if it is not text; lists leave it out",
    )


class Handle(Request):
    """How a person settled an exception; kept in the audit trail."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"remark": "refunded by hand"}]})

    remark: str = ""


class Handled(Answer):
    """An exception is settled; its task is not called again."""

    exception_id: int = Field(examples=[7])
    handled: bool = True


class RetryScheduled(Answer):
    """The task of an exception will be called once more."""

    exception_id: int = Field(examples=[7])
    retry_scheduled: bool = True
    retry_next_at: Time


class Settled(Answer):
    """The transactions settled since a given time; one that was retried settles again."""

    since: Time
    success: int
    failed: int
    cancelled: int
    success_rate: float | None = Field(
        description="of those that succeeded or failed, 0 to 1; null if there are none",
        examples=[0.96],
    )
    p50_seconds: float | None = Field(description="median from accepted to settled")
    p95_seconds: float | None


class Numbers(Answer):
    """How transactions stand."""

    total: int = Field(description="all transactions")
    by_status: dict[str, int] = Field(examples=[{"success": 48, "failed": 2}])
    capped: list[str] = Field(
        default=[],
        description=f"the counts that stop at {COUNTED_AT_MOST:,} because there are more",
        examples=[["by_status.failed", "total"]],
    )
    success_rate: float | None = Field(description="today's, as `today.success_rate`")
    p50_seconds: float | None = Field(description="today's")
    p95_seconds: float | None = Field(description="today's")
    exceptions_open: int
    exceptions_today: int = Field(description="since midnight UTC")
    backlog: int = Field(description="transactions that wait for a run")
    backlog_age_seconds: float | None = Field(description="of the one that waits longest")
    runs_in_flight: int = 0
    today: Settled | None = None
    last_hour: Settled | None = None


class FlowStats(Numbers):
    """The numbers of one flow version."""

    flow_id: str = Field(examples=[FLOW_ID])


class Overview(Numbers):
    """The numbers of all flows."""

    flows: int = Field(description="active versions")


class PartHealth(Answer):
    """The state of one part of the platform."""

    ok: bool
    message: str = ""


class WorkersHealth(PartHealth):
    """The state of the workers, and the batches they hold."""

    alive: int = Field(0, description="workers that sent a heartbeat recently")
    runs_in_flight: int = 0
    expired_leases: int = 0


class HealthReport(Answer):
    """The state of the platform."""

    status: str = Field(description="ok, degraded or unavailable", examples=["ok"])
    version: str
    database: PartHealth
    workers: WorkersHealth
    daemon: PartHealth


def error(code: int, message: str, faults: Any = ()) -> ErrorEnvelope:
    """The envelope of an error; `faults` have a path and a message."""
    views = [FaultView(path=fault.path, message=fault.message) for fault in faults]
    return ErrorEnvelope(code=code, message=message, data=Faults(errors=views) if views else None)


def status_of(failure: DistTaskError) -> int:
    """The HTTP status of an error."""
    status = by_class(STATUS_OF, failure)
    assert status, "every error is a DistTaskError, which is in the table"
    return status
