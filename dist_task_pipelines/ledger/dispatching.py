"""Dispatch: what may be called becomes batches, oldest first, fair between flows."""

import itertools
import uuid
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from dist_task_pipelines.domain.status import UNSETTLED, TransactionStatus
from dist_task_pipelines.ledger import tables
from dist_task_pipelines.ledger.database import Database, reads, writes
from dist_task_pipelines.ledger.owning import insert_batch
from dist_task_pipelines.ledger.records import DispatchedBatch, DispatchLimits, ToDo
from dist_task_pipelines.ledger.tables import along_the_due_index
from dist_task_pipelines.ledger.types import AnyRow

_transaction = tables.transaction.c
_batch = tables.batch.c
_flow = tables.flow.c


class Dispatcher:
    """Makes batches of transactions that are due."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @reads
    def look(self, connection: Connection, *, patience: float) -> ToDo:
        """What there is to do; asked in one statement, without keeping other dispatchers.

        Args:
            patience: seconds that a named run may take to get to a worker.
        """
        now = self.database.clock.now()
        since = now - timedelta(seconds=patience)
        due, unattended = connection.execute(_look_query(), {"now": now, "since": since}).one()
        return ToDo(due=bool(due), unattended=bool(unattended))

    @writes
    def dispatch(
        self,
        connection: Connection,
        limits: DispatchLimits,
        *,
        status: TransactionStatus | None = None,
        flow_ids: Collection[str] | None = None,
        name_runs: bool = False,
        overdue: float = 0,
    ) -> list[DispatchedBatch]:
        """Make as many batches as the limits allow; each waits for a run to take it.

        The flow with the fewest runs in flight comes first, of several the one whose work has
        waited longest: beside a backlog, another flow waits for one run to end. A transaction
        that lost its worker once is dispatched alone. While retries wait, new transactions leave
        one of the runs in flight to them, and the other way round. Dispatchers take turns on one
        row, so the limits are exact.

        Args:
            status: `pending` for new transactions, `running` for those with a due retry;
                by default both.
            flow_ids: the flow versions whose jobs can be launched; by default all.
            name_runs: choose the id of the run that is to take each batch; no other can.
            overdue: seconds for which the oldest of a flow must have been due.
        """
        identity = tables.ledger_identity
        connection.execute(sa.select(identity.c.id).with_for_update()).one()
        now = self.database.clock.now()
        heads = _heads(connection, now - timedelta(seconds=overdue), flow_ids)
        room = _Room(limits, _in_flight(connection), shared=len({head[1] for head in heads}) > 1)
        waiting = [head for head in heads if status in (None, head[1])]
        dispatched: list[DispatchedBatch] = []
        while waiting and room.is_left:
            head = min(waiting, key=lambda each: (room.taken_by(each[2]), *each))
            waiting.remove(head)
            _, picked, flow_id = head
            if not room.is_left_for(picked, flow_id):
                continue
            batch = self._make(connection, limits, picked, flow_id, now, name_run=name_runs)
            if batch:
                dispatched.append(batch)
                room.take(picked, flow_id)
            if batch and (oldest := _oldest_due(connection, picked, flow_id, now)):
                waiting.append((oldest, picked, flow_id))
        return dispatched

    @reads
    def waiting(
        self,
        connection: Connection,
        *,
        status: TransactionStatus | None = None,
        flow_ids: Collection[str] | None = None,
        named: bool = False,
        for_seconds: float = 0,
    ) -> list[DispatchedBatch]:
        """The batches that no run has taken yet, by id.

        Args:
            status: only those dispatched for it.
            flow_ids: only those of these flows.
            named: those whose run's id is chosen, else those that any run may take.
            for_seconds: only those that were dispatched so long ago.
        """
        alone = sa.and_(_batch.size == 1, _transaction.batch_id == _batch.id)
        since = self.database.clock.now() - timedelta(seconds=for_seconds)
        query = (
            sa.select(tables.batch, _transaction.id.label("transaction_id"))
            .outerjoin(tables.transaction, alone)
            .where(
                _batch.ended_at.is_(None),
                _waits(since, named=named),
                _batch.picked_status == status if status else sa.true(),
                _batch.flow_id.in_(flow_ids) if flow_ids is not None else sa.true(),
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
                row.run_id,
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
        *,
        name_run: bool,
    ) -> DispatchedBatch | None:
        due = _due(connection, status, flow_id, now, limits)
        if not due:  # others hold them locked at this moment
            return None
        picked = _bounded(due, limits)
        alone = picked[0] if len(picked) == 1 else None
        run_id = str(uuid.uuid4()) if name_run else None
        batch_id = insert_batch(
            connection,
            flow_id,
            [row.seq for row in picked],
            now,
            lease=limits.start_timeout,
            run_id=run_id,
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
            run_id=run_id,
        )


class _Room:
    """How many more runs may be in flight: in all, for one flow, and for one status.

    Args:
        in_flight: the runs that are, by the status they were picked for and their flow.
        shared: whether transactions of more than one status wait.
    """

    def __init__(
        self,
        limits: DispatchLimits,
        in_flight: Counter[tuple[str | None, str]],
        *,
        shared: bool,
    ) -> None:
        self._limits = limits
        self._in_flight = in_flight
        most = limits.max_runs_in_flight
        self._most_of_status = max(1, most - 1) if shared else most

    @property
    def is_left(self) -> bool:
        return self._in_flight.total() < self._limits.max_runs_in_flight

    def taken_by(self, flow_id: str) -> int:
        return sum(count for (_, flow), count in self._in_flight.items() if flow == flow_id)

    def is_left_for(self, status: str, flow_id: str) -> bool:
        of_flow = self.taken_by(flow_id)
        of_status = sum(count for (each, _), count in self._in_flight.items() if each == status)
        return (
            of_flow < self._limits.max_runs_in_flight_per_flow and of_status < self._most_of_status
        )

    def take(self, status: str, flow_id: str) -> None:
        self._in_flight[status, flow_id] += 1


def _in_flight(connection: Connection) -> Counter[tuple[str | None, str]]:
    """The open batches, by the status they were picked for and their flow."""
    columns = (_batch.picked_status, _batch.flow_id)
    query = sa.select(*columns, sa.func.count()).where(_batch.ended_at.is_(None))
    rows = connection.execute(query.group_by(*columns))
    return Counter({(row[0], row[1]): row[2] for row in rows})


def _waits(since: Any, *, named: bool) -> sa.ColumnElement[bool]:
    """Whether a batch was dispatched by then and no run has taken it."""
    return sa.and_(
        _batch.started_at.is_(None),
        _batch.run_id.is_not(None) if named else _batch.run_id.is_(None),
        _batch.dispatched_at <= since,
    )


@cache
def _look_query() -> sa.Select[bool, bool]:
    """Whether anything is due, and whether a batch lost its worker or waits for one too long."""
    heads = _heads_query(of_flows=False).subquery()
    waits = _waits(sa.bindparam("since"), named=True)
    is_expired = _batch.lease_expires_at < sa.bindparam("now")
    return sa.select(
        sa.exists().where(heads.c.oldest.is_not(None)),
        sa.exists().where(_batch.ended_at.is_(None), sa.or_(is_expired, waits)),
    )


def _heads(
    connection: Connection,
    now: datetime,
    flow_ids: Collection[str] | None = None,
) -> list[tuple[datetime, TransactionStatus, str]]:
    """The oldest due time of each status and flow that has any."""
    query = _heads_query(of_flows=flow_ids is not None)
    rows = connection.execute(query, {"now": now, "flows": flow_ids})
    return [(row.oldest, TransactionStatus(row.status), row.id) for row in rows if row.oldest]


@cache
def _heads_query(*, of_flows: bool) -> sa.CompoundSelect[Any]:
    return sa.union_all(*(_heads_of(status, of_flows=of_flows) for status in UNSETTLED))


def _heads_of(status: TransactionStatus, *, of_flows: bool) -> sa.Select[Any]:
    oldest = (
        along_the_due_index(sa.select(_transaction.next_due_at))
        .where(_is_due(status, _flow.id, sa.bindparam("now")))
        # The index's columns in full: by the last alone, MySQL would sort all that is due.
        .order_by(_transaction.status, _transaction.flow_id, _transaction.next_due_at)
        .limit(1)
        .scalar_subquery()
        .label("oldest")
    )
    query = sa.select(sa.literal(str(status)).label("status"), _flow.id, oldest)
    named = _flow.id.in_(sa.bindparam("flows", expanding=True))
    return query.where(named) if of_flows else query


def _is_due(status: TransactionStatus, flow_id: Any, now: Any) -> Any:
    return sa.and_(
        _transaction.status == status,
        _transaction.flow_id == flow_id,
        _transaction.next_due_at <= now,
    )


def _oldest_due(
    connection: Connection, status: TransactionStatus, flow_id: str, now: datetime
) -> datetime | None:
    query = along_the_due_index(sa.select(_transaction.next_due_at))
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
    query = along_the_due_index(sa.select(*columns)).where(_is_due(status, flow_id, now))
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
