"""Receiving from a RocketMQ topic through the official client; blocking, for threads.

What it keeps from the rest of the platform, beside what `rocketmq_connection.py` does:

- Its `ack` takes one message a request, and its `ack_async` gives no result. Here what was
  received together is acknowledged together, in one request.
- Its `startup` does not wait for the brokers to know the consumer, without which they answer
  a receive with an error.
- A message that is not acknowledged appears again after INVISIBLE_SECONDS.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from dist_task_pipelines.executors.base import RocketMQ
from dist_task_pipelines.executors.rocketmq_connection import (
    REQUEST_SECONDS,
    configuration,
    find_route,
    shut_down,
)
from dist_task_pipelines.executors.rocketmq_package import load_client

MOST_AT_ONCE = 32  # messages that brokers give in one reply, unless they are set to give more
INVISIBLE_SECONDS = 60
POLL_SECONDS = 5  # that a broker waits for a message to come; less it makes that much by itself


@dataclass(frozen=True, slots=True)
class Received:
    """A message that was received and not acknowledged yet."""

    id: str
    body: bytes
    native: Any = field(repr=False, compare=False)  # the client's own


class RocketMQConsumer:
    """One started consumer of one topic. `receive` may be called by several threads at once.

    Args:
        settings: where the brokers are and who signs in.
        group: the consumer group; each gets every message once.

    Raises:
        Exception: the client's own errors, among them that there is no such topic.
    """

    def __init__(self, settings: RocketMQ, topic: str, group: str) -> None:
        own = configuration(settings)
        self.topic = settings.in_namespace(topic)
        self._group = settings.in_namespace(group)
        everything = {self.topic: load_client().FilterExpression()}
        self._consumer = _known_consumer()(
            own, self._group, everything, await_duration=POLL_SECONDS
        )
        self._consumer.startup()
        try:
            find_route(self._consumer, self.topic)
            self._consumer.wait_until_known()
        except Exception:
            self.close()
            raise

    def receive(self) -> list[Received]:
        """The next messages, at most MOST_AT_ONCE; none when none comes within POLL_SECONDS.

        Raises:
            Exception: the client's own errors.
        """
        messages = self._consumer.receive(MOST_AT_ONCE, INVISIBLE_SECONDS)
        return [Received(each.message_id, bytes(each.body), each) for each in messages]

    def acknowledge(self, messages: Sequence[Received]) -> None:
        """Let the brokers forget these messages.

        Raises:
            Exception: the client's own errors; those not acknowledged will come again.
        """
        from rocketmq.v5.util import MessagingResultChecker

        by_broker: dict[Any, list[Received]] = {}
        for message in messages:
            by_broker.setdefault(message.native.endpoints, []).append(message)
        answers = [self._acknowledge(broker, some) for broker, some in by_broker.items()]
        for answer in answers:
            result = answer.result()
            MessagingResultChecker.check(result.status)
            for entry in result.entries:
                MessagingResultChecker.check(entry.status)

    def close(self) -> None:
        """Sign off at the brokers and end the client's threads."""
        shut_down(self._consumer)

    def _acknowledge(self, broker: Any, messages: Sequence[Received]) -> Any:
        from rocketmq.grpc_protocol import AckMessageEntry, AckMessageRequest

        request = AckMessageRequest(
            group={"name": self._group},
            topic={"name": self.topic},
            entries=[
                AckMessageEntry(message_id=each.id, receipt_handle=each.native.receipt_handle)
                for each in messages
            ],
        )
        return self._consumer.rpc_client.ack_message_async(
            broker, request, metadata=self._consumer.sign(), timeout=REQUEST_SECONDS
        )


@cache
def _known_consumer() -> Any:
    """A consumer that can wait until the brokers have its settings."""
    client = load_client()

    class KnownConsumer(client.SimpleConsumer):  # type: ignore[name-defined, misc]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            self._known = threading.Event()
            super().__init__(*arguments, **options)

        def reset_setting(self, settings: Any) -> None:
            super().reset_setting(settings)
            self._known.set()

        def wait_until_known(self) -> None:
            if not self._known.wait(REQUEST_SECONDS):
                raise TimeoutError(
                    f"the brokers of {self} took no settings within {REQUEST_SECONDS} s"
                )

    return KnownConsumer
