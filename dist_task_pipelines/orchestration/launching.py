"""From a dispatched batch to a Dagster run on its way to a worker.

A run is created here as the UI would create it, with two differences: its id was chosen when the
batch was dispatched, so that creating it again does nothing; and a retry of one transaction names
the run before as its parent, which a sensor's request cannot.
"""

import sys
from collections.abc import Callable
from functools import lru_cache

import structlog
from dagster import (
    DagsterEvent,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    JobDefinition,
)
from dagster._core.code_pointer import FileCodePointer
from dagster._core.errors import DagsterRunAlreadyExists
from dagster._core.execution.api import create_execution_plan
from dagster._core.launcher import LaunchRunContext
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.snap import ExecutionPlanSnapshot, snapshot_from_execution_plan

from dist_task_pipelines.application import application_root
from dist_task_pipelines.ledger import Ledger
from dist_task_pipelines.ledger.records import DispatchedBatch
from dist_task_pipelines.orchestration.flow_job import batch_run_config
from dist_task_pipelines.orchestration.run_launcher import stop_batch
from dist_task_pipelines.orchestration.tags import batch_tags

LOCATION = "dist_task_pipelines"  # the code location's name in the workspace
REPOSITORY = "__repository__"  # Dagster's name for the only one of a location
PARENT_RUN_TAG = "dagster/parent_run_id"
ROOT_RUN_TAG = "dagster/root_run_id"

log = structlog.get_logger(__name__)


class BatchLauncher:
    """Creates and launches the runs of batches; may be called again for the same batch.

    Args:
        job_of: the job of a flow, its resources bound.
    """

    def __init__(
        self, instance: DagsterInstance, ledger: Ledger, job_of: Callable[[str], JobDefinition]
    ) -> None:
        self._instance = instance
        self._ledger = ledger
        self._job_of = job_of
        self._plan = lru_cache(maxsize=256)(_plan_snapshot)

    def launch(self, batch: DispatchedBatch) -> None:
        """See to it that the batch's run exists, and send it to the workers.

        If a person has marked the run as cancelled before it began, the batch is stopped.
        Raises whatever Dagster's storage or the broker raise; nothing is lost by it.
        """
        run = self._created(batch)
        if run.is_finished:
            if run.status is DagsterRunStatus.CANCELED:
                stop_batch(self._ledger, run)
            return
        if run.status is DagsterRunStatus.NOT_STARTED:
            self._report_starting(run)
        self._instance.run_launcher.launch_run(LaunchRunContext(run, workspace=None))

    def _created(self, batch: DispatchedBatch) -> DagsterRun:
        assert batch.run_id
        try:
            return self._create(batch)
        except DagsterRunAlreadyExists:
            run = self._instance.get_run_by_id(batch.run_id)
            assert run
            return run

    def _create(self, batch: DispatchedBatch) -> DagsterRun:
        job = self._job_of(batch.flow_id)
        parent, root = self._family(batch)
        family = {PARENT_RUN_TAG: parent, ROOT_RUN_TAG: root} if parent and root else {}
        return self._instance.create_run(
            run_id=batch.run_id,
            job_name=job.name,
            run_config=batch_run_config(batch.id),
            tags={**job.run_tags, **batch_tags(batch), **family},
            parent_run_id=parent,
            root_run_id=root,
            job_snapshot=job.get_job_snapshot(),
            execution_plan_snapshot=self._plan(job),
            parent_job_snapshot=None,
            status=None,
            step_keys_to_execute=None,
            asset_selection=None,
            asset_check_selection=None,
            resolved_op_selection=None,
            op_selection=None,
            remote_job_origin=_remote_origin(job.name),
            job_code_origin=_code_origin(job.name),
            asset_graph=job.asset_layer.asset_graph,
        )

    def _family(self, batch: DispatchedBatch) -> tuple[str | None, str | None]:
        """The run of which this one is a re-execution, and the first of them all."""
        if not batch.parent_run_id:
            return None, None
        parent = self._instance.get_run_by_id(batch.parent_run_id)
        return (parent.run_id, parent.root_run_id or parent.run_id) if parent else (None, None)

    def _report_starting(self, run: DagsterRun) -> None:
        starting = DagsterEvent(DagsterEventType.PIPELINE_STARTING.value, run.job_name)
        self._instance.report_dagster_event(starting, run_id=run.run_id)


def _plan_snapshot(job: JobDefinition) -> ExecutionPlanSnapshot:
    """The steps of a run of the whole job; the batch's id changes nothing in it."""
    plan = create_execution_plan(job, run_config=batch_run_config(0))
    return snapshot_from_execution_plan(plan, job.get_job_snapshot_id())


def _remote_origin(job_name: str) -> RemoteJobOrigin:
    """Where the UI finds the job: by the location's name, whatever its server's port."""
    location = RegisteredCodeLocationOrigin(LOCATION)
    return RemoteJobOrigin(RemoteRepositoryOrigin(location, REPOSITORY), job_name)


def _code_origin(job_name: str) -> JobPythonOrigin:
    root = application_root()
    pointer = FileCodePointer(str(root / "definitions.py"), "defs", str(root))
    return JobPythonOrigin(job_name, RepositoryPythonOrigin(sys.executable, pointer))
