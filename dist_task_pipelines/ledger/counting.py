"""Adding to the statistics: by minute, by day and for all time, with what they count."""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from dist_task_pipelines.domain.status import TaskStatus, TransactionStatus
from dist_task_pipelines.ledger import tables
from dist_task_pipelines.ledger.bulk import upsert_rows
from dist_task_pipelines.ledger.histograms import SUM_MEASURE, duration_measure

ALL_TIME = "all"  # the period of what is never forgotten

Totals = Counter[tuple[str, str, str]]  # by flow id, task id and measure


def count_settled(
    connection: Connection,
    ends: Iterable[tuple[str, TransactionStatus, timedelta]],
    now: datetime,
) -> None:
    """Count transactions that settled: their flow id, status, and how long they took in all."""
    totals: Totals = Counter()
    for flow_id, status, duration in ends:
        _add(totals, (flow_id, ""), status, duration)
    minute = now.replace(second=0, microsecond=0)
    upsert_rows(
        connection,
        tables.flow_stats,
        [
            {"flow_id": flow_id, "minute": minute, "measure": measure, "total": total}
            for (flow_id, _, measure), total in sorted(totals.items())
            if measure != SUM_MEASURE
        ],
        add=["total"],
    )
    _count_totals(connection, totals, now)


def count_calls(
    connection: Connection,
    flow_id: str,
    task_id: str,
    ends: Iterable[tuple[TaskStatus, timedelta]],
    now: datetime,
) -> None:
    """Count attempts of one task that ended: what they came to and how long they took."""
    totals: Totals = Counter()
    for status, duration in ends:
        _add(totals, (flow_id, task_id), status, duration)
    _count_totals(connection, totals, now)


def day(moment: date) -> str:
    """The period of a day, in UTC."""
    return f"{moment:%Y-%m-%d}"


def _add(totals: Totals, what: tuple[str, str], status: str, duration: timedelta) -> None:
    seconds = max(duration.total_seconds(), 0)  # clocks may be set back
    totals[*what, status] += 1
    totals[*what, duration_measure(seconds)] += 1
    totals[*what, SUM_MEASURE] += round(seconds * 1000)


def _count_totals(connection: Connection, totals: Mapping[Any, int], now: datetime) -> None:
    upsert_rows(
        connection,
        tables.flow_totals,
        [
            {
                "period": period,
                "flow_id": flow_id,
                "task_id": task_id,
                "measure": measure,
                "total": total,
            }
            for period in (day(now), ALL_TIME)
            for (flow_id, task_id, measure), total in sorted(totals.items())
        ],
        add=["total"],
    )
