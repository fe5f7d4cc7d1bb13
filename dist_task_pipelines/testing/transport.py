"""The transport for tests: takes a client's requests to a platform in memory."""

import threading
from collections.abc import Sequence
from pathlib import Path

from dist_task_pipelines import schemas
from dist_task_pipelines.client.errors import Unreachable
from dist_task_pipelines.client.transport import Request, Response
from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.domain.status import Applied
from dist_task_pipelines.testing.memory import Memory, stored_flow
from dist_task_pipelines.testing.routes import answer


class InMemoryTransport:
    """A platform in memory, for `Client(transport=...)`.

    Args:
        tasks: the TOML file of the task definitions that flows may name; by default the
            shipped one.
        runs_by_itself: whether a transaction runs as soon as its submit is answered; without
            it everything waits for `run`, which lets a test cancel what is pending.

    Attributes:
        requests: every request that was sent, in order.
        is_reachable: set to False to have every request end in `Unreachable`.
    """

    def __init__(self, *, tasks: Path | None = None, runs_by_itself: bool = True) -> None:
        self.requests: list[Request] = []
        self.is_reachable = True
        self._memory = Memory(tasks)
        self._runs_by_itself = runs_by_itself
        self._lock = threading.Lock()

    def send(self, request: Request) -> Response:
        """Answer a request.

        Raises:
            Unreachable: a test said so.
        """
        with self._lock:
            self.requests.append(request)
            if not self.is_reachable:
                raise Unreachable("cannot reach the platform in memory: a test said so")
            response = answer(self._memory, request)
            if self._runs_by_itself:
                self._run()
            return response

    def close(self) -> None:
        """Nothing to give back; it can still be used."""

    def add_flow(self, name: str, *tasks: str) -> str:
        """A flow of tasks that are called one after another and take any parameters.

        Returns:
            the flow id.
        """
        with self._lock:
            row = self._memory.add_flow(name, stored_flow(name, tasks), "", "", "")
            return row.flow.id

    def fail(
        self,
        flow: str,
        task_id: str,
        message: str = "refused",
        *,
        instance_id: str | None = None,
        times: int | None = 1,
        type: str = "Refused",
        code: str = "",
        retryable: bool = True,
        applied: Applied = Applied.NO,
    ) -> None:
        """Let the next calls of a task fail.

        Args:
            flow: a flow id, or a flow's name for all its versions.
            instance_id: only this transaction's; by default whichever comes first.
            times: how many calls; None for all to come.
            retryable: whether automatic retries follow, where the task has any.
            applied: whether it took effect; `maybe` makes a task that is not idempotent
                `unknown`.
        """
        outcome = Outcome.failure(type, message, retryable=retryable, applied=applied, code=code)
        self._script(flow, task_id, instance_id, outcome, times)

    def reply(
        self,
        flow: str,
        task_id: str,
        output: JsonObject,
        *,
        instance_id: str | None = None,
        times: int | None = None,
    ) -> None:
        """Let calls of a task succeed with this output; see `fail`."""
        self._script(flow, task_id, instance_id, Outcome.success(output), times)

    def run(self) -> None:
        """Run everything that may be called, until nothing moves by itself."""
        with self._lock:
            self._run()

    @property
    def submitted(self) -> Sequence[schemas.Submit]:
        """The transactions that were accepted, as they were submitted, in order."""
        rows = self._memory.transactions.values()
        return [
            schemas.Submit(instance_id=row.id, flow_id=row.reference, params=row.params)
            for row in rows
        ]

    def _script(
        self, flow: str, task_id: str, instance_id: str | None, outcome: Outcome, times: int | None
    ) -> None:
        with self._lock:
            self._memory.script.add(flow, task_id, instance_id, outcome, times)

    def _run(self) -> None:
        for row in self._memory.transactions.values():
            if not row.status.is_settled:
                self._memory.run(row)
