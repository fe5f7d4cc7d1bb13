"""What monitoring asks besides the statistics: whether the ledger can be written, what is open."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection

from dist_task_pipelines.domain.counts import CappedCount
from dist_task_pipelines.domain.status import TransactionStatus
from dist_task_pipelines.ledger import tables
from dist_task_pipelines.ledger.database import Database, reads, writes
from dist_task_pipelines.ledger.listing import count

_batch = tables.batch.c
_transaction = tables.transaction.c

# Transactions leave these again; of the others the statistics tell how many there ever were.
OPEN = (TransactionStatus.PENDING, TransactionStatus.RUNNING, TransactionStatus.FAILED)


@dataclass(frozen=True, slots=True)
class InFlight:
    """The open batches."""

    waiting: int  # for a run to take them
    running: int
    lost: int  # their leases ran out, nobody has handed their work back yet


class MonitoringStore:
    """Looks at the ledger for `/health` and `/metrics`."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @writes
    def check_writable(self, connection: Connection) -> None:
        """Write to the ledger, and leave it as it was.

        Raises:
            LedgerUnavailable: that cannot be done.
        """
        identity = tables.ledger_identity
        same = sa.update(identity).values(created_at=identity.c.created_at)
        connection.execute(same)

    @reads
    def in_flight(self, connection: Connection) -> InFlight:
        """The batches that have not ended; dispatch bounds them."""
        now = self.database.clock.now()
        query = sa.select(_batch.started_at, _batch.lease_expires_at)
        rows = connection.execute(query.where(_batch.ended_at.is_(None))).all()
        lost = sum(row.lease_expires_at < now for row in rows)
        running = sum(row.started_at is not None for row in rows if row.lease_expires_at >= now)
        return InFlight(waiting=len(rows) - lost - running, running=running, lost=lost)

    @reads
    def open_by_flow(
        self, connection: Connection, most: int
    ) -> Mapping[tuple[str, TransactionStatus], CappedCount]:
        """How many transactions of each flow are in each state of OPEN, counted up to `most`."""
        return {
            (flow_id, status): count(
                connection,
                _transaction.seq,
                [[_transaction.status == status, _transaction.flow_id == flow_id]],
                most,
            )
            for status in OPEN
            for flow_id in _flows_with(connection, status)
        }


def _flows_with(connection: Connection, status: TransactionStatus) -> Iterator[str]:
    """The flows that have such transactions: one look at the index for each."""
    of_status = sa.select(_transaction.flow_id).where(_transaction.status == status)
    in_order = of_status.order_by(_transaction.status, _transaction.flow_id).limit(1)
    found = connection.scalar(in_order)
    while found is not None:
        yield found
        found = connection.scalar(in_order.where(_transaction.flow_id > found))
