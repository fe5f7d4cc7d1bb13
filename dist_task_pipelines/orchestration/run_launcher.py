"""Dagster's run launcher over the platform's workers.

Every run takes this path: dispatched batches, the Launchpad, re-executions, sensors. `launch_run`
sends the run's id; a worker that is free executes it (`worker.py`). "Terminate" is a person's word
to the ledger too: it marks the run's batch before it asks the run to stop.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Self

import structlog
from celery import Celery
from dagster import DagsterRun
from dagster._core.launcher import (
    CheckRunHealthResult,
    LaunchRunContext,
    RunLauncher,
    WorkerStatus,
)
from dagster._serdes import ConfigurableClass, ConfigurableClassData

from dist_task_pipelines.assembly import open_ledger
from dist_task_pipelines.domain.errors import DistTaskError
from dist_task_pipelines.ledger import Ledger
from dist_task_pipelines.orchestration.celery_app import celery_app, send_run
from dist_task_pipelines.orchestration.tags import BATCH_ID_TAG, PERSON
from dist_task_pipelines.settings import Settings

log = structlog.get_logger(__name__)


class PlatformRunLauncher(RunLauncher, ConfigurableClass):
    """Hands runs to the workers, stops them, and knows whether their workers are there."""

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._inst_data = inst_data

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        return self._inst_data

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> Self:
        return cls(inst_data, **config_value)

    @cached_property
    def _settings(self) -> Settings:
        return Settings.from_environment()

    @cached_property
    def _app(self) -> Celery:
        return celery_app(self._settings)

    @cached_property
    def _ledger(self) -> Ledger:
        return open_ledger(self._settings)

    def launch_run(self, context: LaunchRunContext) -> None:
        """Send the run to the workers.

        Raises:
            kombu.exceptions.OperationalError: the broker cannot be reached.
        """
        send_run(self._app, context.dagster_run.run_id)

    def terminate(self, run_id: str) -> bool:
        """Stop the run's batch, then ask the run to stop; its worker looks every half second."""
        run = self._instance.get_run_by_id(run_id)
        if not run or run.is_finished:
            return False
        try:
            stop_batch(self._ledger, run)
        except DistTaskError as error:  # the run is to end all the same
            log.warning("the batch could not be marked as stopped", run=run_id, error=str(error))
        self._instance.report_run_canceling(run)
        return True

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Whether a living worker has the run: asked by Dagster's daemon of every run at work.

        Raises:
            LedgerUnavailable: the ledger cannot be read, so nobody knows.
        """
        if self._ledger.workers.executes(run.run_id):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, "its worker went away")

    def dispose(self) -> None:
        """Close the connections that were opened."""
        if "_app" in self.__dict__:
            self._app.close()
        if "_ledger" in self.__dict__:
            self._ledger.close()


def stop_batch(ledger: Ledger, run: DagsterRun) -> None:
    """Mark the run's batch as stopped by a person; one that no run has taken ends at once.

    Raises:
        LedgerUnavailable: the ledger cannot be written.
    """
    batch_id = run.tags.get(BATCH_ID_TAG)
    ledger.batches.request_stop(
        run.run_id, batch_id=int(batch_id) if batch_id else None, actor=PERSON
    )
