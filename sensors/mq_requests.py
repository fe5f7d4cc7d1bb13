"""The sensor that takes requests from a RocketMQ topic."""

from dagster import DefaultSensorStatus, SensorDefinition, SensorEvaluationContext, SkipReason

from dist_task_pipelines.engine.intake import Intake, Taken
from dist_task_pipelines.orchestration.dispatch_sensors import TICK_SECONDS

DRAIN_SECONDS = 15  # that one tick goes on while messages come
NAMES_SHOWN = 20


def mq_requests_sensor(max_params_bytes: int) -> SensorDefinition:
    """Makes transactions of the messages that wait; `new_requests` takes these up.

    A tick listens for a few seconds, so that a message seldom waits for the next one.
    """

    def evaluate(context: SensorEvaluationContext) -> SkipReason:
        intake = Intake(context.resources.ledger, context.resources.requests, max_params_bytes)
        return reason(intake.drain(DRAIN_SECONDS))

    return SensorDefinition(
        name="mq_requests",
        description="Takes requests from the configured topic, each acknowledged when it is kept.",
        evaluation_fn=evaluate,
        minimum_interval_seconds=TICK_SECONDS,
        default_status=DefaultSensorStatus.RUNNING,
        required_resource_keys={"ledger", "requests"},
    )


def reason(taken: Taken) -> SkipReason:
    """What a tick says of the messages that it took."""
    if not taken.accepted and not taken.refused:
        return SkipReason("no message came")
    said = f"{taken.accepted} requests taken in"
    if taken.refused:
        names = ", ".join(taken.refused[:NAMES_SHOWN])
        said += f"; {len(taken.refused)} messages became exceptions: {names}"
    return SkipReason(said)
