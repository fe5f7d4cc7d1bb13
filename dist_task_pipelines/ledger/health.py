"""Whether the ledger can be written, and how its runs do."""

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection

from dist_task_pipelines.ledger import tables
from dist_task_pipelines.ledger.database import Database, reads, writes

_batch = tables.batch.c


@dataclass(frozen=True, slots=True)
class InFlight:
    """The open batches."""

    waiting: int  # for a run to take them
    running: int
    lost: int  # their leases ran out, nobody has handed their work back yet


class HealthStore:
    """Looks at the ledger for `/health`."""

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
