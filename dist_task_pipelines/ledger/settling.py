"""What every writing store shares: locking transactions, reading their tasks, settling them.

Lock order, the same everywhere: the batch's row, its transactions in key order, then their
tasks, exceptions and statistics.
"""

import bisect
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from dist_task_pipelines.domain.flow import Flow
from dist_task_pipelines.domain.state import Grant, Settlement, TaskState, settle
from dist_task_pipelines.domain.status import GrantedBy, LogAction, TaskStatus
from dist_task_pipelines.ledger import tables
from dist_task_pipelines.ledger.database import insert_rows, update_rows, upsert_rows
from dist_task_pipelines.ledger.types import AnyRow

_transaction = tables.transaction.c
_task = tables.task.c

DURATION_BOUNDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)  # seconds

States = dict[int, dict[str, TaskState]]


def lock_transactions(connection: Connection, *conditions: Any) -> Sequence[AnyRow]:
    """Lock the transactions that match, in key order, and give their rows without params."""
    columns = [column for column in tables.transaction.c if column.name != "params"]
    query = sa.select(*columns).where(*conditions).order_by(_transaction.seq)
    return connection.execute(query.with_for_update()).all()


def lock_owned(connection: Connection, batch_id: int, seqs: Collection[int]) -> Sequence[AnyRow]:
    """Lock those of the transactions that the batch still owns."""
    return lock_transactions(
        connection, _transaction.seq.in_(seqs), _transaction.batch_id == batch_id
    )


def task_states(connection: Connection, seqs: Collection[int]) -> States:
    """The state of every started task of these transactions."""
    states: States = defaultdict(dict)
    query = sa.select(
        _task.seq,
        _task.task_id,
        _task.status,
        _task.granted_by,
        _task.grant_due_at,
        _task.handled,
        _task.error_message,
    ).where(_task.seq.in_(seqs))
    for row in connection.execute(query):
        states[row.seq][row.task_id] = state_of(row)
    return states


def state_of(row: AnyRow) -> TaskState:
    """The state in a row of `dist_task`."""
    grant = Grant(GrantedBy(row.granted_by), row.grant_due_at) if row.granted_by else None
    return TaskState(TaskStatus(row.status), grant, row.handled, row.error_message or "")


def settlements(
    flow: Flow, rows: Iterable[AnyRow], states: States, now: datetime
) -> dict[int, Settlement]:
    """What each locked transaction has come to, by seq."""
    return {
        row.seq: settle(flow, states.get(row.seq, {}), now, cancel=row.cancel_requested)
        for row in rows
    }


def release(
    connection: Connection,
    rows: Sequence[AnyRow],
    settled: Mapping[int, Settlement],
    now: datetime,
    *,
    losses: int = 0,
) -> None:
    """Write what these locked transactions have come to, and free them of their owner.

    A final one gets its `complete` log row and is counted in the statistics.

    Args:
        losses: leases lost with this, added to each transaction's count.
    """
    if not rows:
        return
    update_rows(
        connection,
        tables.transaction,
        "seq",
        [_released(row, settled[row.seq], now, losses) for row in rows],
    )
    final = [row for row in rows if settled[row.seq].is_final]
    insert_rows(
        connection,
        tables.log,
        [
            log_row(row, LogAction.COMPLETE, settled[row.seq].status, now, run_id=row.run_id)
            for row in final
        ],
    )
    count_settled(connection, final, settled, now)


def _released(row: AnyRow, settled: Settlement, now: datetime, losses: int) -> dict[str, Any]:
    return {
        "seq": row.seq,
        "status": settled.status,
        "health": settled.health,
        "next_due_at": settled.next_due_at,
        "batch_id": None,
        "lease_losses": row.lease_losses + losses,
        "error_message": settled.error or None,
        "updated_at": now,
        "completed_at": now if settled.is_final else None,
    }


def count_settled(
    connection: Connection,
    rows: Iterable[AnyRow],
    settled: Mapping[int, Settlement],
    now: datetime,
) -> None:
    """Add transactions that settled to their flow's statistics of this minute."""
    totals: Counter[tuple[str, str]] = Counter()
    for row in rows:
        totals[row.flow_id, settled[row.seq].status] += 1
        totals[row.flow_id, duration_measure((now - row.created_at).total_seconds())] += 1
    minute = now.replace(second=0, microsecond=0)
    upsert_rows(
        connection,
        tables.flow_stats,
        [
            {"flow_id": flow_id, "minute": minute, "measure": measure, "total": total}
            for (flow_id, measure), total in sorted(totals.items())
        ],
        add=["total"],
    )


def duration_measure(seconds: float) -> str:
    """The histogram bucket of a duration: `duration_le_0.5`, up to `duration_le_inf`."""
    place = bisect.bisect_left(DURATION_BOUNDS, seconds)
    bound = DURATION_BOUNDS[place] if place < len(DURATION_BOUNDS) else "inf"
    return f"duration_le_{bound}"


def log_row(
    row: AnyRow,
    action: LogAction,
    message: str,
    now: datetime,
    *,
    task_id: str | None = None,
    details: dict[str, Any] | None = None,
    run_id: str | None = None,
    attempt: int | None = None,
) -> dict[str, Any]:
    """A row of the execution log, about a transaction or one of its tasks."""
    return {
        "seq": row.seq,
        "task_id": task_id,
        "action": action,
        "message": message,
        "details": details,
        "run_id": run_id,
        "attempt": attempt,
        "created_at": now,
    }
