"""The sensor that takes up retries that are due."""

from collections.abc import Sequence

from dagster import JobDefinition, SensorDefinition

from dist_task_pipelines.domain.status import TransactionStatus
from dist_task_pipelines.ledger.records import DispatchLimits
from dist_task_pipelines.orchestration.dispatch_sensors import dispatch_sensor


def due_retries_sensor(
    jobs: Sequence[JobDefinition], limits: DispatchLimits, *, every: int
) -> SensorDefinition:
    """A run for each batch of transactions with a grant that is due, whoever gave it."""
    return dispatch_sensor(
        name="due_retries",
        description="Takes up retries that are due, automatic ones and a person's.",
        status=TransactionStatus.RUNNING,
        jobs=jobs,
        limits=limits,
        every=every,
    )
