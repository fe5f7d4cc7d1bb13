"""Dagster's storage in two SQLite files, for one machine.

Dagster's default makes a database file for every run and an engine for every statement. This is its
consolidated event log, and its run storage, on engines that stay: WAL, so that readers and a writer
do not wait for each other, and without a disk flush for each event, which are history only.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from dagster._core.event_api import EventHandlerFn
from dagster._core.storage.event_log import SqlPollingEventWatcher
from dagster._core.storage.event_log.sqlite.consolidated_sqlite_event_log import (
    ConsolidatedSqliteEventLogStorage,
)
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.schedules import SqliteScheduleStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection, Engine

from dist_task_pipelines.orchestration.storage.events import BufferedEventLog
from dist_task_pipelines.orchestration.storage.runs import CachedRunStorage

BUSY_TIMEOUT = 60  # seconds that a writer waits for its turn
POOL_SIZE = 6


def _kept(conn_string: str) -> Engine:
    engine = sa.create_engine(
        conn_string,
        pool_size=POOL_SIZE,
        max_overflow=20,
        connect_args={"timeout": BUSY_TIMEOUT},
    )

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # the begin below is the only one
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writing = connection.get_execution_options().get("writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    return engine


class RunStorage(CachedRunStorage, SqliteRunStorage):
    """The runs."""

    def __init__(self, conn_string: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._kept = _kept(conn_string)
        super().__init__(conn_string, inst_data)

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A connection for one transaction that writes."""
        with self._kept.execution_options(writes=True).begin() as connection:
            yield connection

    def fetchall(self, query: Any) -> Any:
        """The rows of a query, which waits for no writer."""
        with self._kept.connect() as connection:
            return connection.execute(query).mappings().all()

    def fetchone(self, query: Any) -> Any:
        """The first row of a query, which waits for no writer."""
        with self._kept.connect() as connection:
            return connection.execute(query).mappings().first()

    def dispose(self) -> None:
        """Close the connections."""
        super().dispose()
        self._kept.dispose()


class EventLogStorage(BufferedEventLog, ConsolidatedSqliteEventLogStorage):
    """The events of all runs."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        Path(base_dir).mkdir(parents=True, exist_ok=True)
        self._kept = _kept(f"sqlite:///{base_dir}/event_log.db")
        self._watcher: SqlPollingEventWatcher | None = None
        super().__init__(base_dir, inst_data)

    @contextmanager
    def _connect(self) -> Iterator[Connection]:
        with self._kept.begin() as connection:
            yield connection

    @contextmanager
    def index_transaction(self) -> Iterator[Connection]:
        """A connection for one transaction that may read before it writes."""
        with self._kept.execution_options(writes=True).begin() as connection:
            yield connection

    def has_table(self, table_name: str) -> bool:
        """Whether the table is there."""
        with self._connect() as connection:
            return sa.inspect(connection).has_table(table_name)

    def watch(self, run_id: str, cursor: str | None, callback: EventHandlerFn) -> None:
        """Call back for each new event of the run: looks, since a WAL file tells no watchdog."""
        self._watcher = self._watcher or SqlPollingEventWatcher(self)
        self._watcher.watch_run(run_id, cursor, callback)

    def end_watch(self, run_id: str, handler: EventHandlerFn) -> None:
        """Call back no more."""
        if self._watcher:
            self._watcher.unwatch_run(run_id, handler)

    def dispose(self) -> None:
        """Write what is kept back, close the connections."""
        super().dispose()
        if self._watcher:
            self._watcher.close()
        self._kept.dispose()


class EmbeddedStorage(DagsterSqliteStorage):
    """What `dagster.yaml` names."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        super(DagsterSqliteStorage, self).__init__()  # type: ignore[no-untyped-call]
        self.base_dir = base_dir
        self._inst_data = inst_data
        history = str(Path(base_dir, "history"))
        self._run_storage = RunStorage.from_local(history)
        self._event_log_storage = EventLogStorage(history)  # type: ignore[assignment]
        self._schedule_storage = SqliteScheduleStorage.from_local(str(Path(base_dir, "schedules")))

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "EmbeddedStorage":
        """In the folder of the config."""
        return cls(config_value["base_dir"], inst_data)
