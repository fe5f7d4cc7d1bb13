"""The attempts of a batch: one task, many transactions, a few statements.

A write takes rows for one chunk; how much goes into a chunk is the engine's choice.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from dist_task_pipelines.domain import json
from dist_task_pipelines.domain.errors import LeaseLost
from dist_task_pipelines.domain.flow import Flow, Task
from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.domain.state import may_be_called
from dist_task_pipelines.domain.status import LogAction, TaskStatus
from dist_task_pipelines.ledger import tables
from dist_task_pipelines.ledger.database import Database, insert_rows, reads, upsert_rows, writes
from dist_task_pipelines.ledger.exceptions import SYSTEM, Failure, close_open, record_failures
from dist_task_pipelines.ledger.records import Batch, Finish, Start, TaskRow
from dist_task_pipelines.ledger.settling import (
    lock_owned,
    log_row,
    release,
    settlements,
    state_of,
    task_states,
)
from dist_task_pipelines.ledger.types import AnyRow

_task = tables.task.c
_batch = tables.batch.c
_exception = tables.exception.c

DETAILS_LIMIT = 4096  # bytes of a log row's details


class AttemptStore:
    """Begins and ends attempts for the run that owns a batch."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @reads
    def load(
        self, connection: Connection, batch: Batch, task_ids: Collection[str]
    ) -> dict[int, dict[str, TaskRow]]:
        """The started tasks among `task_ids` of the batch's members that it still owns."""
        owned = sa.select(tables.transaction.c.seq).where(tables.transaction.c.batch_id == batch.id)
        loaded: dict[int, dict[str, TaskRow]] = {
            seq: {} for seq in connection.scalars(owned.order_by(tables.transaction.c.seq))
        }
        open_exception = sa.and_(
            _exception.seq == _task.seq,
            _exception.task_id == _task.task_id,
            _exception.is_open.is_(True),
        )
        query = (
            sa.select(tables.task, _exception.retry_times)
            .outerjoin(tables.exception, open_exception)
            .where(_task.seq.in_(list(loaded)), _task.task_id.in_(task_ids))
        )
        for row in connection.execute(query):
            loaded[row.seq][row.task_id] = _task_row(row)
        return loaded

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
        if not self._stretch(connection, batch, now + timedelta(seconds=task.timeout + lease)):
            return set()
        rows = lock_owned(connection, batch.id, [start.seq for start in starts])
        states = task_states(connection, [row.seq for row in rows])
        self._honour_cancels(connection, flow, rows, states, now)
        free = {
            row.seq: row
            for row in rows
            if not row.cancel_requested
            and may_be_called(flow, task.id, states.get(row.seq, {}), now)
        }
        going = [start for start in starts if start.seq in free]
        numbers = self._begin(connection, task, going, now)
        insert_rows(
            connection,
            tables.log,
            [
                log_row(
                    free[start.seq],
                    LogAction.START if numbers[start.seq] == 1 else LogAction.RETRY,
                    f"calling {task.name}",
                    now,
                    task_id=task.id,
                    run_id=batch.run_id,
                    attempt=numbers[start.seq],
                )
                for start in going
            ],
        )
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

        Returns:
            the seqs written: those that the batch still owns.
        """
        now = self.database.clock.now()
        rows = {
            row.seq: row
            for row in lock_owned(connection, batch.id, [finish.seq for finish in finishes])
        }
        ours = [finish for finish in finishes if finish.seq in rows]
        if not ours:
            return set()
        numbers = _attempts(connection, list(rows), task.id)
        self._end(connection, task, ours, now)
        record_failures(connection, flow, task, [_failure(f) for f in ours if _failed(f)], now)
        close_open(connection, [f.seq for f in ours if not _failed(f)], task.id, by=SYSTEM, now=now)
        insert_rows(
            connection,
            tables.log,
            [
                log_row(
                    rows[finish.seq],
                    LogAction(finish.verdict.status),
                    _summary(finish),
                    now,
                    task_id=task.id,
                    details=_details(finish),
                    run_id=batch.run_id,
                    attempt=numbers.get(finish.seq, 0),
                )
                for finish in ours
            ],
        )
        self._release_idle(connection, flow, list(rows.values()), now)
        return set(rows)

    def _stretch(self, connection: Connection, batch: Batch, until: datetime) -> bool:
        query = sa.select(_batch.lease_expires_at, _batch.stop_requested, _batch.ended_at)
        row = connection.execute(query.where(_batch.id == batch.id).with_for_update()).one()
        if row.ended_at:
            raise LeaseLost(f"batch {batch.id} has ended; its transactions were handed back")
        if row.lease_expires_at < until:
            connection.execute(
                sa.update(tables.batch).where(_batch.id == batch.id).values(lease_expires_at=until)
            )
        return not row.stop_requested

    def _honour_cancels(
        self,
        connection: Connection,
        flow: Flow,
        rows: Sequence[AnyRow],
        states: Mapping[int, Any],
        now: datetime,
    ) -> None:
        cancelled = [row for row in rows if row.cancel_requested]
        settled = settlements(flow, cancelled, dict(states), now)
        idle = [row for row in cancelled if settled[row.seq].is_idle(now)]
        release(connection, idle, settled, now)

    def _begin(
        self, connection: Connection, task: Task, starts: Sequence[Start], now: datetime
    ) -> dict[int, int]:
        seqs = [start.seq for start in starts]
        before = _attempts(connection, seqs, task.id)
        numbers = {seq: before.get(seq, 0) + 1 for seq in seqs}
        upsert_rows(
            connection,
            tables.task,
            [
                {
                    **_identity(start.seq, task, start.idempotency_key),
                    "status": TaskStatus.RUNNING,
                    "attempts": numbers[start.seq],
                    "request": start.request,
                    "input_data": start.input_data,
                    "started_at": now,
                }
                for start in starts
            ],
            replace=[
                "status",
                "attempts",
                "granted_by",
                "grant_due_at",
                "handled",
                "request",
                "input_data",
                "started_at",
                "completed_at",
            ],
        )
        return numbers

    def _end(
        self, connection: Connection, task: Task, finishes: Sequence[Finish], now: datetime
    ) -> None:
        upsert_rows(
            connection,
            tables.task,
            [_ended(finish, task, now) for finish in finishes],
            replace=[
                "status",
                "granted_by",
                "grant_due_at",
                "output_data",
                "applied",
                "error_type",
                "error_code",
                "error_message",
                "error_stack",
                "completed_at",
            ],
        )

    def _release_idle(
        self, connection: Connection, flow: Flow, rows: Sequence[AnyRow], now: datetime
    ) -> None:
        states = task_states(connection, [row.seq for row in rows])
        settled = settlements(flow, rows, states, now)
        release(connection, [row for row in rows if settled[row.seq].is_idle(now)], settled, now)


def _identity(seq: int, task: Task, key: str) -> dict[str, Any]:
    return {
        "seq": seq,
        "task_id": task.id,
        "name": task.name,
        "type": task.type,
        "attempts": 0,
        "max_retry": task.retry.max_attempts,
        "granted_by": None,
        "grant_due_at": None,
        "handled": False,
        "idempotency_key": key,
        "completed_at": None,
    }


def _ended(finish: Finish, task: Task, now: datetime) -> dict[str, Any]:
    outcome, verdict = finish.outcome, finish.verdict
    error = outcome.error
    return {
        **_identity(finish.seq, task, ""),
        "status": verdict.status,
        "granted_by": verdict.grant.by if verdict.grant else None,
        "grant_due_at": verdict.grant.due_at if verdict.grant else None,
        "output_data": outcome.output if outcome.succeeded else None,
        "applied": outcome.applied,
        "error_type": error.type if error else None,
        "error_code": error.code if error else None,
        "error_message": error.message if error else None,
        "error_stack": error.stack if error else None,
        "completed_at": now,
    }


def _attempts(connection: Connection, seqs: Sequence[int], task_id: str) -> dict[int, int]:
    query = sa.select(_task.seq, _task.attempts)
    rows = connection.execute(query.where(_task.seq.in_(seqs), _task.task_id == task_id))
    return {row.seq: row.attempts for row in rows}


def _task_row(row: AnyRow) -> TaskRow:
    return TaskRow(state_of(row), row.attempts, row.retry_times or 0, row.request, row.output_data)


def _failed(finish: Finish) -> bool:
    return not finish.outcome.succeeded


def _failure(finish: Finish) -> Failure:
    assert finish.outcome.error
    return Failure(finish.seq, finish.outcome.error, finish.verdict.grant)


def _summary(finish: Finish) -> str:
    error = finish.outcome.error
    return f"{error.type}: {error.message}" if error else "succeeded"


def _details(finish: Finish) -> JsonObject:
    details = finish.outcome.details
    if len(json.dumps(details)) <= DETAILS_LIMIT:
        return details
    return {"omitted": f"details over {DETAILS_LIMIT} bytes"}
