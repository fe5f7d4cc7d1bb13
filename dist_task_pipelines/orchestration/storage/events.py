"""Event logs that write a run's events together.

A worker's run makes some twenty events. Those that only tell are kept back for a moment and go with
the next one that matters, in one statement: a change of the run's status, a step's failure, an
asset's event. So do those of a run that somebody in the process reads, and after BUFFER_SECONDS
all, for the live Gantt chart. A process that is killed loses what it kept back.
"""

import threading
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import structlog
from dagster import DagsterEventType, EventLogEntry
from dagster._core.events import ASSET_CHECK_EVENTS, ASSET_EVENTS, PIPELINE_EVENTS
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage

BUFFER_SECONDS = 0.3  # seconds
UNBUFFERED = {*ASSET_EVENTS, *ASSET_CHECK_EVENTS}  # they write to further tables
AT_ONCE = {*PIPELINE_EVENTS, DagsterEventType.STEP_FAILURE}

log = structlog.get_logger(__name__)


class BufferedEventLog(SqlEventLogStorage):
    """Mixed into an event log: after `start_buffering`, events are written together."""

    _buffer: dict[str, list[EventLogEntry]] | None = None

    def start_buffering(self) -> None:
        """From now on, write the events of runs in this process together."""
        self._buffer = defaultdict(list)
        self._writing = threading.RLock()
        self._over = threading.Event()
        self._writer = threading.Thread(target=self._write_in_time, name="events", daemon=True)
        self._writer.start()

    def store_event(self, event: EventLogEntry) -> None:
        """Keep the event back, or write it with those of its run that were."""
        kind = event.dagster_event_type if event.is_dagster_event else None
        if self._buffer is None or kind in UNBUFFERED:
            self.flush(event.run_id)
            super().store_event(event)
        elif kind in AT_ONCE:
            self.flush(event.run_id, event)
        else:
            with self._writing:
                self._buffer[event.run_id].append(event)
        if kind in PIPELINE_EVENTS and self.handles_run_events_in_store_event:
            at = datetime.fromtimestamp(event.timestamp, UTC)
            run_storage = self._instance.run_storage
            run_storage.handle_run_event(event.run_id, event.get_dagster_event(), at)

    @property
    def handles_run_events_in_store_event(self) -> bool:
        """Whether `store_event` changes the run's status too.

        Dagster does it by itself otherwise, and then reads the run again for its own retries.
        """
        return self._buffer is not None and not self._instance.run_retries_enabled

    def flush(self, run_id: str, *last: EventLogEntry) -> None:
        """Write what is kept back of the run, and these behind it."""
        if self._buffer is None:
            return
        with self._writing:
            events = [*self._buffer.get(run_id, ()), *last]
            if events:
                self._insert(run_id, events)
                self._buffer.pop(run_id, None)

    def get_records_for_run(self, run_id: str, *args: Any, **kwargs: Any) -> Any:
        """As Dagster's, of all events up to now."""
        self.flush(run_id)
        return super().get_records_for_run(run_id, *args, **kwargs)

    def get_stats_for_run(self, run_id: str) -> Any:
        """As Dagster's, of all events up to now."""
        self.flush(run_id)
        return super().get_stats_for_run(run_id)

    def get_step_stats_for_run(self, run_id: str, *args: Any, **kwargs: Any) -> Any:
        """As Dagster's, of all events up to now."""
        self.flush(run_id)
        return super().get_step_stats_for_run(run_id, *args, **kwargs)

    def delete_events(self, run_id: str) -> None:
        """As Dagster's, those kept back too."""
        self.flush(run_id)
        super().delete_events(run_id)

    def dispose(self) -> None:
        """Write all events, then as Dagster's."""
        if self._buffer is not None:
            self._over.set()
            self._writer.join()
            self._write_all()
            self._buffer = None
        super().dispose()

    def _insert(self, run_id: str, events: Sequence[EventLogEntry]) -> None:
        rows = [self._event_to_row(event) for event in events]
        with self.run_connection(run_id) as connection:
            connection.execute(SqlEventLogStorageTable.insert(), rows)

    def _write_in_time(self) -> None:
        while not self._over.wait(BUFFER_SECONDS):
            try:
                self._write_all()
            except Exception as error:  # whatever the driver raises; tried again
                log.warning("events of runs cannot be written yet", error=str(error))

    def _write_all(self) -> None:
        assert self._buffer is not None
        for run_id in list(self._buffer):
            self.flush(run_id)
