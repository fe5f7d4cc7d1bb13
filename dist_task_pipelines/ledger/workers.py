"""The workers: which processes execute runs, and which of them has a run."""

from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from dist_task_pipelines.domain.errors import Conflict
from dist_task_pipelines.ledger import tables
from dist_task_pipelines.ledger.bulk import upsert_rows
from dist_task_pipelines.ledger.database import Database, reads, writes
from dist_task_pipelines.ledger.records import WorkerRecord

_worker = tables.worker.c
_claim = tables.run_claim.c
_batch = tables.batch.c

HEARTBEAT_SECONDS = 3  # between two heartbeats
DEAD_AFTER_SECONDS = 15  # without one
FORGOTTEN_AFTER = timedelta(hours=1)
CLAIMS_KEPT = timedelta(days=7)  # of workers that ended without letting go of them


class WorkerStore:
    """Keeps the list of workers, and lets one of them execute a run."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @writes
    def register(self, connection: Connection, name: str, *, host: str, pid: int) -> None:
        """Add a worker; forget those that have long been gone, and old claims."""
        now = self.database.clock.now()
        connection.execute(
            sa.delete(tables.worker).where(_worker.last_seen_at < now - FORGOTTEN_AFTER)
        )
        connection.execute(sa.delete(tables.run_claim).where(_claim.claimed_at < now - CLAIMS_KEPT))
        row = {"name": name, "host": host, "pid": pid, "runs": 0}
        times = {"started_at": now, "last_seen_at": now}
        upsert_rows(connection, tables.worker, [{**row, **times}], replace=list(times))

    @writes
    def heartbeat(self, connection: Connection, name: str, *, runs: int) -> bool:
        """The worker is alive and executes so many runs.

        Returns:
            whether it is registered still: one that was silent for long must register anew.
        """
        changed = connection.execute(
            sa.update(tables.worker)
            .where(_worker.name == name)
            .values(last_seen_at=self.database.clock.now(), runs=runs)
        )
        return bool(changed.rowcount)

    @writes
    def deregister(self, connection: Connection, name: str) -> None:
        """Remove the worker, and what it claimed."""
        connection.execute(sa.delete(tables.worker).where(_worker.name == name))
        connection.execute(sa.delete(tables.run_claim).where(_claim.worker == name))

    @reads
    def alive(self, connection: Connection) -> list[WorkerRecord]:
        """The workers that sent a heartbeat in the last DEAD_AFTER_SECONDS, by name."""
        query = sa.select(tables.worker).where(_worker.last_seen_at >= self._alive_since())
        rows = connection.execute(query.order_by(_worker.name))
        return [WorkerRecord(**row._mapping) for row in rows]

    @writes
    def claim(self, connection: Connection, run_id: str, *, worker: str) -> None:
        """Let the worker execute a run that no batch was dispatched for.

        A claim that the worker has already, as when its answer was lost, is as good as a new one.

        Raises:
            Conflict: another worker executes it already.
        """
        row = {"run_id": run_id, "worker": worker, "claimed_at": self.database.clock.now()}
        try:
            connection.execute(sa.insert(tables.run_claim), row)
        except IntegrityError:
            claimed = sa.select(_claim.worker).where(_claim.run_id == run_id)
            if connection.scalar(claimed) != worker:
                raise Conflict(f"run {run_id} is being executed already") from None

    @writes
    def let_go(self, connection: Connection, run_id: str) -> None:
        """Take the claim back: the run has ended."""
        connection.execute(sa.delete(tables.run_claim).where(_claim.run_id == run_id))

    @reads
    def executes(self, connection: Connection, run_id: str) -> bool:
        """Whether a living worker has the run, or may have it: its batch's lease lasts."""
        now = self.database.clock.now()
        held = sa.select(_batch.worker, _batch.ended_at, _batch.lease_expires_at)
        batch = connection.execute(held.where(_batch.run_id == run_id)).first()
        if batch and batch.ended_at is None and batch.lease_expires_at > now:
            return True
        claimed = connection.scalar(sa.select(_claim.worker).where(_claim.run_id == run_id))
        names = {claimed, batch.worker if batch else None} - {None}
        living = sa.select(_worker.name).where(
            _worker.name.in_(names), _worker.last_seen_at >= self._alive_since()
        )
        return connection.scalar(living) is not None

    def _alive_since(self) -> sa.BindParameter[object]:
        since = self.database.clock.now() - timedelta(seconds=DEAD_AFTER_SECONDS)
        return sa.literal(since, _worker.last_seen_at.type)
