"""The sensor that tells Dagster how the ledger stands."""

from collections.abc import Sequence

from dagster import DefaultSensorStatus, SensorDefinition, SensorEvaluationContext, SensorResult

from dist_task_pipelines.engine.judging import Limits
from dist_task_pipelines.orchestration.ledger_assets import observed

OBSERVE_SECONDS = 60


def ledger_state_sensor(names: Sequence[str], limits: Limits) -> SensorDefinition:
    """Observes the asset of each flow and that of the exceptions, and evaluates their checks."""

    def evaluate(context: SensorEvaluationContext) -> SensorResult:
        return SensorResult(asset_events=observed(context.resources.ledger, names, limits))

    return SensorDefinition(
        name="ledger_state",
        description="Observes the ledger's assets every minute and evaluates their checks.",
        evaluation_fn=evaluate,
        minimum_interval_seconds=OBSERVE_SECONDS,
        default_status=DefaultSensorStatus.RUNNING,
        required_resource_keys={"ledger"},
    )
