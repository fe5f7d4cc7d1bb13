"""Who owns which transactions: the rows of batches, and the locks that writers take.

Lock order, the same everywhere: the batch's row, its transactions in key order, then their
tasks, exceptions and statistics.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from dist_task_pipelines.domain.errors import NotFound
from dist_task_pipelines.ledger import tables
from dist_task_pipelines.ledger.types import AnyRow

_transaction = tables.transaction.c
_batch = tables.batch.c
_WITHOUT_PARAMS = [column for column in _transaction if column.name != "params"]


def lock_batch(connection: Connection, batch_id: int) -> AnyRow:
    """Lock a batch and give its row without its members.

    Raises:
        NotFound: there is no such batch.
    """
    columns = [column for column in _batch if column.name != "members"]
    row = connection.execute(sa.select(*columns).where(_batch.id == batch_id).with_for_update())
    found = row.first()
    if found is None:
        raise NotFound("batch", batch_id)
    return found


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
        connection.execute(
            sa.update(tables.batch).where(_batch.id == batch.id).values(lease_expires_at=until)
        )


def lock_transactions(connection: Connection, *conditions: Any) -> Sequence[AnyRow]:
    """Lock the transactions that match, in key order, and give their rows without params."""
    query = sa.select(*_WITHOUT_PARAMS).where(*conditions).order_by(_transaction.seq)
    return connection.execute(query.with_for_update()).all()


def lock_owned(
    connection: Connection,
    batch_id: int,
    seqs: Collection[int],
    tasks: sa.ColumnElement[bool],
    *columns: sa.Column[Any],
) -> Sequence[AnyRow]:
    """Lock those of the transactions that the batch still owns, each before its tasks.

    Args:
        tasks: which rows of `dist_task` to lock and to give beside them.
        columns: of those rows; None where a transaction has no such task.

    Returns:
        `seq` and `cancel_requested` of each transaction, once for each of its tasks, once at least.
    """
    # An outer join, so that no plan locks a task before its transaction.
    query = sa.select(_transaction.seq, _transaction.cancel_requested, *columns).outerjoin_from(
        tables.transaction, tables.task, sa.and_(tables.task.c.seq == _transaction.seq, tasks)
    )
    owned = query.where(_transaction.seq.in_(seqs), _transaction.batch_id == batch_id)
    return connection.execute(owned.order_by(_transaction.seq).with_for_update()).all()


def locked_rows(connection: Connection, seqs: Collection[int]) -> Sequence[AnyRow]:
    """The rows, without params, of transactions that are locked already; in key order."""
    query = sa.select(*_WITHOUT_PARAMS).where(_transaction.seq.in_(seqs))
    return connection.execute(query.order_by(_transaction.seq)).all() if seqs else []
