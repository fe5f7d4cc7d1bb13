"""From a run's config to the batch it owns, and from the run's end to the batch's.

A dispatched run names its batch. A run from the Launchpad names one transaction, which is
registered first. A run started by a person over a batch that has been worked on, such as a
re-execution, gets a batch of its own, of those transactions that it may own.
"""

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from dagster import (
    DagsterExecutionInterruptedError,
    DagsterRun,
    Field,
    InitResourceContext,
    ResourceDefinition,
)

from dist_task_pipelines.domain.errors import Conflict, Fault, InvalidInput
from dist_task_pipelines.engine.batch_run import BatchRun
from dist_task_pipelines.engine.calls import Caller
from dist_task_pipelines.engine.event_loop import EventLoop
from dist_task_pipelines.engine.submit import SubmitRequest, submit
from dist_task_pipelines.ledger import Ledger
from dist_task_pipelines.ledger.records import Batch, BatchEnd
from dist_task_pipelines.orchestration.step_executor import cancel_requested, stop_requested
from dist_task_pipelines.orchestration.tags import PERSON
from dist_task_pipelines.settings import Settings

HEAD_START = 60  # seconds in which a run from the Launchpad has its transaction to itself
NAMES_SHOWN = 20  # transactions named in one line of the run's log

CONFIG_SCHEMA = {
    "batch_id": Field(
        int, is_required=False, description="A batch that the platform dispatched. Leave it out."
    ),
    "transaction_id": Field(
        str,
        is_required=False,
        description="The id of the transaction to register and run: its idempotency key.",
    ),
    "params": Field(
        dict,
        is_required=False,
        description="The transaction's parameters, by task id: {deduct: {amount: 1}}.",
    ),
}


def batch_resource(settings: Settings) -> ResourceDefinition:
    """The resource `batch`: the work of the run on the transactions that it owns."""

    @contextmanager
    def work(context: InitResourceContext) -> Iterator[BatchRun]:
        ledger: Ledger = context.resources.ledger
        participants: tuple[Caller, EventLoop] = context.resources.participants
        run = context.run
        assert run
        batch = take_batch(ledger, run, context.resource_config, settings)
        _name_left_alone(context, batch)
        stop = stop_requested(run.run_id)
        with BatchRun(
            ledger,
            *participants,
            batch,
            lease=settings.dispatch.lease_seconds,
            calls=settings.dispatch.calls_per_run,
            stop=stop,
        ) as batch_run:
            try:
                yield batch_run
            finally:
                if batch_run.was_stopped and batch_run.end_reason is BatchEnd.DONE:
                    batch_run.end_reason = _why_stopped(context, run, stop.error)

    return ResourceDefinition(
        resource_fn=work,
        config_schema=CONFIG_SCHEMA,
        required_resource_keys={"ledger", "participants"},
        description="The transactions that the run carries.",
    )


def take_batch(
    ledger: Ledger, run: DagsterRun, config: Mapping[str, Any], settings: Settings
) -> Batch:
    """The batch that the run owns from now on.

    Raises:
        InvalidInput: the config names neither a batch nor a transaction, or both.
        Conflict: the batch is another run's and nobody asked for it to be done again.
        DistTaskError: the transaction cannot be accepted.
    """
    batch_id, transaction_id = config.get("batch_id"), config.get("transaction_id")
    if (batch_id is None) == (transaction_id is None) or (batch_id and config.get("params")):
        raise InvalidInput(
            [Fault("resources.batch.config", "give either transaction_id (and params) or batch_id")]
        )
    if transaction_id is not None:
        request = SubmitRequest(transaction_id, run.job_name, config.get("params"))
        limit = settings.limits.max_params_bytes
        record = submit(ledger, request, max_params_bytes=limit, delay=HEAD_START)
        return _adopt(ledger, run, record.flow_id, [record.seq], settings)
    assert batch_id is not None
    flow_id, seqs = ledger.batches.members(batch_id)
    if flow_id != run.job_name:
        raise Conflict(f"batch {batch_id} is of the flow {flow_id!r}; launch its job")
    try:
        return ledger.batches.acquire(
            batch_id,
            run_id=run.run_id,
            worker=_worker(),
            lease=settings.dispatch.lease_seconds,
        )
    except Conflict:
        if not run.parent_run_id:
            raise
    return _adopt(ledger, run, flow_id, seqs, settings)


def _adopt(
    ledger: Ledger, run: DagsterRun, flow_id: str, seqs: list[int], settings: Settings
) -> Batch:
    return ledger.batches.adopt(
        flow_id,
        seqs,
        run_id=run.run_id,
        worker=_worker(),
        lease=settings.dispatch.lease_seconds,
        actor=run.tags.get("user", PERSON),
    )


def _why_stopped(
    context: InitResourceContext, run: DagsterRun, error: BaseException | None
) -> BatchEnd:
    """A person cancelled the run, its worker was shut down, or something broke.

    Without an error the ledger said stop, and knows why.
    """
    assert context.instance
    if cancel_requested(context.instance, run.run_id):
        return BatchEnd.STOPPED
    if error is None:
        return BatchEnd.DONE
    shut_down = isinstance(error, DagsterExecutionInterruptedError | KeyboardInterrupt)
    return BatchEnd.HANDED_BACK if shut_down else BatchEnd.ERROR


def _worker() -> str:
    return socket.gethostname()


def _name_left_alone(context: InitResourceContext, batch: Batch) -> None:
    """One line in the run's log for each reason."""
    assert context.log
    by_reason: dict[str, list[str]] = {}
    for left in batch.left_alone:
        by_reason.setdefault(left.reason, []).append(left.transaction_id)
    for reason, names in by_reason.items():
        shown = ", ".join(names[:NAMES_SHOWN]) + (", ..." if len(names) > NAMES_SHOWN else "")
        context.log.warning(f"{len(names)} left alone, {reason}: {shown}")
