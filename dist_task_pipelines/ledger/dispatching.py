"""Dispatch: what may be called becomes batches, oldest first, fair between flows."""

import heapq
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from dist_task_pipelines.domain.status import TransactionStatus
from dist_task_pipelines.ledger import tables
from dist_task_pipelines.ledger.database import Database, writes
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

    def _make(
        self,
        connection: Connection,
        limits: DispatchLimits,
        status: TransactionStatus,
        flow_id: str,
        now: datetime,
    ) -> DispatchedBatch | None:
        picked = _bounded(_due(connection, status, flow_id, now, limits), limits)
        seqs = sorted(row.seq for row in picked)
        result = connection.execute(
            sa.insert(tables.batch).values(
                flow_id=flow_id,
                members=seqs,
                size=len(seqs),
                parent_run_id=picked[0].run_id if len(picked) == 1 else None,
                lease_expires_at=now + timedelta(seconds=limits.start_timeout),
                stop_requested=False,
                dispatched_at=now,
            )
        )
        assert result.inserted_primary_key
        batch_id = int(result.inserted_primary_key[0])
        claimed = connection.execute(
            sa.update(tables.transaction)
            .where(
                _transaction.seq.in_(seqs),
                _transaction.status == status,
                _transaction.next_due_at <= now,
            )
            .values(batch_id=batch_id, next_due_at=None)
        )
        if claimed.rowcount == 0:  # all were cancelled a moment ago
            connection.execute(sa.delete(tables.batch).where(_batch.id == batch_id))
            return None
        alone = picked[0] if len(picked) == 1 else None
        return DispatchedBatch(
            id=batch_id,
            flow_id=flow_id,
            size=len(seqs),
            transaction_id=alone.id if alone else None,
            parent_run_id=alone.run_id if alone else None,
        )


def _runs_in_flight(connection: Connection) -> Counter[str]:
    query = sa.select(_batch.flow_id, sa.func.count()).where(_batch.ended_at.is_(None))
    rows = connection.execute(query.group_by(_batch.flow_id))
    return Counter({row[0]: row[1] for row in rows})


def _is_due(status: TransactionStatus, flow_id: str, now: datetime) -> Any:
    return sa.and_(
        _transaction.status == status,
        _transaction.flow_id == flow_id,
        _transaction.next_due_at <= now,
    )


def _oldest_due(
    connection: Connection, status: TransactionStatus, flow_id: str, now: datetime
) -> datetime | None:
    query = sa.select(_transaction.next_due_at).where(_is_due(status, flow_id, now))
    return connection.scalar(query.order_by(_transaction.next_due_at).limit(1))


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
    query = sa.select(*columns).where(_is_due(status, flow_id, now))
    return connection.execute(
        query.order_by(_transaction.next_due_at, _transaction.seq).limit(limits.max_batch)
    ).all()


def _bounded(rows: Sequence[AnyRow], limits: DispatchLimits) -> Sequence[AnyRow]:
    """The first transaction, and those behind it that fit; one that lost its worker goes alone."""
    if rows[0].lease_losses:
        return rows[:1]
    picked, size = [rows[0]], rows[0].params_bytes
    for row in rows[1:]:
        size += row.params_bytes
        if size > limits.max_batch_bytes:
            break
        if not row.lease_losses:
            picked.append(row)
    return picked
