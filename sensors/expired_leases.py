"""The sensor that finds batches whose worker went away."""

from dagster import DefaultSensorStatus, SensorDefinition, SensorEvaluationContext, SkipReason


def expired_leases_sensor(*, every: int) -> SensorDefinition:
    """Hands back the work of batches whose lease ran out; `due_retries` takes it up."""

    def evaluate(context: SensorEvaluationContext) -> SkipReason:
        return reason(context.resources.ledger.batches.expire())

    return SensorDefinition(
        name="expired_leases",
        description="Hands back the transactions of a worker that went away.",
        evaluation_fn=evaluate,
        minimum_interval_seconds=every,
        default_status=DefaultSensorStatus.RUNNING,
        required_resource_keys={"ledger"},
    )


def reason(expired: list[int]) -> SkipReason:
    """What a tick says of the batches that it ended."""
    if not expired:
        return SkipReason("no lease has run out")
    batches = ", ".join(map(str, expired))
    return SkipReason(f"leases had run out, their transactions are handed back: batches {batches}")
