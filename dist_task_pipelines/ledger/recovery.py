"""What becomes of tasks that their run did not get to the end of."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from dist_task_pipelines.domain.flow import Flow, Task
from dist_task_pipelines.domain.keys import idempotency_key
from dist_task_pipelines.domain.outcome import TaskError
from dist_task_pipelines.domain.state import may_be_called
from dist_task_pipelines.domain.status import Applied, GrantedBy, LogAction, TaskStatus
from dist_task_pipelines.ledger import tables
from dist_task_pipelines.ledger.database import insert_rows, upsert_rows
from dist_task_pipelines.ledger.exceptions import Failure, record_failures
from dist_task_pipelines.ledger.settling import log_row, task_states
from dist_task_pipelines.ledger.types import AnyRow

_task = tables.task.c


def recover_in_flight(
    connection: Connection,
    flow: Flow,
    rows: Sequence[AnyRow],
    now: datetime,
    *,
    worn_out: Collection[int],
    run_id: str | None,
) -> None:
    """Decide about tasks found `running` under a dead lease: nobody knows if they took effect.

    An idempotent task is granted a call at once, with the same key. Another becomes `unknown`
    and waits for a person; so does each task of a transaction that is `worn_out`.
    """
    by_seq = {row.seq: row for row in rows}
    query = sa.select(_task.seq, _task.task_id, _task.attempts).where(
        _task.seq.in_(list(by_seq)), _task.status == TaskStatus.RUNNING
    )
    for task in flow.tasks:
        lost = connection.execute(query.where(_task.task_id == task.id)).all()
        again = [row.seq for row in lost if task.idempotent and row.seq not in worn_out]
        waiting = [row.seq for row in lost if row.seq not in again]
        _grant(connection, task, again, now)
        _leave_to_person(connection, flow, task, waiting, now)
        insert_rows(
            connection,
            tables.log,
            [
                log_row(
                    by_seq[row.seq],
                    LogAction.LOST,
                    "the run ended while the call was under way",
                    now,
                    task_id=task.id,
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
    *,
    error_type: str,
    message: str,
) -> None:
    """Fail every task that could be called now, so that only a person can go on with it."""
    if not rows:
        return
    states = task_states(connection, [row.seq for row in rows])
    for task in flow.tasks:
        callable_now = [
            row for row in rows if may_be_called(flow, task.id, states.get(row.seq, {}), now)
        ]
        upsert_rows(
            connection,
            tables.task,
            [_failed_row(row, task, error_type, message, now) for row in callable_now],
            replace=[
                "status",
                "granted_by",
                "grant_due_at",
                "error_type",
                "error_code",
                "error_message",
            ],
        )
        error = TaskError(error_type, message)
        failures = [Failure(row.seq, error) for row in callable_now]
        record_failures(connection, flow, task, failures, now)
        insert_rows(
            connection,
            tables.log,
            [
                log_row(row, LogAction.FAILED, f"{error_type}: {message}", now, task_id=task.id)
                for row in callable_now
            ],
        )


def _grant(connection: Connection, task: Task, seqs: Sequence[int], now: datetime) -> None:
    connection.execute(
        sa.update(tables.task)
        .where(_task.seq.in_(seqs), _task.task_id == task.id)
        .values(
            status=TaskStatus.FAILED,
            applied=Applied.MAYBE,
            granted_by=GrantedBy.RECOVERY,
            grant_due_at=now,
            error_type="WorkerLost",
            error_message="the run ended while the call was under way",
        )
    )


def _leave_to_person(
    connection: Connection, flow: Flow, task: Task, seqs: Sequence[int], now: datetime
) -> None:
    error = TaskError(
        "WorkerLost",
        "the run ended while the call was under way, and nobody knows whether it took effect; "
        "look at the participant, then retry or handle",
    )
    connection.execute(
        sa.update(tables.task)
        .where(_task.seq.in_(seqs), _task.task_id == task.id)
        .values(
            status=TaskStatus.FAILED if task.idempotent else TaskStatus.UNKNOWN,
            applied=Applied.MAYBE,
            error_type=error.type,
            error_message=error.message,
        )
    )
    record_failures(connection, flow, task, [Failure(seq, error) for seq in seqs], now)


def _failed_row(
    row: AnyRow, task: Task, error_type: str, message: str, now: datetime
) -> dict[str, Any]:
    return {
        "seq": row.seq,
        "task_id": task.id,
        "name": task.name,
        "type": task.type,
        "status": TaskStatus.FAILED,
        "attempts": 0,
        "max_retry": task.retry.max_attempts,
        "granted_by": None,
        "grant_due_at": None,
        "handled": False,
        "idempotency_key": idempotency_key(row.id, task.id),
        "error_type": error_type,
        "error_code": "",
        "error_message": message,
        "completed_at": now,
    }
