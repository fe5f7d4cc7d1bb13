"""The sensors that dispatch: under Dagster's own launcher, and as the threads' safety net."""

import os
from collections.abc import Collection, Sequence

from dagster import (
    DefaultSensorStatus,
    JobDefinition,
    RunRequest,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
)

from dist_task_pipelines.domain.status import TransactionStatus
from dist_task_pipelines.ledger import Ledger
from dist_task_pipelines.ledger.records import DispatchedBatch, DispatchLimits
from dist_task_pipelines.orchestration.dispatcher import waiting_for_worker
from dist_task_pipelines.orchestration.flow_job import batch_run_config
from dist_task_pipelines.orchestration.launching import BatchLauncher
from dist_task_pipelines.orchestration.run_launcher import PlatformRunLauncher
from dist_task_pipelines.orchestration.tags import batch_tags

TICK_SECONDS = 2  # the daemon's own loop takes about 5
SAFETY_NET_SECONDS = 30  # between two ticks where threads dispatch
OVERDUE_SECONDS = 5.0  # after which a tick does the dispatch threads' work
THREADS_VARIABLE = "DIST_TASK_DISPATCH_THREADS"  # set by the platform that has them


def dispatch_tick_seconds() -> int:
    """Seconds between two ticks of a sensor that dispatches, or hands back, in this process."""
    return SAFETY_NET_SECONDS if os.environ.get(THREADS_VARIABLE) else TICK_SECONDS


def dispatch_sensor(
    *,
    name: str,
    description: str,
    status: TransactionStatus,
    jobs: Sequence[JobDefinition],
    limits: DispatchLimits,
    every: int,
) -> SensorDefinition:
    """A sensor that dispatches the transactions of one status.

    Under Dagster's own launcher a tick asks for a run for each batch that none has taken yet,
    those of earlier ticks included: should the daemon end between the commit and the launch, the
    next tick makes up for it. The run key, one for each batch, keeps Dagster from launching any
    twice. With the platform's workers a tick is a safety net: it does the dispatch threads' work
    when they have not done it for a while.

    Args:
        status: what it takes up: new transactions, or those with a due retry.
        every: seconds between two ticks, at least.
    """
    flow_ids = [job.name for job in jobs]

    def evaluate(context: SensorEvaluationContext) -> SensorResult | SkipReason:
        ledger: Ledger = context.resources.ledger
        if isinstance(context.instance.run_launcher, PlatformRunLauncher):
            assert context.repository_def
            launcher = BatchLauncher(context.instance, ledger, context.repository_def.get_job)
            left = left_undone(ledger, limits, status, flow_ids)
            return take_up(launcher, left)
        ledger.dispatcher.dispatch(limits, status=status, flow_ids=flow_ids)
        waiting = ledger.dispatcher.waiting(status=status, flow_ids=flow_ids)
        return decide(waiting, context.cursor, status)

    return SensorDefinition(
        name=name,
        description=description,
        evaluation_fn=evaluate,
        jobs=list(jobs),
        minimum_interval_seconds=every,
        default_status=DefaultSensorStatus.RUNNING,
        required_resource_keys={"ledger"},
    )


def left_undone(
    ledger: Ledger,
    limits: DispatchLimits,
    status: TransactionStatus,
    flow_ids: Collection[str],
) -> list[DispatchedBatch]:
    """New batches of what has been due for a while, and batches that no worker came to take."""
    again = waiting_for_worker(ledger, status)
    new = ledger.dispatcher.dispatch(
        limits, status=status, flow_ids=flow_ids, name_runs=True, overdue=OVERDUE_SECONDS
    )
    return [*again, *new]


def take_up(launcher: BatchLauncher, batches: Sequence[DispatchedBatch]) -> SkipReason:
    """Launch the batches' runs; what the tick says of it.

    Raises:
        ExceptionGroup: some could not be launched; the others were.
    """
    errors: list[Exception] = []
    for batch in batches:
        try:
            launcher.launch(batch)
        except Exception as error:  # one must not keep the others from being launched
            error.add_note(f"the run of batch {batch.id} could not be launched")
            errors.append(error)
    if errors:
        raise ExceptionGroup("not all runs could be launched", errors)
    if not batches:
        return SkipReason("the dispatch threads left nothing undone")
    names = ", ".join(str(batch.id) for batch in batches)
    return SkipReason(f"launched what the dispatch threads left undone: batches {names}")


def decide(
    waiting: Sequence[DispatchedBatch], cursor: str | None, status: TransactionStatus
) -> SensorResult | SkipReason:
    """What a tick asks for.

    Args:
        waiting: the batches that no run has taken.
        cursor: the run keys of those for which the tick before has asked.
    """
    asked = set((cursor or "").split())
    new = [batch for batch in waiting if run_key(batch) not in asked]
    if new:
        keys = " ".join(run_key(batch) for batch in waiting)
        return SensorResult(run_requests=run_requests(new), cursor=keys)
    if waiting:
        return SkipReason(f"{len(waiting)} batches wait for their runs to start")
    kind = "new transaction" if status is TransactionStatus.PENDING else "retry"
    return SkipReason(f"no {kind} is due, or as many runs are in flight as may be")


def run_requests(batches: Sequence[DispatchedBatch]) -> list[RunRequest]:
    """A run for each batch."""
    return [
        RunRequest(
            run_key=run_key(batch),
            job_name=batch.flow_id,
            run_config=batch_run_config(batch.id),
            tags=batch_tags(batch),
        )
        for batch in batches
    ]


def run_key(batch: DispatchedBatch) -> str:
    """One key for each batch: asking Dagster twice launches once.

    The time keeps it unique: in a ledger restored from a backup ids begin anew.
    """
    return f"batch-{batch.id}-{batch.dispatched_at:%Y%m%dT%H%M%S.%f}"
