"""What the contract of the client is tried on: the platform in memory, and the real API."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dist_task_pipelines import Client
from dist_task_pipelines.assembly import open_ledger
from dist_task_pipelines.client import Retries
from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.domain.keys import idempotency_key
from dist_task_pipelines.domain.status import TransactionStatus
from dist_task_pipelines.engine.batch_run import BatchRun
from dist_task_pipelines.engine.calls import Caller
from dist_task_pipelines.engine.event_loop import EventLoop
from dist_task_pipelines.executors import Participants, Registry
from dist_task_pipelines.ledger import Ledger
from dist_task_pipelines.ledger.records import DispatchedBatch, DispatchLimits
from dist_task_pipelines.settings import Settings
from dist_task_pipelines.testing import InMemoryTransport
from tests.integration.engine.scripted import ScriptedExecutor, failed
from tests.services.api import running_api

LEASE = 60.0  # seconds


class Server(ABC):
    """A platform whose participants are scripted, and where work is done when a test says so."""

    @abstractmethod
    def client(self, actor: str | None = None) -> Client:
        """A client of it."""

    @abstractmethod
    def run(self) -> None:
        """Do all work that is due, until nothing moves by itself."""

    @abstractmethod
    def fail(self, instance_id: str, task_id: str, *, times: int = 1) -> None:
        """Let the next calls of a task of a transaction of `shop` fail, worth a retry.

        The error is `Refused: out of stock`, with the code 409.
        """


class InMemory(Server):
    """The platform in memory."""

    def __init__(self) -> None:
        self._transport = InMemoryTransport(runs_by_itself=False)

    def client(self, actor: str | None = None) -> Client:
        return Client(transport=self._transport, actor=actor, retries=Retries(0))

    def run(self) -> None:
        self._transport.run()

    def fail(self, instance_id: str, task_id: str, *, times: int = 1) -> None:
        self._transport.fail(
            "shop", task_id, "out of stock", instance_id=instance_id, times=times, code="409"
        )


class RealApi(Server):
    """The API over a ledger, served over HTTP; the engine runs what is due, without Dagster.

    Attributes:
        url: where it is.
    """

    def __init__(self, url: str, ledger: Ledger) -> None:
        self.url = url
        self._ledger = ledger
        self._clients: list[Client] = []
        self._loop = EventLoop()
        self._registry = Registry({"http": ScriptedExecutor}, Participants())
        self._caller = Caller(self._registry, lambda _: None)

    def client(self, actor: str | None = None) -> Client:
        client = Client(self.url, actor=actor, retries=Retries(0))
        self._clients.append(client)
        return client

    def run(self) -> None:
        while batches := self._due():
            for batch in batches:
                self._carry(batch)

    def fail(self, instance_id: str, task_id: str, *, times: int = 1) -> None:
        executor = self._registry.get("http")
        assert isinstance(executor, ScriptedExecutor)
        executor.script(idempotency_key(instance_id, task_id), *[failed()] * times)

    def close(self) -> None:
        """End its threads and connections."""
        for client in self._clients:
            client.close()
        self._loop.run(self._registry.close())
        self._loop.close()

    def _due(self) -> list[DispatchedBatch]:
        limits = DispatchLimits(max_runs_in_flight=1000, max_runs_in_flight_per_flow=1000)
        flows = [record.id for record in self._ledger.flows.in_use()]
        return [
            batch
            for status in (TransactionStatus.PENDING, TransactionStatus.RUNNING)
            for batch in self._ledger.dispatcher.dispatch(limits, status=status, flow_ids=flows)
        ]

    def _carry(self, dispatched: DispatchedBatch) -> None:
        batch = self._ledger.batches.acquire(
            dispatched.id, run_id=f"run-{dispatched.id}", worker="worker", lease=LEASE
        )
        with BatchRun(self._ledger, self._caller, self._loop, batch, lease=LEASE, calls=10) as run:
            for each in run.flow.tasks:
                run.run_task(each.id)


@contextmanager
def real_api(home: Path) -> Iterator[RealApi]:
    """The API over the ledger of a home."""
    settings = Settings.load(None, home)
    ledger = open_ledger(settings)
    # It runs the batches.
    ledger.workers.register("this process", host="127.0.0.1", pid=os.getpid())
    with running_api(ledger, settings) as url:
        server = RealApi(url, ledger)
        try:
            yield server
        finally:
            server.close()
    ledger.close()


def flow(*tasks: JsonObject, **keys: object) -> JsonObject:
    """A definition of these tasks."""
    return {"tasks": list(tasks), **keys}


def task(identifier: str, *after: str, **keys: object) -> JsonObject:
    """A task that calls the participant, once the tasks `after` succeeded."""
    return {
        "id": identifier,
        "task_name": "http_request",
        "config": {"url": "http://127.0.0.1:9/"},
        "depends_on": list(after),
        **keys,
    }
