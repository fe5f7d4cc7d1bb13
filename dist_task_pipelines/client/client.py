"""The client: where a program begins."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Self

from dist_task_pipelines import schemas
from dist_task_pipelines.client import submitting
from dist_task_pipelines.client.calls import Calls, path_of
from dist_task_pipelines.client.errors import InvalidInput
from dist_task_pipelines.client.exceptions import Exceptions
from dist_task_pipelines.client.flows import Flows
from dist_task_pipelines.client.retrying import Retries
from dist_task_pipelines.client.stats import Stats
from dist_task_pipelines.client.submitting import Submitted, Wanted
from dist_task_pipelines.client.transactions import Transaction
from dist_task_pipelines.client.transport import HttpTransport, Transport
from dist_task_pipelines.domain.errors import Fault
from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.domain.status import Health, TransactionStatus

DEFAULT_URL = "http://127.0.0.1:3000"


class Client:
    """A client of the platform; may be used by many threads.

        with Client("http://127.0.0.1:3000") as client:
            client.submit("order_flow", "order_1", {"deduct": {"amount": 99}}).wait(timeout=30)

    Every method raises `ClientError` when it is refused or gets no proper answer. Questions
    and submits are repeated when no answer comes, an operator's actions are not.

    Args:
        url: where the server is.
        actor: who acts, as the audit trail names it.
        retries: how questions and submits are repeated.
        transport: takes the requests to the server; by default `HttpTransport(url)`. Timeouts
            are its business. `dist_task_pipelines.testing` has one for tests.

    Attributes:
        flows: flow definitions and their versions.
        exceptions: the tasks that need a retry or a person.
        stats: the numbers.

    Raises:
        InvalidInput: the URL is none of a server, or the actor has control characters.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        actor: str | None = None,
        retries: Retries | None = None,
        transport: Transport | None = None,
    ) -> None:
        headers = {"Accept": "application/json"}
        if actor:
            headers["X-Actor"] = _checked_actor(actor)
        self._calls = Calls(transport or HttpTransport(url), retries or Retries(), headers)
        self.flows = Flows(self._calls)
        self.exceptions = Exceptions(self._calls)
        self.stats = Stats(self._calls)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._calls.transport.close()

    def submit(self, flow: str, instance_id: str, params: JsonObject | None = None) -> Transaction:
        """Submit a transaction; the same submit again gives the same transaction.

        Args:
            flow: a flow id, or a flow's name for its newest active version.
            instance_id: the transaction's id, which stands for this one request.
            params: by task id, or by task name.

        Raises:
            InvalidInput: every fault of the id and the params.
            NotFound: there is no such flow.
            NotAllowed: the flow is not active.
            Conflict: the id stands for another request.
        """
        body = submitting.checked({"instance_id": instance_id, "flow_id": flow, "params": params})
        path = path_of("transactions")
        return Transaction(self._calls, self._calls.act(path, schemas.Accepted, body, is_safe=True))

    def submit_many(self, wanted: Iterable[Wanted]) -> list[Submitted]:
        """Submit transactions, up to 1,000 in a request and a commit.

        Args:
            wanted: as `{"instance_id": ..., "flow_id": ..., "params": ...}` each.

        Returns:
            a transaction or an error for each, in their order; one refused does not hold up
            the others.
        """
        return list(submitting.submit_many(self._calls, wanted))

    def get(self, instance_id: str) -> Transaction:
        """A transaction.

        Raises:
            NotFound: nothing has that id.
        """
        told = self._calls.get(path_of("transactions", instance_id), schemas.Transaction)
        return Transaction(self._calls, told)

    def wait(self, instance_id: str, timeout: float | None = None) -> Transaction:
        """Wait until a transaction has succeeded; see `Transaction.wait`.

        Raises:
            NotFound: nothing has that id.
            NotSuccessful: it failed, was cancelled, or has not settled in time.
        """
        return self.get(instance_id).wait(timeout)

    def transactions(
        self,
        *,
        status: TransactionStatus | str | None = None,
        health: Health | str | None = None,
        flow_id: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        page_size: int = 100,
    ) -> Iterator[Transaction]:
        """Transactions, newest first; asked for page by page as they are taken.

        Args:
            since: accepted at this time or later.
            until: accepted before this time.
        """
        told = self._calls.pages(
            path_of("transactions"),
            schemas.Transaction,
            status=status,
            health=health,
            flow_id=flow_id,
            since=since and schemas.text_of(since),
            until=until and schemas.text_of(until),
            page_size=page_size,
        )
        return (Transaction(self._calls, each) for each in told)

    def task_definitions(self) -> list[schemas.TaskDefinition]:
        """The task definitions that flows may name."""
        return self._calls.every(path_of("task-definitions"), schemas.TaskDefinition)

    def health(self) -> schemas.HealthReport:
        """How the platform does, also when that is not well."""
        return self._calls.health()


def _checked_actor(actor: str) -> str:
    name = actor.strip()
    if not name.isprintable():
        fault = Fault("actor", "must hold no control characters")
        raise InvalidInput(str(fault), [fault])
    return name
