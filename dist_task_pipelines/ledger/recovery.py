"""What becomes of tasks that their run did not get to the end of."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from dist_task_pipelines.domain.flow import Flow, Task
from dist_task_pipelines.domain.keys import idempotency_key
from dist_task_pipelines.domain.outcome import TaskError
from dist_task_pipelines.domain.state import Grant, TaskState, due_at
from dist_task_pipelines.domain.status import Applied, GrantedBy, LogAction, TaskStatus
from dist_task_pipelines.ledger import tables
from dist_task_pipelines.ledger.bulk import insert_rows, upsert_rows
from dist_task_pipelines.ledger.exceptions import Failure, record_failures
from dist_task_pipelines.ledger.settling import log_row
from dist_task_pipelines.ledger.task_rows import (
    error_columns,
    give_grant,
    grant_columns,
    new_task,
    task_states,
)
from dist_task_pipelines.ledger.types import AnyRow

_task = tables.task.c

LOST = TaskError("WorkerLost", "the run ended while the call was under way")
LOST_FOR_GOOD = TaskError(
    "WorkerLost",
    "the run ended while the call was under way, and nobody knows whether it took effect; "
    "look at the participant, then retry or handle",
)


def recover_in_flight(
    connection: Connection,
    flow: Flow,
    rows: Sequence[AnyRow],
    now: datetime,
    *,
    for_person: Collection[int],
    run_id: str | None,
) -> None:
    """Decide about tasks found `running` under a dead lease: nobody knows if they took effect.

    An idempotent task is granted a call at once, with the same key. Another becomes `unknown`
    and waits for a person; so does each task of a transaction in `for_person`.
    """
    by_seq = {row.seq: row for row in rows}
    query = sa.select(_task.seq, _task.task_id, _task.attempts).where(
        _task.seq.in_(list(by_seq)), _task.status == TaskStatus.RUNNING
    )
    lost = connection.execute(query).all()
    for task in flow.tasks:
        seqs = [row.seq for row in lost if row.task_id == task.id]
        again = [seq for seq in seqs if task.idempotent and seq not in for_person]
        _call_again(connection, task, again, now)
        _leave_to_person(connection, flow, task, [s for s in seqs if s not in again], now)
    insert_rows(
        connection,
        tables.log,
        [
            log_row(
                row.seq,
                LogAction.LOST,
                LOST.message,
                now,
                task_id=row.task_id,
                run_id=run_id,
                attempt=row.attempts,
            )
            for row in lost
        ],
    )


def fail_callable(
    connection: Connection,
    flow: Flow,
    rows: Sequence[AnyRow],
    now: datetime,
    error: TaskError,
) -> None:
    """Fail every task that may be called, now or later, so that only a person can go on."""
    states = task_states(connection, [row.seq for row in rows]) if rows else {}
    for task in flow.tasks:
        failing = {
            row.seq: (row, _after(error, states[row.seq].get(task.id)))
            for row in rows
            if due_at(flow, task.id, states[row.seq], now)
        }
        _fail(connection, task, list(failing.values()), now)
        failures = [Failure(seq, failed) for seq, (_, failed) in failing.items()]
        record_failures(connection, flow, task, failures, now)


def _after(error: TaskError, state: TaskState | None) -> TaskError:
    """The error, with what went wrong before it."""
    if not state or not state.error:
        return error
    return TaskError(error.type, f"{error.message}; before that: {state.error}")


def _fail(
    connection: Connection, task: Task, failing: Sequence[tuple[AnyRow, TaskError]], now: datetime
) -> None:
    changes = {**grant_columns(None), "completed_at": now}
    upsert_rows(
        connection,
        tables.task,
        [{**_never_called(row, task), **changes, **error_columns(error)} for row, error in failing],
        replace=["status", *changes, *error_columns(None)],
    )
    insert_rows(
        connection,
        tables.log,
        [
            log_row(
                row.seq, LogAction.FAILED, f"{error.type}: {error.message}", now, task_id=task.id
            )
            for row, error in failing
        ],
    )


def _never_called(row: AnyRow, task: Task) -> dict[str, Any]:
    return new_task(row.seq, idempotency_key(row.id, task.id), task, TaskStatus.FAILED)


def _call_again(connection: Connection, task: Task, seqs: Sequence[int], now: datetime) -> None:
    _write_lost(connection, task, seqs, LOST, status=TaskStatus.FAILED, now=now)
    give_grant(connection, seqs, task.id, Grant(GrantedBy.RECOVERY, now))


def _leave_to_person(
    connection: Connection, flow: Flow, task: Task, seqs: Sequence[int], now: datetime
) -> None:
    status = TaskStatus.FAILED if task.idempotent else TaskStatus.UNKNOWN
    _write_lost(connection, task, seqs, LOST_FOR_GOOD, status=status, now=now)
    failures = [Failure(seq, LOST_FOR_GOOD) for seq in seqs]
    record_failures(connection, flow, task, failures, now)


def _write_lost(
    connection: Connection,
    task: Task,
    seqs: Sequence[int],
    error: TaskError,
    *,
    status: TaskStatus,
    now: datetime,
) -> None:
    if not seqs:
        return
    connection.execute(
        sa.update(tables.task)
        .where(_task.seq.in_(seqs), _task.task_id == task.id)
        .values(status=status, applied=Applied.MAYBE, completed_at=now, **error_columns(error))
    )
