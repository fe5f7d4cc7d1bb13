"""Dagster's storage on MySQL, its connections kept.

Dagster opens one for each statement, its daemon too; here as many stay open as threads use.
"""

from collections.abc import Mapping
from typing import Any

from dagster import DagsterInstance
from dagster._core.storage.sql import create_engine
from dagster._serdes import ConfigurableClassData
from dagster_mysql import (
    DagsterMySQLStorage,
    MySQLEventLogStorage,
    MySQLRunStorage,
    MySQLScheduleStorage,
)
from dagster_mysql.utils import mysql_isolation_level
from sqlalchemy import Engine, make_url

from dist_task_pipelines.ledger.pooling import NOTHING_ON_RETURN, answering_within, ping_idle
from dist_task_pipelines.orchestration.storage.events import BufferedEventLog
from dist_task_pipelines.orchestration.storage.runs import CachedRunStorage

POOL_SIZE = 6
MAX_OVERFLOW = 20  # connections
POOL_RECYCLE = 1800  # seconds
ANSWER_TIMEOUT = 600  # seconds for one statement; Dagster's own migrations may take long


def _pooled(url: str, pool_recycle: int = POOL_RECYCLE, max_overflow: int = MAX_OVERFLOW) -> Engine:
    engine = create_engine(
        url,
        isolation_level=mysql_isolation_level(),  # type: ignore[no-untyped-call]
        pool_size=POOL_SIZE,
        max_overflow=max_overflow,
        pool_recycle=pool_recycle,
        hide_parameters=True,
        connect_args=answering_within(ANSWER_TIMEOUT, make_url(url)),
        **NOTHING_ON_RETURN,
    )
    ping_idle(engine)
    return engine


class _Pooled:
    """Mixed into a storage: its connections stay open until it is disposed of."""

    mysql_url: str
    _engine: Engine

    def __init__(self, mysql_url: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(mysql_url, inst_data)  # type: ignore[call-arg]
        self._engine = _pooled(mysql_url)  # connects when it is first asked

    def optimize_for_webserver(
        self,
        statement_timeout: int,
        pool_recycle: int,
        max_overflow: int,
    ) -> None:
        """Keep them by these bounds."""
        self._engine.dispose()
        self._engine = _pooled(self.mysql_url, pool_recycle, max_overflow)

    def dispose(self) -> None:
        """Close them."""
        super().dispose()  # type: ignore[misc]
        self._engine.dispose()


class RunStorage(_Pooled, CachedRunStorage, MySQLRunStorage):
    """The runs."""


class EventLogStorage(_Pooled, BufferedEventLog, MySQLEventLogStorage):
    """The events of runs."""


class ScheduleStorage(_Pooled, MySQLScheduleStorage):
    """The sensors and their ticks."""


class MySQLStorage(DagsterMySQLStorage):
    """What `dagster.yaml` names."""

    def __init__(self, mysql_url: str, inst_data: ConfigurableClassData | None = None) -> None:
        super(DagsterMySQLStorage, self).__init__()  # type: ignore[no-untyped-call]
        self.mysql_url = mysql_url
        self._inst_data = inst_data
        self._run_storage = RunStorage(mysql_url)
        self._event_log_storage = EventLogStorage(mysql_url)
        self._schedule_storage = ScheduleStorage(mysql_url)

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "MySQLStorage":
        """With the URL of the config."""
        return cls(config_value["mysql_url"], inst_data)

    def register_instance(self, instance: DagsterInstance) -> None:
        """Tell the parts whose they are."""
        super().register_instance(instance)
        for part in (self._run_storage, self._event_log_storage, self._schedule_storage):
            if not part.has_instance:
                part.register_instance(instance)
