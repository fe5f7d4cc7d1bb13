"""The rows of `dist_task`: reading states from them, and the columns that go together."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from dist_task_pipelines.domain.flow import Flow, Task
from dist_task_pipelines.domain.outcome import TaskError
from dist_task_pipelines.domain.state import Grant, TaskState
from dist_task_pipelines.domain.status import GrantedBy, TaskStatus
from dist_task_pipelines.ledger import tables
from dist_task_pipelines.ledger.types import AnyRow

_task = tables.task.c
_exception = tables.exception.c

STATE_COLUMNS = (
    _task.task_id,
    _task.status,
    _task.granted_by,
    _task.grant_due_at,
    _task.handled,
    _task.error_message,
    _task.attempts,
)

_ALL_DONE = (
    sa.select(_task.seq)
    .where(
        _task.seq.in_(sa.bindparam("seqs", expanding=True)),
        _task.status.in_([status for status in TaskStatus if status.lets_downstream_run]),
    )
    .group_by(_task.seq)
    .having(sa.func.count() == sa.bindparam("tasks"))
)

States = dict[int, dict[str, TaskState]]  # by seq and task id


def task_states(connection: Connection, seqs: Collection[int]) -> States:
    """The states of the started tasks of these transactions."""
    query = sa.select(_task.seq, *STATE_COLUMNS).where(_task.seq.in_(seqs))
    return states_beside(connection.execute(query))


def states_beside(rows: Iterable[AnyRow]) -> States:
    """The states in the rows, by their `seq`; a row without a task says that there is none."""
    states: States = defaultdict(dict)
    for row in rows:
        tasks = states[row.seq]
        if row.task_id is not None:
            tasks[row.task_id] = state_of(row)
    return states


def all_done(connection: Connection, flow: Flow, seqs: Collection[int]) -> set[int]:
    """Those of the transactions whose every task succeeded or was skipped.

    Most of those that are looked at are; the database counts that faster than rows are read.
    """
    if not seqs:
        return set()
    return set(connection.scalars(_ALL_DONE, {"seqs": seqs, "tasks": len(flow.tasks)}))


def state_of(row: AnyRow) -> TaskState:
    """The state in a row of `dist_task`."""
    grant = Grant(GrantedBy(row.granted_by), row.grant_due_at) if row.granted_by else None
    return TaskState(
        TaskStatus(row.status), grant, row.handled, row.error_message or "", row.attempts
    )


def new_task(seq: int, key: str, task: Task, status: TaskStatus) -> dict[str, Any]:
    """The row of a task that was not called yet; `key` is its idempotency key."""
    return {
        "seq": seq,
        "task_id": task.id,
        "name": task.name,
        "type": task.type,
        "status": status,
        "attempts": 0,
        "max_retry": task.retry.max_attempts,
        "handled": False,
        "idempotency_key": key,
        **grant_columns(None),
    }


def grant_columns(grant: Grant | None) -> dict[str, Any]:
    """The columns of a task's grant."""
    return {
        "granted_by": grant.by if grant else None,
        "grant_due_at": grant.due_at if grant else None,
    }


def error_columns(error: TaskError | None) -> dict[str, Any]:
    """The columns of a task's last error."""
    return {
        "error_type": error.type if error else None,
        "error_code": error.code if error else None,
        "error_message": error.message if error else None,
        "error_stack": error.stack if error else None,
    }


def give_grant(connection: Connection, seqs: Sequence[int], task_id: str, grant: Grant) -> None:
    """Let the task of these transactions be called once more; its open exception says when."""
    if not seqs:
        return
    connection.execute(
        sa.update(tables.task)
        .where(_task.seq.in_(seqs), _task.task_id == task_id)
        .values(**grant_columns(grant))
    )
    connection.execute(
        sa.update(tables.exception)
        .where(
            _exception.seq.in_(seqs),
            _exception.task_id == task_id,
            _exception.is_open.is_(True),
        )
        .values(retry_next_at=grant.due_at)
    )


def take_back_grants(connection: Connection, seqs: Sequence[int]) -> None:
    """Take back every grant of these transactions; their open exceptions promise no retry."""
    if not seqs:
        return
    connection.execute(
        sa.update(tables.task).where(_task.seq.in_(seqs)).values(**grant_columns(None))
    )
    connection.execute(
        sa.update(tables.exception)
        .where(_exception.seq.in_(seqs), _exception.is_open.is_(True))
        .values(retry_next_at=None)
    )
