"""The topic of requests as a Dagster resource.

It takes no config: the settings may hold a secret, and Dagster shows config.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from dagster import InitResourceContext, ResourceDefinition

from dist_task_pipelines.executors.rocketmq_consumer import RocketMQConsumer
from dist_task_pipelines.settings import RocketMQSettings, Settings


def requests_resources(settings: Settings) -> dict[str, ResourceDefinition]:
    """The resource `requests`, where a topic of requests is configured; otherwise none."""
    brokers = settings.rocketmq
    if brokers is None or brokers.request_topic is None:
        return {}
    return {"requests": requests_resource(brokers, brokers.request_topic)}


def requests_resource(settings: RocketMQSettings, topic: str) -> ResourceDefinition:
    """The resource `requests`: a `RocketMQConsumer`, started for a tick and closed at its end.

    Starting one takes some 20 ms, and a new one has no broken connections.
    """

    @contextmanager
    def listening(_: InitResourceContext) -> Iterator[RocketMQConsumer]:
        consumer = RocketMQConsumer(settings.broker, topic, settings.consumer_group)
        try:
            yield consumer
        finally:
            consumer.close()

    return ResourceDefinition(listening, description="The topic that requests come from.")
