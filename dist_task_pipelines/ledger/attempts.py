"""The attempts of a batch: one task, many transactions, a few statements.

A write takes rows for one chunk; how much goes into a chunk is the engine's choice.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from dist_task_pipelines.domain import json
from dist_task_pipelines.domain.errors import InvalidJson, LeaseLost
from dist_task_pipelines.domain.flow import Flow, Task
from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.domain.state import NOT_STARTED, may_be_called
from dist_task_pipelines.domain.status import LogAction, TaskStatus
from dist_task_pipelines.ledger import tables
from dist_task_pipelines.ledger.bulk import insert_rows, update_rows, upsert_rows
from dist_task_pipelines.ledger.counting import count_calls
from dist_task_pipelines.ledger.database import Database, reads, writes
from dist_task_pipelines.ledger.exceptions import SYSTEM, Failure, close_open, record_failures
from dist_task_pipelines.ledger.owning import lock_batch, lock_owned, stretch_lease
from dist_task_pipelines.ledger.records import Batch, Finish, Start, TaskRow
from dist_task_pipelines.ledger.settling import log_row, release_idle
from dist_task_pipelines.ledger.task_rows import (
    STATE_COLUMNS,
    error_columns,
    grant_columns,
    new_task,
    state_of,
    states_beside,
)
from dist_task_pipelines.ledger.types import AnyRow, Encoded

_transaction = tables.transaction.c
_task = tables.task.c
_exception = tables.exception.c

DETAILS_LIMIT = 4096  # bytes of a log row's details
BEGUN = (  # what the start of an attempt changes in a task that was called before
    "status",
    "attempts",
    "granted_by",
    "grant_due_at",
    "handled",
    "request",
    "input_data",
    "started_at",
    "completed_at",
)
_FOUND = (  # by a task, for each member of its batch
    sa.select(
        _transaction.seq,
        *STATE_COLUMNS,
        sa.case(
            (_task.task_id.in_(sa.bindparam("outputs", expanding=True)), _task.output_data)
        ).label("output_data"),
        sa.case((_task.task_id == sa.bindparam("task"), _task.request)).label("request"),
        _exception.retry_times,
    )
    .outerjoin_from(
        tables.transaction,
        tables.task,
        sa.and_(
            _task.seq == _transaction.seq,
            _task.task_id.in_(sa.bindparam("tasks", expanding=True)),
        ),
    )
    .outerjoin(
        tables.exception,
        sa.and_(
            _exception.seq == _task.seq,
            _exception.task_id == _task.task_id,
            _exception.is_open.is_(True),
        ),
    )
    .where(_transaction.batch_id == sa.bindparam("batch"))
)


class AttemptStore:
    """Begins and ends attempts for the run that owns a batch."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @reads
    def load(
        self,
        connection: Connection,
        batch: Batch,
        task_id: str,
        *,
        depends_on: Collection[str] = (),
        outputs: Collection[str] = (),
    ) -> dict[int, dict[str, TaskRow]]:
        """What a task finds, for each of the batch's members that it still owns.

        That is its own row and those of other tasks that it needs, where they have started. Only
        its own has a request.

        Args:
            depends_on: tasks whose states decide whether it may be called.
            outputs: tasks whose outputs it reads; the others' are left out, since all that a
                batch has may be large.
        """
        tasks_needed = [*{task_id, *depends_on, *outputs}]
        values = {"batch": batch.id, "task": task_id, "tasks": tasks_needed, "outputs": [*outputs]}
        loaded: dict[int, dict[str, TaskRow]] = defaultdict(dict)
        for row in connection.execute(_FOUND, values):
            tasks = loaded[row.seq]
            if row.task_id is not None:
                tasks[row.task_id] = _task_row(row)
        return dict(loaded)

    @writes
    def start(
        self,
        connection: Connection,
        batch: Batch,
        flow: Flow,
        task: Task,
        starts: Sequence[Start],
        *,
        lease: float,
    ) -> set[int]:
        """Begin attempts: the task is running, its grant is used up, its request frozen.

        The batch's lease is stretched to outlast the task's timeout by `lease` seconds, so no
        call is under way without one.

        Returns:
            the seqs that may be called: still the batch's, not cancelled, still callable. A
            transaction whose cancellation was asked for is settled instead.

        Raises:
            LeaseLost: the batch has ended.
        """
        now = self.database.clock.now()
        held = lock_batch(connection, batch.id)
        if held.ended_at:
            raise LeaseLost(f"batch {batch.id} has ended; its transactions were handed back")
        stretch_lease(connection, held, now + timedelta(seconds=task.timeout + lease))
        if held.stop_requested:
            return set()
        needed = [task.id, *task.depends_on]
        seqs = [start.seq for start in starts]
        rows = lock_owned(connection, batch.id, seqs, needed, STATE_COLUMNS)
        cancelled = {row.seq for row in rows if row.cancel_requested}
        release_idle(connection, flow, cancelled, now)
        free = {
            seq: states.get(task.id, NOT_STARTED).attempts
            for seq, states in states_beside(rows).items()
            if seq not in cancelled and may_be_called(flow, task.id, states, now)
        }
        going = [(start, free[start.seq] + 1) for start in starts if start.seq in free]
        self._begin(connection, batch, task, going, now)
        return set(free)

    @writes
    def finish(
        self,
        connection: Connection,
        batch: Batch,
        flow: Flow,
        task: Task,
        finishes: Sequence[Finish],
    ) -> set[int]:
        """Record how attempts ended, their exceptions and grants, and settle what is done.

        An end that was recorded already is left as it is, so that whoever does not know whether
        a record was kept may write it again.

        Returns:
            the seqs written: those that the batch still owns, their call under way.
        """
        now = self.database.clock.now()
        lock_batch(connection, batch.id)  # before its transactions, as everywhere
        calls = _under_way(connection, batch.id, task.id, [finish.seq for finish in finishes])
        ours = [finish for finish in finishes if finish.seq in calls]
        _end(connection, task, ours, now)
        record_failures(connection, flow, task, [_failure(f) for f in ours if _failed(f)], now)
        # A task may have failed before its first call: its run was stopped, or lost for good.
        repaired = [f.seq for f in ours if not _failed(f) and calls[f.seq].error_type is not None]
        close_open(connection, repaired, task.id, by=SYSTEM, now=now)
        ended = [
            _log_end(finish, task, batch, now, attempt=calls[finish.seq].attempts)
            for finish in ours
        ]
        insert_rows(connection, tables.log, ended)
        settling = [finish.seq for finish in ours if _may_settle(flow, task, finish)]
        cancelled = [call.seq for call in calls.values() if call.cancel_requested]
        release_idle(connection, flow, {*settling, *cancelled}, now)
        durations = [(f.verdict.status, now - calls[f.seq].started_at) for f in ours]
        count_calls(connection, flow.id, task.id, durations, now)
        return set(calls)

    def _begin(
        self,
        connection: Connection,
        batch: Batch,
        task: Task,
        starts: Sequence[tuple[Start, int]],
        now: datetime,
    ) -> None:
        """Write the beginning of attempts of these numbers."""
        begun = [_begun(task, start, number, now) for start, number in starts]
        upsert_rows(connection, tables.task, begun, replace=BEGUN)
        log = [_log_start(start, task, batch, now, attempt=number) for start, number in starts]
        insert_rows(connection, tables.log, log)


def _begun(task: Task, start: Start, attempt: int, now: datetime) -> dict[str, Any]:
    return {
        **new_task(start.seq, start.idempotency_key, task, TaskStatus.RUNNING),
        "attempts": attempt,
        "request": start.request,
        "input_data": start.input_data,
        "started_at": now,
        "completed_at": None,
    }


def _end(connection: Connection, task: Task, finishes: Sequence[Finish], now: datetime) -> None:
    """Write what tasks whose calls were under way came to."""
    changes = [_ended(finish, now) for finish in finishes]
    update_rows(connection, tables.task, "seq", changes, where={"task_id": task.id})


def _may_settle(flow: Flow, task: Task, finish: Finish) -> bool:
    """Whether nothing may be left to call after this end: not if it lets another task be called."""
    return _failed(finish) or task.id not in flow.leading_on


def _ended(finish: Finish, now: datetime) -> dict[str, Any]:
    outcome = finish.outcome
    return {
        "seq": finish.seq,
        "status": finish.verdict.status,
        **grant_columns(finish.verdict.grant),
        **error_columns(outcome.error),
        "output_data": outcome.output if outcome.succeeded else None,
        "applied": outcome.applied,
        "completed_at": now,
    }


def _under_way(
    connection: Connection, batch_id: int, task_id: str, seqs: Sequence[int]
) -> dict[int, AnyRow]:
    """Those of the transactions whose call the batch has under way, locked: when it began."""
    columns = (_task.attempts, _task.started_at, _task.error_type)
    rows = lock_owned(connection, batch_id, seqs, [task_id], columns, status=TaskStatus.RUNNING)
    return {row.seq: row for row in rows if row.attempts is not None}


def _task_row(row: AnyRow) -> TaskRow:
    return TaskRow(state_of(row), row.retry_times or 0, row.request, row.output_data)


def _failed(finish: Finish) -> bool:
    return not finish.outcome.succeeded


def _failure(finish: Finish) -> Failure:
    assert finish.outcome.error
    return Failure(finish.seq, finish.outcome.error, finish.verdict.grant)


def _log_start(
    start: Start, task: Task, batch: Batch, now: datetime, *, attempt: int
) -> dict[str, Any]:
    return log_row(
        start.seq,
        LogAction.START if attempt == 1 else LogAction.RETRY,
        f"calling {task.name}",
        now,
        task_id=task.id,
        run_id=batch.run_id,
        attempt=attempt,
    )


def _log_end(
    finish: Finish, task: Task, batch: Batch, now: datetime, *, attempt: int
) -> dict[str, Any]:
    return log_row(
        finish.seq,
        LogAction(finish.verdict.status),
        _summary(finish),
        now,
        task_id=task.id,
        details=_details(finish),
        run_id=batch.run_id,
        attempt=attempt,
    )


def _summary(finish: Finish) -> str:
    error = finish.outcome.error
    return f"{error.type}: {error.message}" if error else "succeeded"


def _details(finish: Finish) -> JsonObject | Encoded:
    try:
        text = json.dumps(finish.outcome.details)
    except InvalidJson as error:
        return {"omitted": str(error)}
    if len(text) > DETAILS_LIMIT:
        return {"omitted": f"details of {len(text)} bytes, the most is {DETAILS_LIMIT}"}
    return Encoded(text)
