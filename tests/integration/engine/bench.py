"""The engine without Dagster: a ledger, a scripted participant, and the steps that tests take."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from dist_task_pipelines.domain.flow import Flow
from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.domain.status import TransactionStatus
from dist_task_pipelines.engine.batch_run import BatchRun, TaskReport
from dist_task_pipelines.engine.calls import Caller
from dist_task_pipelines.engine.event_loop import EventLoop
from dist_task_pipelines.engine.submit import SubmitRequest, submit, submit_many
from dist_task_pipelines.executors import Executor, Participants, Registry
from dist_task_pipelines.executors.db import DbExecutor
from dist_task_pipelines.executors.http import HttpExecutor
from dist_task_pipelines.flows import Catalog, flow_from, resolve_definition
from dist_task_pipelines.ledger import Ledger, tables
from dist_task_pipelines.ledger.records import (
    Batch,
    BatchEnd,
    DispatchedBatch,
    DispatchLimits,
    ExceptionRecord,
    FlowRecord,
    LogRecord,
    TaskRecord,
    TransactionRecord,
)
from tests.contract.steps import SteppableClock
from tests.integration.engine.scripted import WAIT, ScriptedExecutor

LEASE = 60.0  # seconds
TYPES = {"act": "scripted", "post": "http", "write": "db"}  # of executor, by task definition
EXECUTORS: dict[str, type[Executor[Any]]] = {
    "scripted": ScriptedExecutor,
    "http": HttpExecutor,
    "db": DbExecutor,
}
CATALOG = Catalog(
    {
        name: {"type": type, "description": "", "config": {}, "input_fields": None}
        for name, type in TYPES.items()
    }
)
PENDING, RUNNING = TransactionStatus.PENDING, TransactionStatus.RUNNING


def build(record: FlowRecord) -> Flow:
    """The runnable flow of a stored version."""
    return flow_from(record.definition, id=record.id, version=record.version)


def act(identifier: str, *after: str, task_name: str = "act", **options: Any) -> JsonObject:
    """A task of a definition, which depends on the tasks `after`."""
    return {"id": identifier, "task_name": task_name, "depends_on": list(after), **options}


class Bench:
    """One process's engine over a ledger.

    Attributes:
        secrets: the values of `${secret.NAME}`.
    """

    def __init__(
        self,
        url: str,
        clock: SteppableClock | None = None,
        databases: Mapping[str, str] | None = None,
    ) -> None:
        self.ledger = Ledger(url, build, clock=clock)
        self.loop = EventLoop()
        participants = Participants(databases=databases or {}, ledger_uuid=self.ledger.uuid)
        self.registry = Registry(EXECUTORS, participants)
        executor = self.registry.get("scripted")
        assert isinstance(executor, ScriptedExecutor)
        self.executor = executor
        self.secrets: dict[str, str] = {}
        self.caller = Caller(self.registry, self.secrets.get)
        self._threads = ThreadPoolExecutor(4)

    def close(self) -> None:
        """End threads and connections."""
        self.executor.release_all()
        self._threads.shutdown()
        self.loop.run(self.registry.close())
        self.loop.close()
        self.ledger.close()

    def flow(self, *tasks: JsonObject, name: str = "payment") -> Flow:
        """A stored flow of these tasks; of one task `deduct` when there are none."""
        definition = resolve_definition(
            {"tasks": list(tasks) or [act("deduct")]},
            name=name,
            catalog=CATALOG,
            config_models=self.registry.config_models(),
        )
        return self.ledger.flows.load(self.ledger.flows.create(name=name, definition=definition).id)

    def submit(
        self, identifier: str, flow: str = "payment", params: JsonObject | None = None
    ) -> TransactionRecord:
        """A transaction, accepted."""
        request = SubmitRequest(identifier, flow, params)
        return submit(self.ledger, request, max_params_bytes=1_000_000)

    def dispatch(
        self, flow: Flow, status: TransactionStatus = PENDING, **limits: Any
    ) -> list[DispatchedBatch]:
        """What the dispatcher makes of what is due."""
        return self.ledger.dispatcher.dispatch(
            DispatchLimits(**limits), status=status, flow_ids=[flow.id]
        )

    def take(
        self, flow: Flow, *ids: str, params: JsonObject | None = None, lease: float = LEASE
    ) -> Batch:
        """A run's batch of these new transactions."""
        requests = [SubmitRequest(each, flow.id, params) for each in ids]
        for record in submit_many(self.ledger, requests, max_params_bytes=1_000_000):
            assert isinstance(record, TransactionRecord), record
        return self.take_due(flow, PENDING, lease=lease)

    def take_due(
        self, flow: Flow, status: TransactionStatus = RUNNING, *, lease: float = LEASE
    ) -> Batch:
        """A run's batch of what is due, all of it."""
        [dispatched] = self.dispatch(flow, status, max_batch=1000)
        return self.acquire(dispatched, lease=lease)

    def acquire(self, dispatched: DispatchedBatch, *, lease: float = LEASE) -> Batch:
        """The batch, taken by a run."""
        return self.ledger.batches.acquire(
            dispatched.id, run_id=f"run-{dispatched.id}", worker="worker", lease=lease
        )

    def adopt(self, flow: Flow, *ids: str) -> Batch:
        """The batch of a run that a person started over these transactions."""
        return self.ledger.batches.adopt(
            flow.id,
            [self.ledger.transactions.get(each).seq for each in ids],
            run_id="re-executed",
            worker="worker",
            lease=LEASE,
            actor="ann",
        )

    @contextmanager
    def running(
        self,
        batch: Batch,
        *,
        lease: float = LEASE,
        calls: int = 100,
        stop: threading.Event | None = None,
    ) -> Iterator[BatchRun]:
        """The work on a batch that is owned."""
        with BatchRun(
            self.ledger, self.caller, self.loop, batch, lease=lease, calls=calls, stop=stop
        ) as run:
            yield run

    def carry(self, batch: Batch, *, end: BatchEnd = BatchEnd.DONE) -> dict[str, TaskReport]:
        """Run the whole batch, task by task."""
        with self.running(batch) as run:
            reports = {task.id: run.run_task(task.id) for task in run.flow.tasks}
            run.end_reason = end
            return reports

    def in_background(self, run: BatchRun, task_id: str) -> "Future[TaskReport]":
        """Run a task on a thread of its own."""
        return self._threads.submit(run.run_task, task_id)

    def status(self, transaction_id: str) -> TransactionStatus:
        """Where the transaction stands."""
        return self.ledger.transactions.get(transaction_id).status

    def task(self, transaction_id: str, task_id: str = "deduct") -> TaskRecord:
        """A task of the transaction."""
        tasks = self.ledger.transactions.tasks(transaction_id)
        return next(task for task in tasks if task.task_id == task_id)

    def logs(self, transaction_id: str, task_id: str = "deduct") -> list[LogRecord]:
        """What the execution log says of a task, oldest first."""
        rows = self.ledger.transactions.logs(transaction_id)
        return [row for row in rows if row.task_id == task_id]

    def actions(self, transaction_id: str, task_id: str = "deduct") -> list[str]:
        """The actions of those rows."""
        return [str(row.action) for row in self.logs(transaction_id, task_id)]

    def exceptions(self, transaction_id: str) -> Sequence[ExceptionRecord]:
        """The exceptions of a transaction, newest first."""
        return self.ledger.exceptions.page(transaction_id=transaction_id)

    def everything(self) -> str:
        """Every row of every table of the ledger, as text."""
        with self.ledger.database.read() as connection:
            rows = [
                repr(tuple(row))  # a row's own repr is shortened
                for table in tables.metadata.sorted_tables
                for row in connection.execute(sa.select(table))
            ]
        return "\n".join(rows)


def ended(future: "Future[TaskReport]") -> TaskReport:
    """What a task run in the background came to."""
    return future.result(WAIT)


def orders(count: int) -> list[str]:
    """Transaction ids."""
    return [f"order_{number}" for number in range(count)]
