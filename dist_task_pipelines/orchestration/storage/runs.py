"""Run storages that ask their database for no more than they need."""

from collections import OrderedDict
from datetime import UTC, datetime
from typing import Any

from dagster import DagsterEvent, DagsterEventType, DagsterRunStatus
from dagster._core.events import EVENT_TYPE_TO_PIPELINE_RUN_STATUS
from dagster._core.snap import ExecutionPlanSnapshot
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from dagster._core.storage.runs.schema import RunsTable
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage

SNAPSHOTS_KNOWN = 512


class CachedRunStorage(SqlRunStorage):
    """Mixed into a run storage: columns of its tables and snapshots of jobs are looked up once.

    Dagster reflects the columns at every change of a run's status and at every look for a run,
    and looks snapshots up for every run that is created or executed.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._columns_there: set[str] = set()
        self._snapshots: OrderedDict[str, ExecutionPlanSnapshot | None] = OrderedDict()
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]

    def handle_run_event(
        self, run_id: str, event: DagsterEvent, update_timestamp: datetime | None = None
    ) -> None:
        """As Dagster's, in one statement where the run gets no further tag.

        The status in the run's body stays as it was; Dagster believes the column's alone.
        """
        status = EVENT_TYPE_TO_PIPELINE_RUN_STATUS.get(event.event_type)
        if status in (None, DagsterRunStatus.FAILURE) or not self.has_run_stats_index_cols():
            super().handle_run_event(run_id, event, update_timestamp)
            return
        at = update_timestamp or datetime.now(UTC)
        values = {RunsTable.c.status: status.value, RunsTable.c.update_timestamp: at}
        if event.event_type == DagsterEventType.RUN_START:
            values[RunsTable.c.start_time] = at.timestamp()
        elif status in FINISHED_STATUSES:
            values[RunsTable.c.end_time] = at.timestamp()
        with self.connect() as connection:
            its_row = RunsTable.update().where(RunsTable.c.run_id == run_id)
            connection.execute(its_row.values(values))

    def has_run_stats_index_cols(self) -> bool:
        """Whether runs have their times in columns; once they have, that stays."""
        return self._there("run_stats", super().has_run_stats_index_cols)

    def has_backfill_id_column(self) -> bool:
        """Whether runs have their backfill in a column; once they have, that stays."""
        return self._there("backfill_id", super().has_backfill_id_column)

    def get_execution_plan_snapshot(self, execution_plan_snapshot_id: str) -> ExecutionPlanSnapshot:
        """As Dagster's; a snapshot never changes."""
        known = self._snapshots.get(execution_plan_snapshot_id)
        if known is None:
            known = super().get_execution_plan_snapshot(execution_plan_snapshot_id)
            self._know(execution_plan_snapshot_id, known)
        return known

    def _has_snapshot_id(self, snapshot_id: str) -> bool:
        if snapshot_id in self._snapshots:
            return True
        if found := super()._has_snapshot_id(snapshot_id):
            self._know(snapshot_id, None)
        return found

    def _know(self, snapshot_id: str, snapshot: ExecutionPlanSnapshot | None) -> None:
        self._snapshots[snapshot_id] = snapshot
        while len(self._snapshots) > SNAPSHOTS_KNOWN:
            self._snapshots.popitem(last=False)

    def _there(self, name: str, look: Any) -> bool:
        if name not in self._columns_there and look():
            self._columns_there.add(name)
        return name in self._columns_there
