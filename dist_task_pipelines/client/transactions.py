"""One transaction: what the server last told of it, and what can be done about it."""

import time
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from dist_task_pipelines import schemas
from dist_task_pipelines.client.calls import Calls, path_of
from dist_task_pipelines.client.errors import (
    TransactionCancelled,
    TransactionFailed,
    WaitTimeout,
)
from dist_task_pipelines.domain.status import TransactionStatus

FIRST_LOOK, LONGEST_PAUSE = 0.05, 1.0  # seconds between two looks, while waiting

Done = TypeVar("Done", schemas.Retried, schemas.Cancelled)


class Transaction:
    """One transaction. `Client.submit`, `get` and `transactions` make them.

    Attributes:
        id: its id, the idempotency key.
        flow_id: the flow version that it runs.
        status: as last told; `refresh` asks again.
        created_at: when it was accepted.
    """

    def __init__(self, calls: Calls, told: schemas.Accepted | schemas.Transaction) -> None:
        self.id: str = told.instance_id
        self.flow_id: str = told.flow_id
        self.status: TransactionStatus = told.status
        self.created_at: datetime = told.created_at
        self._calls = calls
        self._details = told if isinstance(told, schemas.Transaction) else None

    def __repr__(self) -> str:
        return f"<Transaction {self.id!r} of {self.flow_id}: {self.status}>"

    @property
    def has_settled(self) -> bool:
        """Whether it has, as last told, come to an end that lasts until a person acts."""
        return self.status.is_settled

    @property
    def details(self) -> schemas.Transaction:
        """Everything as last told: health, params, run, times, tasks; asked for if need be.

        Raises:
            ClientError: there is no proper answer.
        """
        if self._details is None:
            self.refresh()
        assert self._details
        return self._details

    def refresh(self) -> "Transaction":
        """Ask how it stands now.

        Raises:
            ClientError: there is no proper answer.
        """
        self._details = self._calls.get(path_of("transactions", self.id), schemas.Transaction)
        self.status = self._details.status
        return self

    def wait(
        self,
        timeout: float | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> "Transaction":
        """Wait until it has succeeded.

        Args:
            timeout: seconds; None waits for as long as it takes.

        Raises:
            TransactionFailed: it failed; names the task, its error and its exception.
            TransactionCancelled: it was cancelled.
            WaitTimeout: it has not settled in time.
            ClientError: there is no proper answer.
        """
        end = None if timeout is None else clock() + timeout
        pause = FIRST_LOOK
        while not self.refresh().has_settled:
            left = pause if end is None else end - clock()
            if left <= 0:
                raise WaitTimeout(f"{self._named} is still {self.status}", self.id)
            sleep(min(pause, left))
            pause = min(pause * 1.5, LONGEST_PAUSE)
        if self.status is TransactionStatus.FAILED:
            raise self._failure()
        if self.status is TransactionStatus.CANCELLED:
            raise TransactionCancelled(f"{self._named} is cancelled", self.id)
        return self

    def tasks(self) -> list[schemas.TaskView]:
        """Its tasks in the flow's order, as they stand now.

        Raises:
            ClientError: there is no proper answer.
        """
        return list(self.refresh().details.tasks or [])

    def logs(self) -> list[schemas.LogEntry]:
        """Its execution log, oldest first.

        Raises:
            ClientError: there is no proper answer.
        """
        path = path_of("transactions", self.id, "logs")
        return self._calls.every(path, schemas.LogEntry)

    def exceptions(self, handled: bool | None = None) -> list[schemas.ExceptionView]:
        """Its exceptions, newest first.

        Raises:
            ClientError: there is no proper answer.
        """
        path, query = path_of("exceptions"), {"instance_id": self.id, "handled": handled}
        return list(self._calls.pages(path, schemas.ExceptionView, **query))

    def retry(self, reason: str = "") -> list[str]:
        """Let its failed tasks be called once more, now; gives their ids.

        Raises:
            NotAllowed: it has not failed, or all that failed is handled or `no_retry`.
            Conflict: a run is working on it.
            ClientError: it was refused otherwise, or there is no proper answer.
        """
        done = self._act("retry", schemas.Retried, reason)
        self.status = done.status
        return list(done.tasks)

    def cancel(self, reason: str = "") -> TransactionStatus:
        """Cancel it: at once, or before its next task when a run is working on it.

        Returns:
            `cancelled`, or `running` where it will be.

        Raises:
            NotAllowed: it has succeeded.
            ClientError: it was refused otherwise, or there is no proper answer.
        """
        self.status = self._act("cancel", schemas.Cancelled, reason).status
        return self.status

    @property
    def _named(self) -> str:
        return f"transaction {self.id!r}"

    def _act(self, verb: str, answer: type[Done], reason: str) -> Done:
        self._details = None
        path = path_of("transactions", self.id, verb)
        return self._calls.act(path, answer, schemas.Reason(reason=reason))

    def _failure(self) -> TransactionFailed:
        failed = next((task for task in self.details.tasks or [] if task.status.ended_badly), None)
        if failed is None:
            message = f"{self._named} failed: {self.details.error_message}"
            return TransactionFailed(message, self.id)
        found = [each for each in self.exceptions(handled=False) if each.task_id == failed.task_id]
        why = f"{failed.error.type}: {failed.error.message}" if failed.error else failed.status
        return TransactionFailed(
            f"{self._named} failed at task {failed.task_id!r}: {why}",
            self.id,
            task_id=failed.task_id,
            error=failed.error,
            exception_id=found[0].exception_id if found else None,
        )
