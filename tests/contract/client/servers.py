"""What the contract of the client is tried on: the platform in memory, and the real API."""

from abc import ABC, abstractmethod

from dist_task_pipelines import Client
from dist_task_pipelines.client import Retries
from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.testing import InMemoryTransport


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
