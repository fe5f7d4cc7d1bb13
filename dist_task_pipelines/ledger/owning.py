"""Who owns which transactions: the rows of batches, and the locks that writers take.

Lock order, the same everywhere: the batch's row, its transactions in key order, then their
tasks, exceptions and statistics.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from dist_task_pipelines.domain.errors import NotFound
from dist_task_pipelines.domain.status import TaskStatus
from dist_task_pipelines.ledger import tables
from dist_task_pipelines.ledger.types import AnyRow

_transaction = tables.transaction.c
_batch = tables.batch.c
_task = tables.task.c
_WITHOUT_PARAMS = [column for column in _transaction if column.name != "params"]

# Statements that every task of every batch needs are made once: making one takes longer than
# sending it.
_LOCKED_BATCH = (
    sa.select(*(column for column in _batch if column.name != "members"))
    .where(_batch.id == sa.bindparam("batch"))
    .with_for_update()
)
_SET_LEASE = (
    sa.update(tables.batch)
    .where(_batch.id == sa.bindparam("batch"))
    .values(lease_expires_at=sa.bindparam("until"))
)
_ROWS = (
    sa.select(*_WITHOUT_PARAMS)
    .where(_transaction.seq.in_(sa.bindparam("seqs", expanding=True)))
    .order_by(_transaction.seq)
)


def lock_batch(connection: Connection, batch_id: int) -> AnyRow:
    """Lock a batch and give its row without its members.

    Raises:
        NotFound: there is no such batch.
    """
    row = connection.execute(_LOCKED_BATCH, {"batch": batch_id}).first()
    if row is None:
        raise NotFound("batch", batch_id)
    return row


def insert_batch(
    connection: Connection,
    flow_id: str,
    seqs: Collection[int],
    now: datetime,
    *,
    lease: float,
    **columns: Any,
) -> int:
    """Make a batch of these locked transactions, which it owns from now on; gives its id."""
    result = connection.execute(
        sa.insert(tables.batch).values(
            flow_id=flow_id,
            members=sorted(seqs),
            size=len(seqs),
            lease_expires_at=now + timedelta(seconds=lease),
            stop_requested=False,
            dispatched_at=now,
            **columns,
        )
    )
    assert result.inserted_primary_key
    batch_id = int(result.inserted_primary_key[0])
    connection.execute(
        sa.update(tables.transaction)
        .where(_transaction.seq.in_(seqs))
        .values(batch_id=batch_id, next_due_at=None)
    )
    return batch_id


def stretch_lease(connection: Connection, batch: AnyRow, until: datetime) -> None:
    """Let the lease of a locked batch last until then, unless it lasts longer already."""
    if batch.lease_expires_at < until:
        set_lease(connection, batch.id, until)


def set_lease(connection: Connection, batch_id: int, until: datetime) -> None:
    """Let the lease of a locked batch last until then."""
    connection.execute(_SET_LEASE, {"batch": batch_id, "until": until})


def lock_transactions(connection: Connection, *conditions: Any) -> Sequence[AnyRow]:
    """Lock the transactions that match, in key order, and give their rows without params."""
    query = sa.select(*_WITHOUT_PARAMS).where(*conditions).order_by(_transaction.seq)
    return connection.execute(query.with_for_update()).all()


def lock_owned(
    connection: Connection,
    batch_id: int,
    seqs: Collection[int],
    task_ids: Collection[str],
    columns: tuple[sa.Column[Any], ...],
    *,
    status: TaskStatus | None = None,
) -> Sequence[AnyRow]:
    """Lock those of the transactions that the batch still owns, each before its tasks.

    Args:
        task_ids: the tasks to lock and to give beside them.
        columns: of those; None where a transaction has no such task.
        status: only tasks in this one.

    Returns:
        `seq` and `cancel_requested` of each transaction, once for each of its tasks, once at least.
    """
    values = {"batch": batch_id, "seqs": seqs, "tasks": task_ids, "status": status}
    return connection.execute(_owned(columns, of_status=status is not None), values).all()


@cache
def _owned(columns: tuple[sa.Column[Any], ...], *, of_status: bool) -> sa.Select[Any]:
    tasks = [
        _task.seq == _transaction.seq,
        _task.task_id.in_(sa.bindparam("tasks", expanding=True)),
    ]
    if of_status:
        tasks.append(_task.status == sa.bindparam("status"))
    # An outer join, so that no plan locks a task before its transaction.
    query = sa.select(_transaction.seq, _transaction.cancel_requested, *columns).outerjoin_from(
        tables.transaction, tables.task, sa.and_(*tasks)
    )
    owned = query.where(
        _transaction.seq.in_(sa.bindparam("seqs", expanding=True)),
        _transaction.batch_id == sa.bindparam("batch"),
    )
    return owned.order_by(_transaction.seq).with_for_update()


def locked_rows(connection: Connection, seqs: Collection[int]) -> Sequence[AnyRow]:
    """The rows, without params, of transactions that are locked already; in key order."""
    return connection.execute(_ROWS, {"seqs": seqs}).all() if seqs else []
