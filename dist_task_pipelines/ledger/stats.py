"""How things stand: numbers for people, checks and monitoring.

No query here looks at more than a bounded number of rows, however many transactions there are.
What has settled was counted when it did (`counting.py`); what is open is counted along an index,
up to COUNTED_AT_MOST, and the count says when it stopped there. Days are UTC.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from dist_task_pipelines.domain.counts import COUNTED_AT_MOST, CappedCount
from dist_task_pipelines.domain.status import UNSETTLED, TransactionStatus
from dist_task_pipelines.ledger import tables
from dist_task_pipelines.ledger.counting import ALL_TIME, day
from dist_task_pipelines.ledger.database import Database, reads
from dist_task_pipelines.ledger.histograms import Histogram
from dist_task_pipelines.ledger.listing import Condition, count

_transaction = tables.transaction.c
_exception = tables.exception.c
_batch = tables.batch.c
_minute = tables.flow_stats.c
_total = tables.flow_totals.c

RECENT = timedelta(hours=1)

# Nothing leaves these, so their number is what was ever counted.
_FINAL = (TransactionStatus.SUCCESS, TransactionStatus.CANCELLED)

_IS_OPEN = _exception.handled == sa.false()  # for IS FALSE MySQL reads no index

Measures = Mapping[str, int]
FlowIds = Sequence[str] | None  # flow versions; None: all that there are


@dataclass(frozen=True, slots=True)
class Settled:
    """The transactions that settled since a moment; one that was retried settles again."""

    since: datetime
    success: int
    failed: int
    cancelled: int
    durations: Histogram  # from accepted to settled

    @property
    def success_rate(self) -> float | None:
        """The share that succeeded of those that succeeded or failed; None without any."""
        ended = self.success + self.failed
        return self.success / ended if ended else None


@dataclass(frozen=True, slots=True)
class Statistics:
    """How one flow version stands, or several together.

    Attributes:
        flow_id: of one; None for several.
        backlog: transactions that wait for a run: new ones, and retries that are due.
        backlog_age: seconds that the oldest of them has waited; None without any.
        oldest_exception_at: when the first of the open exceptions occurred.
        runs_in_flight: batches that have not ended.
    """

    flow_id: str | None
    by_status: Mapping[TransactionStatus, CappedCount]
    today: Settled
    last_hour: Settled
    exceptions_open: CappedCount
    exceptions_today: CappedCount
    oldest_exception_at: datetime | None
    backlog: CappedCount
    backlog_age: float | None
    runs_in_flight: int


@dataclass(frozen=True, slots=True)
class Counted:
    """What was ever counted of a flow version's transactions, or of the calls of one task.

    Attributes:
        task_id: None for the transactions.
        by_status: how often each status was come to.
    """

    flow_id: str
    task_id: str | None
    by_status: Mapping[str, int]
    durations: Histogram


class StatsStore:
    """Reads the statistics."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @reads
    def overview(self, connection: Connection) -> Statistics:
        """How all flows stand together."""
        return _statistics(connection, None, self.database.clock.now())

    @reads
    def flow(self, connection: Connection, flow_id: str) -> Statistics:
        """How one flow version stands; zeros where there is none of that id."""
        found = _statistics(connection, [flow_id], self.database.clock.now())
        return replace(found, flow_id=flow_id)

    @reads
    def flow_named(self, connection: Connection, name: str) -> Statistics:
        """How all versions of a flow stand together."""
        return _statistics(connection, _versions(connection, name), self.database.clock.now())

    @reads
    def stuck(
        self, connection: Connection, *, longer_than: float, name: str | None = None
    ) -> CappedCount:
        """Transactions that should have moved `longer_than` seconds ago, by themselves.

        They wait for a run all that time, or their worker's lease ran out and nobody noticed.

        Args:
            name: of one flow, all its versions; by default of all.
        """
        since = self.database.clock.now() - timedelta(seconds=longer_than)
        flow_ids = None if name is None else _versions(connection, name)
        waiting = _count_due(connection, flow_ids, since)
        lost = sa.select(sa.func.coalesce(sa.func.sum(_batch.size), 0)).where(
            _batch.ended_at.is_(None), _batch.lease_expires_at < since, *_of(_batch, flow_ids)
        )
        orphaned = int(connection.scalar(lost) or 0)
        return CappedCount(waiting.count + orphaned, waiting.is_capped)

    @reads
    def counted(
        self, connection: Connection, flow_id: str | None = None, *, today: bool = False
    ) -> list[Counted]:
        """What was ever counted, by flow version and by task; or since midnight only."""
        period = day(self.database.clock.now()) if today else ALL_TIME
        query = sa.select(tables.flow_totals).where(
            _total.period == period, *_of(_total, [flow_id] if flow_id else None)
        )
        found: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
        for row in connection.execute(query):
            found[row.flow_id, row.task_id][row.measure] = row.total
        return [
            Counted(flow, task or None, _statuses(measures), Histogram.of(measures))
            for (flow, task), measures in sorted(found.items())
        ]


def _statistics(connection: Connection, flow_ids: FlowIds, now: datetime) -> Statistics:
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    oldest = _oldest_due(connection, flow_ids, now)
    return Statistics(
        flow_id=None,
        by_status=_by_status(connection, flow_ids),
        today=_settled(_of_period(connection, flow_ids, day(now)), midnight),
        last_hour=_last_hour(connection, flow_ids, now),
        exceptions_open=_count_exceptions(connection, flow_ids, _IS_OPEN),
        exceptions_today=_count_exceptions(
            connection, flow_ids, _exception.occurred_at >= midnight
        ),
        oldest_exception_at=_oldest_exception(connection, flow_ids),
        backlog=_count_due(connection, flow_ids, now),
        backlog_age=(now - oldest).total_seconds() if oldest else None,
        runs_in_flight=_runs_in_flight(connection, flow_ids),
    )


def _by_status(connection: Connection, flow_ids: FlowIds) -> dict[TransactionStatus, CappedCount]:
    ever = _of_period(connection, flow_ids, ALL_TIME)
    return {
        status: CappedCount(ever.get(status, 0))
        if status in _FINAL
        else _count_transactions(connection, flow_ids, [_transaction.status == status])
        for status in TransactionStatus
    }


def _of_period(connection: Connection, flow_ids: FlowIds, period: str) -> dict[str, int]:
    query = sa.select(_total.measure, sa.func.sum(_total.total)).where(
        _total.period == period, _total.task_id == "", *_of(_total, flow_ids)
    )
    rows = connection.execute(query.group_by(_total.measure))
    return {measure: int(total) for measure, total in rows}


def _last_hour(connection: Connection, flow_ids: FlowIds, now: datetime) -> Settled:
    """Of each flow a range of the table's key; flows that settled nothing lately have no part."""
    since = (now - RECENT).replace(second=0, microsecond=0)
    recently = {day(now), day(since)}
    if flow_ids is None:
        lately = sa.select(_total.flow_id).distinct().where(_total.period.in_(recently))
        flow_ids = list(connection.scalars(lately))
    query = sa.select(_minute.measure, sa.func.sum(_minute.total)).where(
        _minute.flow_id.in_(flow_ids), _minute.minute >= since
    )
    rows = connection.execute(query.group_by(_minute.measure))
    return _settled({measure: int(total) for measure, total in rows}, since)


def _settled(measures: Measures, since: datetime) -> Settled:
    return Settled(
        since=since,
        success=measures.get(TransactionStatus.SUCCESS, 0),
        failed=measures.get(TransactionStatus.FAILED, 0),
        cancelled=measures.get(TransactionStatus.CANCELLED, 0),
        durations=Histogram.of(measures),
    )


def _count_due(connection: Connection, flow_ids: FlowIds, moment: datetime) -> CappedCount:
    is_due = _transaction.next_due_at <= moment
    variants = ([_transaction.status == status, is_due] for status in UNSETTLED)
    return _count_transactions(connection, flow_ids, *variants)


def _oldest_due(connection: Connection, flow_ids: FlowIds, now: datetime) -> datetime | None:
    """One look at the index for each flow version and status."""
    heads = [_head_of(status, now) for status in UNSETTLED]
    chosen = [] if flow_ids is None else [tables.flow.c.id.in_(flow_ids)]
    query = sa.select(*heads).select_from(tables.flow).where(*chosen)
    found = [moment for row in connection.execute(query) for moment in row if moment]
    return min(found, default=None)


def _head_of(status: TransactionStatus, now: datetime) -> Any:
    """The earliest due time among the transactions of a row of `task_group_flow`."""
    due = sa.select(_transaction.next_due_at).where(
        _transaction.status == status,
        _transaction.flow_id == tables.flow.c.id,
        _transaction.next_due_at <= now,
    )
    # The whole index's order: by the time alone MySQL would sort what it finds.
    in_order = due.order_by(_transaction.status, _transaction.flow_id, _transaction.next_due_at)
    return in_order.limit(1).correlate(tables.flow).scalar_subquery()


def _oldest_exception(connection: Connection, flow_ids: FlowIds) -> datetime | None:
    still_open = sa.select(_exception.occurred_at).where(_IS_OPEN, *_of(_exception, flow_ids))
    return connection.scalar(still_open.order_by(_exception.id).limit(1))


def _runs_in_flight(connection: Connection, flow_ids: FlowIds) -> int:
    query = sa.select(sa.func.count()).select_from(tables.batch)
    return connection.scalar(query.where(_batch.ended_at.is_(None), *_of(_batch, flow_ids))) or 0


def _count_transactions(
    connection: Connection, flow_ids: FlowIds, *variants: Sequence[Condition]
) -> CappedCount:
    of_flows = _of(_transaction, flow_ids)
    chosen = [[*variant, *of_flows] for variant in variants]
    return count(connection, _transaction.seq, chosen, COUNTED_AT_MOST)


def _count_exceptions(
    connection: Connection, flow_ids: FlowIds, condition: Condition
) -> CappedCount:
    chosen = [[condition, *_of(_exception, flow_ids)]]
    return count(connection, _exception.id, chosen, COUNTED_AT_MOST)


def _of(columns: Any, flow_ids: FlowIds) -> list[Any]:
    """The condition that a row is of one of the flow versions, if not of any."""
    return [] if flow_ids is None else [columns.flow_id.in_(flow_ids)]


def _versions(connection: Connection, name: str) -> list[str]:
    query = sa.select(tables.flow.c.id).where(tables.flow.c.name == name)
    return list(connection.scalars(query))


def _statuses(measures: Measures) -> dict[str, int]:
    return {name: total for name, total in measures.items() if not name.startswith("duration_")}
