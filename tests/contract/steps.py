"""The steps that tests of the ledger are told in: a flow, submits, a batch, attempts."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from threading import Barrier, get_ident
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import event

from dist_task_pipelines.domain.flow import Flow, RetrySettings, Task
from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.domain.retry import Verdict
from dist_task_pipelines.domain.state import Grant
from dist_task_pipelines.domain.status import (
    Applied,
    GrantedBy,
    LogAction,
    RetryStrategy,
    TaskStatus,
    TransactionStatus,
)
from dist_task_pipelines.ledger import Ledger
from dist_task_pipelines.ledger.records import (
    ActionRecord,
    Batch,
    DispatchedBatch,
    DispatchLimits,
    ExceptionRecord,
    Finish,
    FlowRecord,
    Start,
    Submission,
    TaskRecord,
    TransactionRecord,
)

LEASE = 30.0  # seconds
TIMEOUT = 5.0  # seconds, of every task

R = TypeVar("R")


class SteppableClock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.moment = datetime(2030, 1, 31, 12, 0, 30, 123456, UTC)

    def now(self) -> datetime:
        """The present moment, aware, in UTC."""
        return self.moment

    def step(self, seconds: float) -> None:
        """Let time pass."""
        self.moment += timedelta(seconds=seconds)


def a_task(
    identifier: str,
    *after: str,
    strategy: RetryStrategy = RetryStrategy.MANUAL,
    idempotent: bool = True,
) -> Task:
    """A task that depends on the tasks `after`."""
    return Task(
        identifier,
        f"call {identifier}",
        "http",
        depends_on=after,
        retry=RetrySettings(strategy=strategy),
        timeout=TIMEOUT,
        idempotent=idempotent,
    )


def a_flow(ledger: Ledger, *tasks: Task, name: str = "payment") -> Flow:
    """A stored flow of these tasks; of `deduct` and then `notify` when there are none."""
    chosen = tasks or (a_task("deduct"), a_task("notify", "deduct"))
    record = ledger.flows.create(name=name, definition=definition(chosen))
    return ledger.flows.load(record.id)


def definition(tasks: Sequence[Task]) -> JsonObject:
    """The tasks as JSON; `build` reads it."""
    return {
        "tasks": [
            {
                "id": task.id,
                "after": list(task.depends_on),
                "strategy": task.retry.strategy,
                "idempotent": task.idempotent,
            }
            for task in tasks
        ]
    }


def build(record: FlowRecord) -> Flow:
    """The runnable flow of a stored version."""
    tasks = tuple(
        a_task(
            each["id"],
            *each["after"],
            strategy=RetryStrategy(each["strategy"]),
            idempotent=each["idempotent"],
        )
        for each in record.definition["tasks"]
    )
    return Flow(record.id, record.name, record.version, record.description, tasks)


def a_submission(identifier: str, flow: Flow, **fields: Any) -> Submission:
    """A request to run the flow."""
    return Submission(identifier, flow.id, **{"params": {}, "request_hash": "h", **fields})


def submit(ledger: Ledger, flow: Flow, *ids: str, **fields: Any) -> list[TransactionRecord]:
    """Transactions of the flow, accepted."""
    return ledger.transactions.add([a_submission(each, flow, **fields) for each in ids])


def dispatch(
    ledger: Ledger,
    *flows: Flow,
    status: TransactionStatus = TransactionStatus.PENDING,
    name_runs: bool = False,
    **limits: Any,
) -> list[DispatchedBatch]:
    """What the dispatcher makes of what is due; any number of runs unless `limits` say else."""
    runs = {"max_runs_in_flight": 100, "max_runs_in_flight_per_flow": 100}
    return ledger.dispatcher.dispatch(
        DispatchLimits(**{**runs, **limits}),
        status=status,
        flow_ids=[flow.id for flow in flows],
        name_runs=name_runs,
    )


def acquire(ledger: Ledger, dispatched: DispatchedBatch, run_id: str = "run-1") -> Batch:
    """The batch, taken by a run."""
    return ledger.batches.acquire(dispatched.id, run_id=run_id, worker="worker", lease=LEASE)


def adopt(ledger: Ledger, flow: Flow, *ids: str, run_id: str = "run-2") -> Batch:
    """The batch of a run that a person started over these transactions."""
    seqs = [ledger.transactions.get(each).seq for each in ids]
    return ledger.batches.adopt(
        flow.id, seqs, run_id=run_id, worker="worker", lease=LEASE, actor="ann"
    )


def take(ledger: Ledger, flow: Flow, *ids: str, run_id: str = "run-1") -> Batch:
    """A run's batch of these new transactions."""
    submit(ledger, flow, *ids)
    [dispatched] = dispatch(ledger, flow)
    assert dispatched.size == len(ids)
    return acquire(ledger, dispatched, run_id)


def take_again(ledger: Ledger, flow: Flow, run_id: str = "run-2") -> Batch:
    """A run's batch of the flow's transactions with something due again."""
    [dispatched] = dispatch(ledger, flow, status=TransactionStatus.RUNNING)
    return acquire(ledger, dispatched, run_id)


def seq_of(batch: Batch, transaction_id: str) -> int:
    """The member's seq."""
    return next(member.seq for member in batch.members if member.id == transaction_id)


def a_start(seq: int, request: JsonObject | None = None) -> Start:
    """An attempt about to begin."""
    return Start(seq, f"key-{seq}", request, None)


def start(ledger: Ledger, batch: Batch, task_id: str, *ids: str) -> set[str]:
    """Begin the task for these members (for all when none is named); gives those that may."""
    flow = ledger.flows.load(batch.flow_id)
    members = [member for member in batch.members if not ids or member.id in ids]
    free = ledger.attempts.start(
        batch, flow, flow.by_id[task_id], [a_start(each.seq) for each in members], lease=LEASE
    )
    return {member.id for member in batch.members if member.seq in free}


def finish(
    ledger: Ledger, batch: Batch, task_id: str, ends: dict[str, tuple[Outcome, Verdict]]
) -> set[str]:
    """Record these ends, by transaction id; gives those that were written."""
    flow = ledger.flows.load(batch.flow_id)
    finishes = [Finish(seq_of(batch, name), *end) for name, end in ends.items()]
    written = ledger.attempts.finish(batch, flow, flow.by_id[task_id], finishes)
    return {member.id for member in batch.members if member.seq in written}


def success(output: JsonObject | None = None) -> tuple[Outcome, Verdict]:
    """An end."""
    return Outcome.success(output or {"ok": True}), Verdict(TaskStatus.SUCCESS)


def failure(
    message: str = "no such account",
    *,
    type: str = "HttpStatus",
    retry_at: datetime | None = None,
    status: TaskStatus = TaskStatus.FAILED,
    applied: Applied = Applied.NO,
) -> tuple[Outcome, Verdict]:
    """An end, with an automatic retry at that time if one is given."""
    outcome = Outcome.failure(
        type, message, retryable=retry_at is not None, applied=applied, code="500", stack="stack"
    )
    return outcome, Verdict(status, Grant(GrantedBy.POLICY, retry_at) if retry_at else None)


def call(
    ledger: Ledger, batch: Batch, task_id: str, end: tuple[Outcome, Verdict], *ids: str
) -> None:
    """Start the task and record the same end, for these members (for all when none is named)."""
    started = start(ledger, batch, task_id, *ids)
    assert started, "nothing may be called"
    assert finish(ledger, batch, task_id, dict.fromkeys(started, end)) == started


def a_failed_transaction(ledger: Ledger, flow: Flow, identifier: str) -> ExceptionRecord:
    """A transaction whose first task failed; its exception."""
    call(ledger, take(ledger, flow, identifier), flow.tasks[0].id, failure())
    assert status_of(ledger, identifier) == TransactionStatus.FAILED
    return the_exception(ledger, identifier)


def status_of(ledger: Ledger, transaction_id: str) -> TransactionStatus:
    """Where the transaction stands."""
    return ledger.transactions.get(transaction_id).status


def task_of(ledger: Ledger, transaction_id: str, task_id: str) -> TaskRecord:
    """The task of the transaction."""
    tasks = ledger.transactions.tasks(transaction_id)
    return next(task for task in tasks if task.task_id == task_id)


def actions_of(ledger: Ledger, transaction_id: str) -> list[LogAction]:
    """What the execution log tells of the transaction, in order."""
    return [row.action for row in ledger.transactions.logs(transaction_id)]


def the_exception(ledger: Ledger, transaction_id: str) -> ExceptionRecord:
    """The only exception record of the transaction."""
    [record] = ledger.exceptions.page(transaction_id=transaction_id)
    return record


def ask(ledger: Ledger, statement: str, **values: Any) -> list[tuple[Any, ...]]:
    """What the database answers."""
    with ledger.database.read() as connection:
        return [tuple(row) for row in connection.execute(sa.text(statement), values)]


def together(*calls: Callable[[], R]) -> list[R | Exception]:
    """Make the calls at the same moment, each on a thread; their results or errors."""
    barrier = Barrier(len(calls))

    def go(one: Callable[[], R]) -> R | Exception:
        barrier.wait()
        try:
            return one()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(go, calls))


@contextmanager
def meeting(ledger: Ledger, statement: str, number: int) -> Iterator[None]:
    """In the block, so many threads each wait for the others before their first such statement."""
    barrier = Barrier(number, timeout=60)
    met: set[int] = set()

    def wait(*arguments: Any) -> None:
        if arguments[2].startswith(statement) and get_ident() not in met:
            met.add(get_ident())
            barrier.wait()

    event.listen(ledger.database.engine, "before_cursor_execute", wait)
    yield
    event.remove(ledger.database.engine, "before_cursor_execute", wait)
    assert len(met) == number


def audited(ledger: Ledger) -> list[ActionRecord]:
    """The audit trail, newest first, without what was done to flows."""
    return [row for row in ledger.audit.page() if not row.target.startswith("flow:")]
