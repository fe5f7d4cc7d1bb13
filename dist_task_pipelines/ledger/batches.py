"""Batches: which transactions a run owns, and for how long.

A batch is dispatched, taken by one run, kept alive, and ended. It is taken at most once, so
its id is the fencing token: a transaction names the batch that owns it, and whoever writes
for another batch finds nothing to write to.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from dist_task_pipelines.domain.errors import Conflict, LeaseLost, NotFound
from dist_task_pipelines.domain.outcome import TaskError
from dist_task_pipelines.domain.status import OperatorActionKind, TransactionStatus
from dist_task_pipelines.ledger import tables
from dist_task_pipelines.ledger.audit import audit_row
from dist_task_pipelines.ledger.bulk import insert_rows
from dist_task_pipelines.ledger.database import Database, reads, writes
from dist_task_pipelines.ledger.flows import FlowStore
from dist_task_pipelines.ledger.granting import grant_failed_tasks
from dist_task_pipelines.ledger.owning import (
    insert_batch,
    lock_batch,
    lock_transactions,
    set_lease,
)
from dist_task_pipelines.ledger.records import Batch, BatchEnd, LeftAlone, Member
from dist_task_pipelines.ledger.recovery import fail_callable, recover_in_flight
from dist_task_pipelines.ledger.settling import release
from dist_task_pipelines.ledger.types import AnyRow

_transaction = tables.transaction.c
_batch = tables.batch.c

MAX_LEASE_LOSSES = 3  # then a person decides
WORN_OUT = TaskError(
    "WorkerLost",
    f"the worker was lost {MAX_LEASE_LOSSES} times while it had this transaction; "
    "look at the worker's logs, then retry",
)


class BatchStore:
    """Takes, keeps and ends batches."""

    def __init__(self, database: Database, flows: FlowStore) -> None:
        self.database = database
        self._flows = flows

    @writes
    def acquire(
        self, connection: Connection, batch_id: int, *, run_id: str, worker: str, lease: float
    ) -> Batch:
        """Take a dispatched batch for a run, for `lease` seconds.

        Raises:
            NotFound: there is no such batch.
            Conflict: a run has taken it, another run is to take it, or it was handed back
                because no run came.
        """
        row = lock_batch(connection, batch_id)
        if row.ended_at or row.started_at:
            state = f"ended ({row.end_reason})" if row.ended_at else "is being worked on"
            raise Conflict(
                f"batch {batch_id} {state}: run {row.run_id or 'none'} took it; nothing was called"
            )
        if row.run_id not in (None, run_id):
            raise Conflict(f"batch {batch_id} is for run {row.run_id}; nothing was called")
        now = self.database.clock.now()
        connection.execute(
            sa.update(tables.batch)
            .where(_batch.id == batch_id)
            .values(
                run_id=run_id,
                worker=worker,
                started_at=now,
                lease_expires_at=now + timedelta(seconds=lease),
            )
        )
        return self._take(connection, batch_id, row.flow_id, run_id, now)

    @writes
    def adopt(
        self,
        connection: Connection,
        flow_id: str,
        seqs: Sequence[int],
        *,
        run_id: str,
        worker: str,
        lease: float,
        actor: str,
    ) -> Batch:
        """Make a batch for a run that a person started, of those transactions it may own.

        Their unhandled failed tasks are granted a call each, with an audit row. Transactions
        that another run owns, that are done or cancelled, or whose failures are all handled or
        final, are left alone and named.
        """
        now = self.database.clock.now()
        flow = self._flows.load_within(connection, flow_id)
        rows = lock_transactions(
            connection, _transaction.seq.in_(seqs), _transaction.flow_id == flow_id
        )
        refused = {row.seq: reason for row in rows if (reason := _not_to_own(row))}
        free = [row for row in rows if row.seq not in refused]
        granted = grant_failed_tasks(connection, flow, free, now, run_id=run_id)
        refused |= granted.refused
        mine = [row for row in free if row.seq not in refused]
        batch_id = insert_batch(
            connection,
            flow_id,
            [row.seq for row in mine],
            now,
            lease=lease,
            run_id=run_id,
            worker=worker,
            started_at=now,
        )
        trail = [
            _re_execution(row, granted.tasks[row.seq], actor, run_id, now)
            for row in mine
            if granted.tasks[row.seq]
        ]
        insert_rows(connection, tables.operator_action, trail)
        left = [LeftAlone(row.id, refused[row.seq]) for row in rows if row.seq in refused]
        batch = self._take(connection, batch_id, flow_id, run_id, now)
        return replace(batch, left_alone=tuple(left))

    @reads
    def members(self, connection: Connection, batch_id: int) -> tuple[str, list[int]]:
        """The flow id of a batch, and the seqs of the transactions it was dispatched with.

        Raises:
            NotFound: there is no such batch.
        """
        row = connection.execute(
            sa.select(_batch.flow_id, _batch.members).where(_batch.id == batch_id)
        ).first()
        if row is None:
            raise NotFound("batch", batch_id)
        return row.flow_id, row.members

    @reads
    def run_of(self, connection: Connection, batch_id: int) -> str | None:
        """The run that is to take the batch, or has; None while any may."""
        return connection.scalar(sa.select(_batch.run_id).where(_batch.id == batch_id))

    @reads
    def was_taken_by(self, connection: Connection, batch_id: int, run_id: str) -> bool:
        """Whether this run has taken the batch, now or at some time."""
        mine = sa.and_(_batch.id == batch_id, _batch.run_id == run_id)
        query = sa.select(_batch.id).where(mine, _batch.started_at.is_not(None))
        return connection.scalar(query) is not None

    @writes
    def renew(self, connection: Connection, batch_id: int, *, lease: float) -> bool:
        """Let the lease last `lease` seconds from now, even if it lasted longer.

        Returns:
            whether a person asked for the batch to stop.

        Raises:
            LeaseLost: the batch has ended.
        """
        row = lock_batch(connection, batch_id)
        if row.ended_at:
            raise LeaseLost(f"batch {batch_id} has ended ({row.end_reason})")
        set_lease(connection, batch_id, self.database.clock.now() + timedelta(seconds=lease))
        return bool(row.stop_requested)

    @writes
    def request_stop(
        self, connection: Connection, run_id: str, *, batch_id: int | None = None, actor: str
    ) -> bool:
        """Mark the open batches of a run as stopped by a person: no further call begins.

        One that the run has not taken yet ends at once: no run can take it any more.

        Args:
            batch_id: the batch that the run was launched for, where it names no run.

        Returns:
            whether the run works on a batch, and will see the mark.
        """
        unnamed = sa.and_(_batch.id == batch_id, _batch.run_id.is_(None))
        its_own = sa.or_(_batch.run_id == run_id, unnamed)
        query = sa.select(_batch.id).where(its_own, _batch.ended_at.is_(None))
        rows = [lock_batch(connection, each) for each in connection.scalars(query).all()]
        open_rows = [row for row in rows if not row.ended_at]
        for row in open_rows:
            self._stop(connection, row, run_id, actor)
        return any(row.started_at for row in open_rows)

    def _stop(self, connection: Connection, row: AnyRow, run_id: str, actor: str) -> None:
        if not row.stop_requested:
            connection.execute(
                sa.update(tables.batch)
                .where(_batch.id == row.id)
                .values(stop_requested=True, run_id=run_id)
            )
            audit = audit_row(
                actor,
                OperatorActionKind.STOP,
                f"run:{run_id}",
                "terminated",
                before={"stop_requested": False},
                after={"stop_requested": True},
                now=self.database.clock.now(),
            )
            insert_rows(connection, tables.operator_action, [audit])
        if not row.started_at:
            self._end(connection, lock_batch(connection, row.id), BatchEnd.STOPPED)

    @writes
    def end(self, connection: Connection, batch_id: int, reason: BatchEnd) -> None:
        """Settle what the batch still owns and let go of it. Ending an ended batch does nothing."""
        row = lock_batch(connection, batch_id)
        if not row.ended_at:
            self._end(connection, row, BatchEnd.STOPPED if row.stop_requested else reason)

    def expire(self, limit: int = 20) -> list[int]:
        """End batches whose lease has run out and hand their work back, each in a transaction.

        Returns:
            the ids of the batches ended, at most `limit`.

        Raises:
            ExceptionGroup: some could not be ended; the others were.
        """
        ended: list[int] = []
        errors: list[Exception] = []
        for batch_id in self._expired(limit):
            try:
                if self._expire_one(batch_id):
                    ended.append(batch_id)
            except Exception as error:  # one batch must not keep the others from being handed back
                error.add_note(f"batch {batch_id} could not be ended")
                errors.append(error)
        if errors:
            raise ExceptionGroup("leases ran out, and not all batches could be ended", errors)
        return ended

    @reads
    def _expired(self, connection: Connection, limit: int) -> list[int]:
        query = sa.select(_batch.id).where(*self._is_expired()).order_by(_batch.id).limit(limit)
        return list(connection.scalars(query))

    @writes
    def _expire_one(self, connection: Connection, batch_id: int) -> bool:
        query = sa.select(tables.batch).where(_batch.id == batch_id, *self._is_expired())
        row = connection.execute(query.with_for_update(skip_locked=True)).first()
        if row is None:  # somebody else has ended it, or its worker was late and is back
            return False
        reason = BatchEnd.LOST if row.started_at else BatchEnd.SUPERSEDED
        self._end(connection, row, BatchEnd.STOPPED if row.stop_requested else reason)
        return True

    def _is_expired(self) -> tuple[sa.ColumnElement[bool], ...]:
        return (_batch.ended_at.is_(None), _batch.lease_expires_at < self.database.clock.now())

    def _take(
        self, connection: Connection, batch_id: int, flow_id: str, run_id: str, now: datetime
    ) -> Batch:
        owned = _transaction.batch_id == batch_id
        connection.execute(
            sa.update(tables.transaction)
            .where(owned)
            .values(
                run_id=run_id,
                status=TransactionStatus.RUNNING,
                started_at=sa.func.coalesce(_transaction.started_at, sa.literal(now)),
                completed_at=None,
                updated_at=now,
            )
        )
        query = sa.select(_transaction.seq, _transaction.id, _transaction.params).where(owned)
        rows = connection.execute(query.order_by(_transaction.seq))
        members = tuple(Member(row.seq, row.id, row.params) for row in rows)
        return Batch(batch_id, flow_id, run_id, members)

    def _end(self, connection: Connection, batch: AnyRow, reason: BatchEnd) -> None:
        now = self.database.clock.now()
        connection.execute(
            sa.update(tables.batch)
            .where(_batch.id == batch.id)
            .values(ended_at=now, end_reason=reason)
        )
        rows = lock_transactions(connection, _transaction.batch_id == batch.id)
        if not rows:
            return
        flow = self._flows.load_within(connection, batch.flow_id)
        losses = int(reason in (BatchEnd.ERROR, BatchEnd.LOST))
        error = _stopped(batch) if reason is BatchEnd.STOPPED else WORN_OUT
        worn = [row for row in rows if reason is BatchEnd.STOPPED or _is_worn(row, losses)]
        cancelled = [row for row in rows if row.cancel_requested]
        for_person = {row.seq for row in [*worn, *cancelled]}
        recover_in_flight(connection, flow, rows, now, for_person=for_person, run_id=batch.run_id)
        going = [row for row in worn if not row.cancel_requested]
        fail_callable(connection, flow, going, now, error)
        release(connection, flow, rows, now, losses=losses)


def _is_worn(row: AnyRow, losses: int) -> bool:
    return losses > 0 and row.lease_losses + losses >= MAX_LEASE_LOSSES


def _not_to_own(row: AnyRow) -> str | None:
    if row.batch_id is not None:
        return "another run is working on it"
    if row.status in (TransactionStatus.SUCCESS, TransactionStatus.CANCELLED):
        return f"it is {row.status}"
    return None


def _stopped(batch: AnyRow) -> TaskError:
    return TaskError(
        "Stopped",
        f"run {batch.run_id} was terminated before this task was called; retry it to go on",
    )


def _re_execution(
    row: AnyRow, granted: Sequence[str], actor: str, run_id: str, now: datetime
) -> dict[str, Any]:
    return audit_row(
        actor,
        OperatorActionKind.RE_EXECUTE,
        f"transaction:{row.id}",
        f"run {run_id}",
        before={"status": row.status, "run_id": row.run_id},
        after={"granted": granted, "run_id": run_id},
        now=now,
    )
