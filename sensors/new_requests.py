"""The sensor that takes up new transactions."""

from collections.abc import Sequence

from dagster import JobDefinition, SensorDefinition

from dist_task_pipelines.domain.status import TransactionStatus
from dist_task_pipelines.ledger.records import DispatchLimits
from dist_task_pipelines.orchestration.dispatch_sensors import dispatch_sensor


def new_requests_sensor(
    jobs: Sequence[JobDefinition], limits: DispatchLimits, *, every: int
) -> SensorDefinition:
    """A run for each batch of transactions that were accepted and not begun."""
    return dispatch_sensor(
        name="new_requests",
        description="Takes up new transactions: a run for each batch of them.",
        status=TransactionStatus.PENDING,
        jobs=jobs,
        limits=limits,
        every=every,
    )
