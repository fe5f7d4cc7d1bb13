"""From a run's config to the batch it owns, and from the run's end to the batch's.

A dispatched run names its batch. A run from the Launchpad names one transaction, which is
registered first. A run started by a person over a batch that has been worked on, such as a
re-execution, gets a batch of its own, of those transactions that it may own.
"""

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
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
from dist_task_pipelines.orchestration.step_executor import cancel_requested, stop_event
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


_taken: dict[str, Batch] = {}  # by run id: batches that were taken before their run began


@contextmanager
def holding(ledger: Ledger, batch: Batch) -> Iterator[None]:
    """Within, the batch's run finds it taken; if it never comes to use it, the batch ends.

    A worker takes a run's batch before it touches the run, in a message that may be late or
    repeated.
    """
    _taken[batch.run_id] = batch
    try:
        yield
    finally:
        if _taken.pop(batch.run_id, None):
            ledger.batches.end(batch.id, BatchEnd.ERROR)


def batch_resource(settings: Settings) -> ResourceDefinition:
    """The resource `batch`: the work of the run on the transactions that it owns."""

    @contextmanager
    def work(context: InitResourceContext) -> Iterator[BatchRun]:
        ledger: Ledger = context.resources.ledger
        participants: tuple[Caller, EventLoop] = context.resources.participants
        run = context.run
        assert run
        batch = _taken.get(run.run_id) or take_batch(
            ledger, run, context.resource_config, settings, worker=socket.gethostname()
        )
        with holding(ledger, batch):
            _name_left_alone(context, batch)
            stop = stop_event(run.run_id)
            with BatchRun(
                ledger,
                *participants,
                batch,
                lease=settings.dispatch.lease_seconds,
                calls=settings.dispatch.calls_per_run,
                stop=stop,
            ) as batch_run:
                _taken.pop(batch.run_id)  # from now on that ends it
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
    ledger: Ledger,
    run: DagsterRun,
    config: Mapping[str, Any],
    settings: Settings,
    *,
    worker: str,
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
    owner = _Owner(ledger, run, worker, settings.dispatch.lease_seconds)
    if transaction_id is not None:
        request = SubmitRequest(transaction_id, run.job_name, config.get("params"))
        limit = settings.limits.max_params_bytes
        record = submit(ledger, request, max_params_bytes=limit, delay=HEAD_START)
        return owner.adopt(record.flow_id, [record.seq])
    assert batch_id is not None
    flow_id, seqs = ledger.batches.members(batch_id)
    if flow_id != run.job_name:
        raise Conflict(f"batch {batch_id} is of the flow {flow_id!r}; launch its job")
    try:
        return owner.acquire(batch_id)
    except Conflict:
        if not is_persons_act(ledger, run, batch_id):
            raise
    return owner.adopt(flow_id, seqs)


def is_persons_act(ledger: Ledger, run: DagsterRun, batch_id: int) -> bool:
    """Whether a person re-executes a run: it has a parent, and the batch is not meant for it.

    A dispatched retry has a parent too, but its batch names it.
    """
    return bool(run.parent_run_id) and ledger.batches.run_of(batch_id) != run.run_id


@dataclass(frozen=True, slots=True)
class _Owner:
    """A run that takes transactions into its possession."""

    ledger: Ledger
    run: DagsterRun
    worker: str
    lease: float

    def acquire(self, batch_id: int) -> Batch:
        return self.ledger.batches.acquire(
            batch_id, run_id=self.run.run_id, worker=self.worker, lease=self.lease
        )

    def adopt(self, flow_id: str, seqs: list[int]) -> Batch:
        return self.ledger.batches.adopt(
            flow_id,
            seqs,
            run_id=self.run.run_id,
            worker=self.worker,
            lease=self.lease,
            actor=self.run.tags.get("user", PERSON),
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


def _name_left_alone(context: InitResourceContext, batch: Batch) -> None:
    """One line in the run's log for each reason."""
    assert context.log
    by_reason: dict[str, list[str]] = {}
    for left in batch.left_alone:
        by_reason.setdefault(left.reason, []).append(left.transaction_id)
    for reason, names in by_reason.items():
        shown = ", ".join(names[:NAMES_SHOWN]) + (", ..." if len(names) > NAMES_SHOWN else "")
        context.log.warning(f"{len(names)} left alone, {reason}: {shown}")
