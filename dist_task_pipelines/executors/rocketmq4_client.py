"""The older RocketMQ client, for brokers without the 5.x proxy; blocking, for threads.

It is a binding of a C++ library, which connects again by itself and is not fork-safe. It
speaks of errors in texts, and delays messages by fixed levels only.
"""

import os
import threading
from collections.abc import Mapping
from typing import Any

from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.domain.status import Applied
from dist_task_pipelines.executors.base import Progress, RocketMQ
from dist_task_pipelines.executors.mq_driver import MqMessage, Receipt
from dist_task_pipelines.executors.rocketmq_package import BadSetup, load_legacy_client

SEND_MILLISECONDS = 10_000  # for one send, whatever the task's timeout
PRODUCER_GROUP = "dist_task"

# Seconds of the delay levels that brokers have unless they are configured otherwise.
DELAY_LEVELS: Mapping[int, int] = {
    seconds: level
    for level, seconds in enumerate(
        (1, 5, 10, 30, *range(60, 601, 60), 1200, 1800, 3600, 7200), start=1
    )
}

_NOT_SENT = ("No route info", "topic route", "connect to")  # in what the library says


class BadMessage(Exception):
    """A message that this driver cannot send."""


class NotSafe(Exception):
    """A broker has the message, but not where it would survive the broker."""


class RocketMQ4Producer:
    """Sends messages through the name servers that the settings' endpoints are.

    Args:
        settings: where the name servers are and who signs in.
    """

    def __init__(self, settings: RocketMQ) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._producers: dict[bool, Any] = {}  # by whether they keep an order
        self._started_in = 0

    def send(self, message: MqMessage, progress: Progress) -> Receipt:
        """Send once.

        Raises:
            Exception: the client's own errors; `failure_of` knows what they mean.
        """
        client = load_legacy_client()
        native = self._native(client, message)
        producer = self._producer(client, in_order=message.group is not None)
        progress.send()
        if message.group is None:
            result = producer.send_sync(native)
        else:
            result = producer.send_orderly_with_sharding_key(native, message.group)
        if result.status != client.SendStatus.OK:
            raise NotSafe(f"the broker answered {client.SendStatus(result.status).name}")
        return Receipt(result.msg_id, result.offset)

    def failure_of(self, error: Exception, progress: Progress) -> Outcome:
        """The outcome of a send that ended with this error.

        Raises:
            Exception: the error itself, when no one foresaw it.
        """
        if isinstance(error, BadSetup):
            return _failure("InvalidConfig", error, retryable=False)
        if isinstance(error, BadMessage):
            return _failure("InvalidMessage", error, retryable=False)
        if isinstance(error, NotSafe):
            return _failure("BrokerError", error, applied=Applied.MAYBE)
        name = type(error).__name__
        if name == "ProducerStartFailed":
            return _failure("ConnectionFailed", error)
        if name in ("ProducerSendSyncFailed", "ProducerSendOrderlyFailed"):
            never_sent = any(text in str(error) for text in _NOT_SENT)
            applied = Applied.NO if never_sent else progress.applied
            return _failure("ConnectionLost", error, applied=applied)
        raise error

    def close(self, grace: float) -> None:
        """Sign off and end the library's threads."""
        with self._lock:
            producers, self._producers = self._producers, {}
        for producer in producers.values():
            producer.shutdown()

    def _producer(self, client: Any, *, in_order: bool) -> Any:
        with self._lock:
            if self._producers and self._started_in != os.getpid():
                raise BadSetup(
                    "the RocketMQ client was used before this process was forked, which it does "
                    "not survive: send the first message after the fork"
                )
            if in_order not in self._producers:
                self._producers[in_order] = self._started(client, in_order)
                self._started_in = os.getpid()
            return self._producers[in_order]

    def _started(self, client: Any, in_order: bool) -> Any:
        settings = self._settings
        group = settings.in_namespace(f"{PRODUCER_GROUP}_in_order" if in_order else PRODUCER_GROUP)
        producer = client.Producer(group, orderly=in_order, timeout=SEND_MILLISECONDS)
        producer.set_name_server_address(settings.endpoints)
        if settings.access_key:
            producer.set_session_credentials(settings.access_key, settings.secret_key, "")
        producer.start()
        return producer

    def _native(self, client: Any, message: MqMessage) -> Any:
        native = client.Message(self._settings.in_namespace(message.topic))
        native.set_body(message.body)
        native.set_keys(" ".join(message.keys))
        if message.tag is not None:
            native.set_tags(message.tag)
        if message.delay is not None:
            native.set_delay_time_level(_delay_level(message.delay))
        return native


def _delay_level(seconds: int) -> int:
    if seconds not in DELAY_LEVELS:
        known = ", ".join(map(str, DELAY_LEVELS))
        raise BadMessage(f"RocketMQ 4 delays by {known} seconds, not by {seconds}")
    return DELAY_LEVELS[seconds]


def _failure(
    kind: str, error: Exception, *, retryable: bool = True, applied: Applied = Applied.NO
) -> Outcome:
    message = str(error) or type(error).__name__
    return Outcome.failure(kind, message, retryable=retryable, applied=applied)
