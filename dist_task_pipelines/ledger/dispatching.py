"""Dispatch: what may be called becomes batches, oldest first, fair between flows."""

import heapq
import itertools
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from dist_task_pipelines.domain.status import TransactionStatus
from dist_task_pipelines.ledger import tables
from dist_task_pipelines.ledger.database import Database, reads, writes
from dist_task_pipelines.ledger.owning import insert_batch
from dist_task_pipelines.ledger.records import DispatchedBatch, DispatchLimits
from dist_task_pipelines.ledger.types import AnyRow

_transaction = tables.transaction.c
_batch = tables.batch.c


class Dispatcher:
    """Makes batches of transactions that are due."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @writes
    def dispatch(
        self,
        connection: Connection,
        limits: DispatchLimits,
        *,
        status: TransactionStatus,
        flow_ids: Collection[str],
    ) -> list[DispatchedBatch]:
        """Make as many batches as the limits allow; each waits for a run to take it.

        The flow whose work has waited longest comes first. A transaction that lost its worker
        once is dispatched alone. Dispatchers take turns on one row, so the limits are exact.

        Args:
            status: `pending` for new transactions, `running` for those with a due retry.
            flow_ids: the flow versions whose jobs can be launched.
        """
        identity = tables.ledger_identity
        connection.execute(sa.select(identity.c.id).with_for_update()).one()
        now = self.database.clock.now()
        in_flight = _runs_in_flight(connection)
        free = limits.max_runs_in_flight - in_flight.total()
        waiting = [
            (head, flow_id)
            for flow_id in flow_ids
            if (head := _oldest_due(connection, status, flow_id, now))
        ]
        heapq.heapify(waiting)
        dispatched: list[DispatchedBatch] = []
        while waiting and len(dispatched) < free:
            _, flow_id = heapq.heappop(waiting)
            if in_flight[flow_id] >= limits.max_runs_in_flight_per_flow:
                continue
            batch = self._make(connection, limits, status, flow_id, now)
            if batch:
                dispatched.append(batch)
                in_flight[flow_id] += 1
            if batch and (head := _oldest_due(connection, status, flow_id, now)):
                heapq.heappush(waiting, (head, flow_id))
        return dispatched

    @reads
    def waiting(
        self, connection: Connection, *, status: TransactionStatus, flow_ids: Collection[str]
    ) -> list[DispatchedBatch]:
        """The batches dispatched for `status` and these flows that no run has taken yet, by id."""
        alone = sa.and_(_batch.size == 1, _transaction.batch_id == _batch.id)
        query = (
            sa.select(tables.batch, _transaction.id.label("transaction_id"))
            .outerjoin(tables.transaction, alone)
            .where(
                _batch.ended_at.is_(None),
                _batch.flow_id.in_(flow_ids),
                _batch.started_at.is_(None),
                _batch.picked_status == status,
            )
        )
        return [
            DispatchedBatch(
                row.id,
                row.flow_id,
                row.size,
                row.transaction_id,
                row.parent_run_id,
                row.dispatched_at,
            )
            for row in connection.execute(query.order_by(_batch.id))
        ]

    def _make(
        self,
        connection: Connection,
        limits: DispatchLimits,
        status: TransactionStatus,
        flow_id: str,
        now: datetime,
    ) -> DispatchedBatch | None:
        due = _due(connection, status, flow_id, now, limits)
        if not due:  # others hold them locked at this moment
            return None
        picked = _bounded(due, limits)
        alone = picked[0] if len(picked) == 1 else None
        batch_id = insert_batch(
            connection,
            flow_id,
            [row.seq for row in picked],
            now,
            lease=limits.start_timeout,
            parent_run_id=alone.run_id if alone else None,
            picked_status=status,
        )
        return DispatchedBatch(
            id=batch_id,
            flow_id=flow_id,
            size=len(picked),
            transaction_id=alone.id if alone else None,
            parent_run_id=alone.run_id if alone else None,
            dispatched_at=now,
        )


def _runs_in_flight(connection: Connection) -> Counter[str]:
    query = sa.select(_batch.flow_id, sa.func.count()).where(_batch.ended_at.is_(None))
    rows = connection.execute(query.group_by(_batch.flow_id))
    return Counter({row[0]: row[1] for row in rows})


def _along_the_index(query: sa.Select[Any]) -> sa.Select[Any]:
    """The query, made to read the index that is in its order: another one would have to sort.

    A claim that sorts locks everything that is pending.
    """
    return query.with_hint(tables.transaction, "FORCE INDEX (ix_instance_due)", "mysql")


def _is_due(status: TransactionStatus, flow_id: str, now: datetime) -> Any:
    return sa.and_(
        _transaction.status == status,
        _transaction.flow_id == flow_id,
        _transaction.next_due_at <= now,
    )


def _oldest_due(
    connection: Connection, status: TransactionStatus, flow_id: str, now: datetime
) -> datetime | None:
    query = _along_the_index(sa.select(_transaction.next_due_at))
    query = query.where(_is_due(status, flow_id, now))
    head: datetime | None = connection.scalar(query.order_by(_transaction.next_due_at).limit(1))
    return head


def _due(
    connection: Connection,
    status: TransactionStatus,
    flow_id: str,
    now: datetime,
    limits: DispatchLimits,
) -> Sequence[AnyRow]:
    columns = (
        _transaction.seq,
        _transaction.id,
        _transaction.run_id,
        _transaction.params_bytes,
        _transaction.lease_losses,
    )
    query = _along_the_index(sa.select(*columns)).where(_is_due(status, flow_id, now))
    oldest = query.order_by(_transaction.next_due_at, _transaction.seq).limit(limits.max_batch)
    return connection.execute(oldest.with_for_update(skip_locked=True)).all()


def _bounded(rows: Sequence[AnyRow], limits: DispatchLimits) -> Sequence[AnyRow]:
    """The first transaction, and those behind it that fit; one that lost its worker goes alone."""
    if rows[0].lease_losses:
        return rows[:1]
    healthy = [row for row in rows if not row.lease_losses]
    sizes = itertools.accumulate(row.params_bytes for row in healthy)
    fitting = sum(size <= limits.max_batch_bytes for size in sizes)
    return healthy[: max(fitting, 1)]
