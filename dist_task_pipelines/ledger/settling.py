"""Writing what transactions have come to: their status, their last log row, the statistics."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from dist_task_pipelines.domain.flow import Flow
from dist_task_pipelines.domain.state import SUCCEEDED, Settlement, settle
from dist_task_pipelines.domain.status import LogAction, TransactionStatus
from dist_task_pipelines.ledger import tables
from dist_task_pipelines.ledger.bulk import insert_rows, update_rows
from dist_task_pipelines.ledger.counting import count_settled
from dist_task_pipelines.ledger.owning import locked_rows
from dist_task_pipelines.ledger.task_rows import all_done, take_back_grants, task_states
from dist_task_pipelines.ledger.types import AnyRow, Encoded


def release(
    connection: Connection,
    flow: Flow,
    rows: Sequence[AnyRow],
    now: datetime,
    *,
    losses: int = 0,
) -> None:
    """Write what these locked transactions have come to, and free them of their owner.

    One that settled gets its `complete` log row and is counted in the statistics; one that was
    cancelled loses its grants. One that no run has taken yet stays pending, in its old place.

    Args:
        losses: leases lost with this, added to each transaction's count.
    """
    _write(connection, rows, _settlements(connection, flow, rows, now), now, losses)


def release_idle(connection: Connection, flow: Flow, seqs: Collection[int], now: datetime) -> None:
    """As `release`, for those of them that have nothing to do at this moment."""
    rows = locked_rows(connection, seqs)
    settled = _settlements(connection, flow, rows, now)
    idle = [row for row in rows if settled[row.seq].is_idle(now)]
    _write(connection, idle, settled, now, losses=0)


def _settlements(
    connection: Connection, flow: Flow, rows: Sequence[AnyRow], now: datetime
) -> dict[int, Settlement]:
    done = all_done(connection, flow, [row.seq for row in rows])
    rest = [row for row in rows if row.seq not in done]
    states = task_states(connection, [row.seq for row in rest]) if rest else {}
    return dict.fromkeys(done, SUCCEEDED) | {
        row.seq: settle(flow, states.get(row.seq, {}), now, cancel=row.cancel_requested)
        for row in rest
    }


def _write(
    connection: Connection,
    rows: Sequence[AnyRow],
    settled: Mapping[int, Settlement],
    now: datetime,
    losses: int,
) -> None:
    changes = [_released(row, settled[row.seq], now, losses) for row in rows]
    update_rows(connection, tables.transaction, "seq", changes)
    final = [row for row in rows if _has_settled(row, settled[row.seq])]
    cancelled = TransactionStatus.CANCELLED
    take_back_grants(connection, [row.seq for row in final if settled[row.seq].status is cancelled])
    insert_rows(
        connection,
        tables.log,
        [
            log_row(row.seq, LogAction.COMPLETE, settled[row.seq].status, now, run_id=row.run_id)
            for row in final
        ],
    )
    ends = [(row.flow_id, settled[row.seq].status, now - row.created_at) for row in final]
    count_settled(connection, ends, now)


def _has_settled(row: AnyRow, settled: Settlement) -> bool:
    """Whether it settled only now: handling an exception leaves a failed transaction failed."""
    return settled.is_final and settled.status != row.status


def _released(row: AnyRow, settled: Settlement, now: datetime, losses: int) -> dict[str, Any]:
    completed_at = None
    if settled.is_final:
        completed_at = now if _has_settled(row, settled) else row.completed_at
    released = {
        "seq": row.seq,
        "status": settled.status,
        "health": settled.health,
        "next_due_at": settled.next_due_at,
        "batch_id": None,
        "lease_losses": row.lease_losses + losses,
        "error_message": settled.error or None,
        "updated_at": now,
        "completed_at": completed_at,
    }
    if row.status == TransactionStatus.PENDING and not settled.is_final:
        released |= {"status": row.status, "next_due_at": row.created_at}
    return released


def log_row(
    seq: int,
    action: LogAction,
    message: str,
    now: datetime,
    *,
    task_id: str | None = None,
    details: dict[str, Any] | Encoded | None = None,
    run_id: str | None = None,
    attempt: int | None = None,
) -> dict[str, Any]:
    """A row of the execution log, about a transaction or one of its tasks."""
    return {
        "seq": seq,
        "task_id": task_id,
        "action": action,
        "message": message,
        "details": details,
        "run_id": run_id,
        "attempt": attempt,
        "created_at": now,
    }
