"""Dagster's default run launcher, for which "Terminate" is a person's word to the ledger too."""

import structlog
from dagster import DagsterRun, DefaultRunLauncher

from dist_task_pipelines.assembly import open_ledger
from dist_task_pipelines.domain.errors import DistTaskError
from dist_task_pipelines.orchestration.tags import BATCH_ID_TAG, PERSON
from dist_task_pipelines.settings import Settings

log = structlog.get_logger(__name__)


class PlatformRunLauncher(DefaultRunLauncher):
    """Marks a run's batch as stopped before it terminates the run.

    So the batch stays stopped even if its worker dies before it can settle it.
    """

    def terminate(self, run_id: str) -> bool:
        """Stop the batch, then the run."""
        try:
            run = self._instance.get_run_by_id(run_id)
            if run:
                stop_batch(run)
        except DistTaskError as error:  # the run is to end all the same
            log.warning("the batch could not be marked as stopped", run=run_id, error=str(error))
        return bool(super().terminate(run_id))  # type: ignore[no-untyped-call]


def stop_batch(run: DagsterRun) -> None:
    """Mark the run's batch as stopped by a person, also when the run has not taken it yet.

    Raises:
        LedgerUnavailable: the ledger cannot be written.
    """
    ledger = open_ledger(Settings.from_environment())
    try:
        batch_id = run.tags.get(BATCH_ID_TAG)
        ledger.batches.request_stop(
            run.run_id, batch_id=int(batch_id) if batch_id else None, actor=PERSON
        )
    finally:
        ledger.close()
