"""The job `intervene`: retry, handle or cancel from the Dagster UI, with an audit row each."""

from enum import Enum

from dagster import Config, JobDefinition, OpExecutionContext, job, op
from pydantic import Field

from dist_task_pipelines.domain.errors import Fault, InvalidInput
from dist_task_pipelines.ledger import Ledger
from dist_task_pipelines.orchestration.run_batch import PERSON
from dist_task_pipelines.orchestration.step_executor import concurrent_step_executor


class Action(Enum):
    """What to do."""

    RETRY = "retry"
    HANDLE = "handle"
    CANCEL = "cancel"


class Intervention(Config):
    """Name a transaction (retry, cancel) or an exception (retry, handle)."""

    action: Action = Field(description="retry, handle or cancel")
    transaction_id: str | None = Field(
        default=None, description="the transaction to retry or cancel"
    )
    exception_id: int | None = Field(
        default=None, description="the exception to retry or handle, as the run page names it"
    )
    reason: str = Field(default="", description="why; kept in the audit trail")
    actor: str = Field(default=PERSON, description="who; kept in the audit trail")


@op(required_resource_keys={"ledger"}, description="Carry out what a person decided.")
def carry_out(context: OpExecutionContext, config: Intervention) -> None:
    """Carry out the action; the op fails with the reason when the ledger refuses."""
    context.log.info(intervene(context.resources.ledger, config))


def intervene(ledger: Ledger, config: Intervention) -> str:
    """Carry out the action.

    Returns:
        what was done, in words.

    Raises:
        InvalidInput: the action has no target, or one that does not fit.
        DistTaskError: the ledger refuses; see `OperatorStore`.
    """
    who, why = config.actor, config.reason
    match config:
        case Intervention(action=Action.RETRY, transaction_id=str(identifier), exception_id=None):
            tasks = ledger.operators.retry_transaction(identifier, actor=who, reason=why)
            return f"transaction {identifier!r}: {', '.join(tasks)} will be called again now"
        case Intervention(action=Action.RETRY, transaction_id=None, exception_id=int(number)):
            ledger.operators.retry_exception(number, actor=who, reason=why)
            return f"exception {number}: its task will be called again now"
        case Intervention(action=Action.HANDLE, transaction_id=None, exception_id=int(number)):
            ledger.operators.handle(number, actor=who, remark=why)
            return f"exception {number} is handled"
        case Intervention(action=Action.CANCEL, transaction_id=str(identifier), exception_id=None):
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
