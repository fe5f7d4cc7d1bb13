"""Brokers as `mq` tests see them, the stand-in and real ones alike."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from dist_task_pipelines.executors import RocketMQ
from dist_task_pipelines.executors.rocketmq_consumer import RocketMQConsumer
from dist_task_pipelines.executors.rocketmq_package import load_client
from tests.services.rocketmq import RocketMQServer

load_client()  # before the stand-in, which sets the client's log aside in a simpler way
from examples.rocketmq_stand_in import KINDS, RocketMQStandIn  # noqa: E402

__all__ = ["KINDS", "Arrived", "Broker", "RocketMQStandIn", "real", "stand_in"]

PATIENCE = 60.0  # seconds that a message may take to arrive


@dataclass(frozen=True)
class Arrived:
    """A message as a consumer got it."""

    body: str
    tag: str | None
    keys: frozenset[str]
    message_id: str
    at: float  # seconds since the epoch


@dataclass(frozen=True)
class Broker:
    """A broker with a topic of the test's own for each kind of message.

    Attributes:
        settings: for an executor.
        topic: makes the topic for messages of a kind and gives its name.
    """

    settings: RocketMQ
    topic: Callable[[str], str]

    def arrived(self, topic: str, count: int) -> list[Arrived]:
        """The first `count` messages that a new consumer group gets, and what came with them."""
        consumer = RocketMQConsumer(self.settings, topic, secrets.token_hex(6))
        try:
            return _received(consumer, count)
        finally:
            consumer.close()


def stand_in(broker: RocketMQStandIn) -> Broker:
    """The stand-in as a broker; its topics are called as their kinds."""
    return Broker(RocketMQ(broker.endpoints), lambda kind: kind)


def real(server: RocketMQServer, namespace: str = "") -> Broker:
    """A real one, perhaps in a namespace."""
    keys = (server.keys.access_key, server.keys.secret_key) if server.keys else ("", "")
    settings = RocketMQ(server.endpoints, *keys, namespace=namespace)

    def topic(kind: str) -> str:
        name = f"test_{secrets.token_hex(6)}"
        server.create_topic(settings.in_namespace(name), kind)
        return name

    return Broker(settings, topic)


def _received(consumer: RocketMQConsumer, count: int) -> list[Arrived]:
    found: list[Arrived] = []
    give_up = time.monotonic() + PATIENCE
    while len(found) < count:
        assert time.monotonic() < give_up, f"{len(found)} of {count} messages arrived"
        messages = consumer.receive()
        for message in messages:
            tag, keys = message.native.tag, frozenset(message.native.keys)
            found.append(Arrived(message.body.decode(), tag, keys, message.id, time.time()))
        consumer.acknowledge(messages)
    return found
