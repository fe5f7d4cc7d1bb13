"""Executing runs that are delivered to this process: each at most once, whatever the broker does.

A delivery may be late or repeated. So a run is touched only by whoever has taken its batch, or for
a run that no batch was dispatched for, has claimed it; a run that has begun, or whose batch is
not its own any more, is left as it is.
"""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

import structlog
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.events import EngineEventData
from dagster._core.execution.api import execute_run_iterator
from dagster._utils.error import serializable_error_info_from_exc_info
from sqlalchemy.exc import InterfaceError, OperationalError

from dist_task_pipelines.domain.errors import Conflict, DistTaskError, LedgerUnavailable, NotFound
from dist_task_pipelines.engine.patience import patiently
from dist_task_pipelines.ledger import Ledger
from dist_task_pipelines.orchestration.jobs import Jobs
from dist_task_pipelines.orchestration.run_batch import holding, is_persons_act
from dist_task_pipelines.orchestration.run_launcher import stop_batch
from dist_task_pipelines.orchestration.tags import BATCH_ID_TAG

log = structlog.get_logger(__name__)

AWAY = (LedgerUnavailable, OperationalError, InterfaceError)
NOT_BEGUN = (DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTING)

R = TypeVar("R")


class RunExecution:
    """Executes runs on the callers' threads.

    Args:
        worker: the name under which runs are taken.
        lease: seconds for which their batches are.
        at_end: called when a run has ended: others may begin.
    """

    def __init__(
        self,
        instance: DagsterInstance,
        ledger: Ledger,
        jobs: Jobs,
        *,
        worker: str,
        lease: float,
        at_end: Callable[[], None],
    ) -> None:
        self._instance = instance
        self._ledger = ledger
        self._jobs = jobs
        self._worker = worker
        self._lease = lease
        self._at_end = at_end
        self._lock = threading.Lock()
        self._under_way = 0
        self._claims: set[str] = set()  # runs that threads of this worker have, or try to get

    @property
    def under_way(self) -> int:
        """Runs that are being executed."""
        return self._under_way

    def execute(self, run_id: str) -> None:
        """Execute the run, if it has not begun and can be taken."""
        run = self._patiently(lambda: self._instance.get_run_by_id(run_id))
        if run is None:
            log.warning("a run is not there", run=run_id)
        elif run.status in NOT_BEGUN:
            self._execute(run)
        elif run.status is DagsterRunStatus.CANCELED:  # perhaps before it began
            stop_batch(self._ledger, run)
        elif run.status is DagsterRunStatus.CANCELING:
            self._cancel_if_not_begun(run)

    def _execute(self, run: DagsterRun) -> None:
        try:
            with self._counted(), self._taken(run):
                self._run_steps(run)
        except (Conflict, NotFound) as error:
            log.info("a run is left alone", run=run.run_id, why=str(error))
            self._fail_if_hopeless(run, error)
        except DistTaskError as error:  # its batch is launched again, or handed back
            log.warning("a run could not be taken", run=run.run_id, error=str(error))
        finally:
            self._at_end()

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._lock:
            self._under_way += 1
        try:
            yield
        finally:
            with self._lock:
                self._under_way -= 1

    @contextmanager
    def _taken(self, run: DagsterRun) -> Iterator[None]:
        """Within, the run is this worker's.

        Raises:
            Conflict: it is another's, or its batch is not its own any more.
        """
        batch_id = self._batch_of(run)
        if batch_id is None:
            with self._claimed(run):
                yield
            return
        batch = self._ledger.batches.acquire(
            batch_id, run_id=run.run_id, worker=self._worker, lease=self._lease
        )
        with holding(self._ledger, batch):
            yield

    @contextmanager
    def _claimed(self, run: DagsterRun) -> Iterator[None]:
        """Within, nobody else executes this run, for which no batch was dispatched.

        Raises:
            Conflict: somebody else does, or it went on since it was looked at.
        """
        with self._claimed_here(run.run_id):
            self._patiently(lambda: self._ledger.workers.claim(run.run_id, worker=self._worker))
            try:
                now = self._patiently(lambda: self._instance.get_run_by_id(run.run_id))
                if now is None or now.status not in {run.status, *NOT_BEGUN}:
                    raise Conflict(f"run {run.run_id} is {now.status.value if now else 'deleted'}")
                yield
            finally:
                self._ledger.workers.let_go(run.run_id)

    @contextmanager
    def _claimed_here(self, run_id: str) -> Iterator[None]:
        """Within, no other thread here has the run: the ledger only tells workers apart."""
        with self._lock:
            if run_id in self._claims:
                raise Conflict(f"run {run_id} is being executed already")
            self._claims.add(run_id)
        try:
            yield
        finally:
            with self._lock:
                self._claims.discard(run_id)

    def _cancel_if_not_begun(self, run: DagsterRun) -> None:
        """End a run that a person terminated before any worker had it: nobody else would."""
        stop_batch(self._ledger, run)
        batch_id = self._batch_of(run)
        if batch_id is None:
            with suppress(Conflict), self._claimed(run):
                self._instance.report_run_canceled(run)
        elif not self._ledger.batches.was_taken_by(batch_id, run.run_id):
            self._instance.report_run_canceled(run)

    def _batch_of(self, run: DagsterRun) -> int | None:
        """The batch for which the run was dispatched; None for one that a person started."""
        tag = run.tags.get(BATCH_ID_TAG)
        if tag is None:
            return None
        persons = self._patiently(lambda: is_persons_act(self._ledger, run, int(tag)))
        return None if persons else int(tag)

    def _patiently(self, work: Callable[[], R]) -> R:
        """Do the work; while a database is away do it again, as long as a lease lasts.

        A run that a person started is sent to the workers once.

        Raises:
            LedgerUnavailable: the ledger stays away.
            SQLAlchemyError: Dagster's storage does.
        """
        return patiently(work, seconds=self._lease, away=AWAY)

    def _run_steps(self, run: DagsterRun) -> None:
        try:
            job = InMemoryJob(self._jobs.get(run.job_name))
            for _ in execute_run_iterator(job, run, self._instance):
                pass
        except Exception as error:
            log.exception("a run broke down", run=run.run_id)
            data = EngineEventData.engine_error(
                serializable_error_info_from_exc_info(sys.exc_info())
            )
            self._instance.report_engine_event("The run broke down.", run, data)
            self._fail(run, f"The run broke down: {error}")

    def _fail_if_hopeless(self, run: DagsterRun, error: DistTaskError) -> None:
        """Fail a run that can never begin, so that it does not seem to be starting for ever."""
        batch_id = self._batch_of(run)
        if batch_id and not self._ledger.batches.was_taken_by(batch_id, run.run_id):
            self._fail(run, f"Nothing was done: {error}")

    def _fail(self, run: DagsterRun, message: str) -> None:
        now = self._instance.get_run_by_id(run.run_id)
        if now and not now.is_finished:
            self._instance.report_run_failed(run, message)
