"""Run storages that ask their database once for what does not change."""

from collections import OrderedDict
from typing import Any

from dagster._core.snap import ExecutionPlanSnapshot
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage

SNAPSHOTS_KNOWN = 512


class KnownThings(SqlRunStorage):
    """Mixed into a run storage: columns of its tables and snapshots of jobs are looked up once.

    Dagster reflects the columns at every change of a run's status and at every look for a run,
    and looks snapshots up for every run that is created or executed.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._columns_there: set[str] = set()
        self._snapshots: OrderedDict[str, ExecutionPlanSnapshot | None] = OrderedDict()
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]

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
