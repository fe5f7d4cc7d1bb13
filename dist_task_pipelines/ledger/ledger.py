"""The ledger as the rest of the platform holds it: one object, one store for each concern."""

from collections.abc import Callable

import sqlalchemy as sa

from dist_task_pipelines.domain.clock import Clock
from dist_task_pipelines.domain.errors import DistTaskError
from dist_task_pipelines.domain.flow import Flow
from dist_task_pipelines.ledger import schema, tables
from dist_task_pipelines.ledger.attempts import AttemptStore
from dist_task_pipelines.ledger.audit import AuditStore
from dist_task_pipelines.ledger.batches import BatchStore
from dist_task_pipelines.ledger.database import Database
from dist_task_pipelines.ledger.dispatching import Dispatcher
from dist_task_pipelines.ledger.exceptions import ExceptionStore
from dist_task_pipelines.ledger.flows import FlowStore
from dist_task_pipelines.ledger.monitoring import MonitoringStore
from dist_task_pipelines.ledger.operators import OperatorStore
from dist_task_pipelines.ledger.records import FlowRecord
from dist_task_pipelines.ledger.stats import StatsStore
from dist_task_pipelines.ledger.transactions import TransactionStore
from dist_task_pipelines.ledger.workers import WorkerStore


class Ledger:
    """The platform's tables.

    Args:
        url: an SQLAlchemy URL of SQLite or MySQL.
        build: makes the runnable flow of a stored version.
        clock: tells the time; by default the database's clock.

    Raises:
        LedgerUnavailable: the database cannot be reached.
        LedgerOutOfStep: its schema is not the one this code needs.
    """

    def __init__(
        self, url: str, build: Callable[[FlowRecord], Flow], *, clock: Clock | None = None
    ) -> None:
        self.database = Database(url, clock=clock)
        try:
            self.uuid = self._open()
        except DistTaskError:
            self.database.dispose()
            raise
        self.flows = FlowStore(self.database, build)
        self.transactions = TransactionStore(self.database, self.flows)
        self.dispatcher = Dispatcher(self.database)
        self.batches = BatchStore(self.database, self.flows)
        self.attempts = AttemptStore(self.database)
        self.exceptions = ExceptionStore(self.database)
        self.operators = OperatorStore(self.database, self.flows)
        self.audit = AuditStore(self.database)
        self.stats = StatsStore(self.database)
        self.monitoring = MonitoringStore(self.database)
        self.workers = WorkerStore(self.database)

    @property
    def clock(self) -> Clock:
        """The time by the ledger's database."""
        return self.database.clock

    def close(self) -> None:
        """Close every connection."""
        self.database.dispose()

    def _open(self) -> str:
        schema.check(self.database)
        with self.database.read() as connection:
            identity: str = connection.scalars(sa.select(tables.ledger_identity.c.uuid)).one()
            return identity
