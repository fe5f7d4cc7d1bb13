"""Every error that the client raises.

    ClientError
    ├── InvalidInput              the request cannot be accepted; names every fault
    │   └── TooLarge              it has more bytes than the server takes
    ├── NotFound                  nothing has that id
    ├── NotAllowed                the thing is not in a state that allows it
    ├── Conflict                  the id or name is taken, or a run is working on it
    ├── Unavailable               the server cannot serve at the moment
    │   └── Unreachable           no answer came
    ├── UnexpectedAnswer          this client does not know such an answer
    └── NotSuccessful             a transaction that was waited for did not succeed
        ├── TransactionFailed     only a person can move it; names the task and its exception
        ├── TransactionCancelled
        └── WaitTimeout           it has not settled in time

A docstring's first line is the message where the server has no better one.
"""

from collections.abc import Sequence

from dist_task_pipelines.domain.errors import DistTaskError, Fault
from dist_task_pipelines.schemas import TaskErrorView


class ClientError(DistTaskError):
    """The platform's client failed."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or (type(self).__doc__ or "").splitlines()[0])


class InvalidInput(ClientError):
    """The request cannot be accepted.

    Attributes:
        faults: everything wrong with it, each with its place.
    """

    def __init__(self, message: str = "", faults: Sequence[Fault] = ()) -> None:
        self.faults = tuple(faults)
        super().__init__(message)


class TooLarge(InvalidInput):
    """The request has more bytes than the server takes."""


class NotFound(ClientError):
    """Nothing has that id."""


class NotAllowed(ClientError):
    """The state of the thing does not allow what was asked."""


class Conflict(ClientError):
    """The id stands for another request, the name is taken, or a run is working on it."""


class Unavailable(ClientError):
    """The server cannot serve at the moment.

    Attributes:
        retry_after: seconds that it asked to wait, if it did.
    """

    def __init__(self, message: str = "", retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(message)


class Unreachable(Unavailable):
    """No answer came from the server.

    Attributes:
        may_have_arrived: whether the server may have got the request, and acted on it.
    """

    def __init__(self, message: str = "", *, may_have_arrived: bool = True) -> None:
        self.may_have_arrived = may_have_arrived
        super().__init__(message)


class UnexpectedAnswer(ClientError):
    """The server gave an answer that this client does not know."""


class NotSuccessful(ClientError):
    """The transaction did not succeed.

    Attributes:
        instance_id: the transaction's id.
    """

    def __init__(self, message: str, instance_id: str) -> None:
        self.instance_id = instance_id
        super().__init__(message)


class TransactionFailed(NotSuccessful):
    """The transaction failed, and only a person can move it.

    Attributes:
        task_id: the first task that failed; None where no task did, as after a lost run.
        error: why that task failed.
        exception_id: the open exception of that task, to retry or to handle.
    """

    def __init__(
        self,
        message: str,
        instance_id: str,
        *,
        task_id: str | None = None,
        error: TaskErrorView | None = None,
        exception_id: int | None = None,
    ) -> None:
        self.task_id = task_id
        self.error = error
        self.exception_id = exception_id
        super().__init__(message, instance_id)


class TransactionCancelled(NotSuccessful):
    """The transaction was cancelled."""


class WaitTimeout(NotSuccessful):
    """The transaction has not settled in time; it goes on."""
