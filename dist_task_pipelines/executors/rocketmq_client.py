"""The official RocketMQ client with its peculiarities hidden; blocking, for threads.

What it keeps from the rest of the platform:

- It is not fork-safe, so it is imported and started at the first send; see
  `rocketmq_connection.py`.
- It sends again by itself, which hides what became of the first try. Here a send is one
  send; repeating is the ledger's business.
- After a broken connection it does not register again for minutes, so it is replaced.
"""

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.executors.base import Progress, RocketMQ
from dist_task_pipelines.executors.mq_driver import MqMessage, Receipt
from dist_task_pipelines.executors.rocketmq_connection import configuration, find_route, shut_down
from dist_task_pipelines.executors.rocketmq_errors import failure_of, meaning_of
from dist_task_pipelines.executors.rocketmq_package import load_client

_MAX_BODY_BYTES = 4 * 1024 * 1024  # until the broker says otherwise


class RocketMQProducer:
    """Sends messages; connects at the first one. Every method is for threads, not loops.

    Args:
        settings: where the brokers are and who signs in.
    """

    def __init__(self, settings: RocketMQ) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._client: _Client | None = None
        self._ending: list[threading.Thread] = []

    def send(self, message: MqMessage, progress: Progress) -> Receipt:
        """Send once; each of the few requests that it takes ends within ten seconds.

        Raises:
            Exception: the client's own errors; `failure_of` knows what they mean.
        """
        with self._borrowed() as client:
            topic = self._settings.in_namespace(message.topic)
            find_route(client.producer, topic)
            prepared = _native(message, topic)
            progress.send()
            receipt = client.producer.send(prepared)
        return Receipt(receipt.message_id, receipt.offset)

    def failure_of(self, error: Exception, progress: Progress) -> Outcome:
        """The outcome of a send that ended with this error.

        Raises:
            Exception: the error itself, when no one foresaw it.
        """
        return failure_of(error, progress)

    def close(self, grace: float) -> None:
        """Sign off at the brokers and end the client's threads, in `grace` seconds at most."""
        with self._lock:
            if self._client:
                self._retire(self._client)
            ending, self._ending = self._ending, []
        give_up = time.monotonic() + grace
        for thread in ending:
            thread.join(max(0.0, give_up - time.monotonic()))

    @contextmanager
    def _borrowed(self) -> Iterator["_Client"]:
        with self._lock:
            client = self._client = self._client or _Client(self._settings)
            client.users += 1
        broken = False
        try:
            yield client
        except Exception as error:
            meaning = meaning_of(error)
            broken = meaning is not None and meaning.broken
            raise
        finally:
            with self._lock:
                client.users -= 1
                if broken or client.retired:
                    self._retire(client)

    def _retire(self, client: "_Client") -> None:
        """Use the client no more; the last one to use it ends it. Holds the lock."""
        client.retired = True
        if self._client is client:
            self._client = None
        if not client.users:
            thread = threading.Thread(target=client.end, name="rocketmq-end", daemon=True)
            self._ending = [other for other in self._ending if other.is_alive()] + [thread]
            thread.start()


class _Client:
    """One started producer of the official client, and how many sends are using it."""

    def __init__(self, settings: RocketMQ) -> None:
        self.users = 0
        self.retired = False
        self.producer = _started_producer(settings)

    def end(self) -> None:
        """Sign off and end the threads."""
        shut_down(self.producer)


@cache
def _one_send_producer() -> Any:
    """A producer that does not send again by itself, as its settings would have it."""
    client = load_client()
    from rocketmq.grpc_protocol import Settings

    class OneSendProducer(client.Producer):  # type: ignore[name-defined, misc]
        def reset_setting(self, settings: Any) -> None:
            own = Settings()
            own.CopyFrom(settings)
            own.backoff_policy.max_attempts = 1
            own.backoff_policy.exponential_backoff.multiplier = 1  # the kind it listens to
            super().reset_setting(own)

    return OneSendProducer


def _started_producer(settings: RocketMQ) -> Any:
    own = configuration(settings)
    from rocketmq.grpc_protocol import Publishing, Settings

    producer = _one_send_producer()(own)
    until_told = Publishing(max_body_size=_MAX_BODY_BYTES, validate_message_type=True)
    producer.reset_setting(Settings(publishing=until_told))
    producer.startup()
    return producer


def _native(message: MqMessage, topic: str) -> Any:
    native = load_client().Message()
    native.topic = topic
    native.body = message.body
    for key in message.keys:
        native.keys = key  # which adds it to the others
    if message.tag is not None:
        native.tag = message.tag
    if message.group is not None:
        native.message_group = message.group
    if message.delay is not None:
        native.delivery_timestamp = math.ceil(time.time()) + message.delay  # in seconds
    return native
