"""The job `intervene`: retry, handle or cancel from the Dagster UI, with an audit row each."""

from dataclasses import dataclass

from dagster import Enum, EnumValue, Field, JobDefinition, OpExecutionContext, job, op

from dist_task_pipelines.domain.errors import Fault, InvalidInput
from dist_task_pipelines.engine.intake import retry_exception
from dist_task_pipelines.ledger import Ledger
from dist_task_pipelines.orchestration.step_executor import concurrent_step_executor
from dist_task_pipelines.orchestration.tags import PERSON
from dist_task_pipelines.settings import Settings

# A plain schema: Dagster's pydantic configs would take {env: NAME} for any text, and read it
# from the worker's environment.
CONFIG_SCHEMA = {
    "action": Field(
        Enum("InterveneAction", [EnumValue("retry"), EnumValue("handle"), EnumValue("cancel")]),
        description="What to do.",
    ),
    "transaction_id": Field(
        str, is_required=False, description="The transaction to retry or cancel."
    ),
    "exception_id": Field(
        int,
        is_required=False,
        description="The exception to retry or handle, as the run page names it.",
    ),
    "reason": Field(str, default_value="", description="Why; kept in the audit trail."),
    "actor": Field(str, default_value=PERSON, description="Who; kept in the audit trail."),
}


@dataclass(frozen=True, slots=True)
class Intervention:
    """What a person wants done: a transaction (retry, cancel) or an exception (retry, handle)."""

    action: str
    transaction_id: str | None = None
    exception_id: int | None = None
    reason: str = ""
    actor: str = PERSON


@op(
    config_schema=CONFIG_SCHEMA,
    required_resource_keys={"ledger"},
    description="Carry out what a person decided.",
)
def carry_out(context: OpExecutionContext) -> None:
    """Carry out the action; the op fails with the reason when the ledger refuses."""
    wanted = Intervention(**context.op_config)
    limit = Settings.from_environment().limits.max_params_bytes
    context.log.info(intervene(context.resources.ledger, wanted, max_params_bytes=limit))


def intervene(ledger: Ledger, wanted: Intervention, *, max_params_bytes: int) -> str:
    """Carry out the action.

    Args:
        max_params_bytes: of a message's request that is to be submitted again.

    Returns:
        what was done, in words.

    Raises:
        InvalidInput: the action has no target, or one that does not fit.
        DistTaskError: the ledger refuses; see `OperatorStore`.
    """
    who, why = wanted.actor, wanted.reason
    match wanted:
        case Intervention(action="retry", transaction_id=str(identifier), exception_id=None):
            tasks = ledger.operators.retry_transaction(identifier, actor=who, reason=why)
            return f"transaction {identifier!r}: {', '.join(tasks)} will be called again now"
        case Intervention(action="retry", transaction_id=None, exception_id=int(number)):
            limit = max_params_bytes
            retry_exception(ledger, number, max_params_bytes=limit, actor=who, reason=why)
            return f"exception {number}: what failed will be done again now"
        case Intervention(action="handle", transaction_id=None, exception_id=int(number)):
            ledger.operators.handle(number, actor=who, remark=why)
            return f"exception {number} is handled"
        case Intervention(action="cancel", transaction_id=str(identifier), exception_id=None):
            status = ledger.operators.cancel(identifier, actor=who, reason=why)
            return f"transaction {identifier!r} is {status}, its cancellation recorded"
    raise InvalidInput(
        [
            Fault(
                "ops.carry_out.config",
                "retry takes transaction_id or exception_id, handle takes exception_id, "
                "cancel takes transaction_id",
            )
        ]
    )


@job(
    name="intervene",
    executor_def=concurrent_step_executor,
    description="Retry, handle or cancel: launch it from the Launchpad with a typed config.",
)
def _intervene() -> None:
    carry_out()


intervene_job: JobDefinition = _intervene
