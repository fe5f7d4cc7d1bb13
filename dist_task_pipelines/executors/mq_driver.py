"""What a driver of message brokers is: what the `mq` executor knows of any of them."""

from dataclasses import dataclass
from typing import Protocol

from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.executors.base import Progress


@dataclass(frozen=True, slots=True)
class MqMessage:
    """A message to send. `delay` is in seconds; a `group` makes it FIFO."""

    topic: str
    body: bytes
    keys: tuple[str, ...]
    tag: str | None = None
    group: str | None = None
    delay: int | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a broker answered: it has the message."""

    message_id: str
    offset: int


class MqDriver(Protocol):
    """Sends messages; connects at the first one. Every method is for threads, not loops."""

    def send(self, message: MqMessage, progress: Progress) -> Receipt:
        """Send once, and say `progress.send()` before the broker can notice.

        Raises:
            Exception: the driver's own errors; `failure_of` knows what they mean.
        """

    def failure_of(self, error: Exception, progress: Progress) -> Outcome:
        """The outcome of a send that ended with this error.

        Raises:
            Exception: the error itself, when no one foresaw it.
        """

    def close(self, grace: float) -> None:
        """Sign off and end the client's threads, in `grace` seconds at most."""
