"""The participants' executors as a Dagster resource, on an event loop of their own.

It takes no config: addresses of databases and brokers may hold passwords, and Dagster shows config.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from dagster import InitResourceContext, ResourceDefinition

from dist_task_pipelines.engine.calls import Caller
from dist_task_pipelines.engine.event_loop import EventLoop
from dist_task_pipelines.executors import Registry
from dist_task_pipelines.settings import Settings


def participants_resource(settings: Settings) -> ResourceDefinition:
    """The resource `participants`: who makes the calls, and the loop they are made on."""

    @contextmanager
    def connected(context: InitResourceContext) -> Iterator[tuple[Caller, EventLoop]]:
        registry = Registry.load()
        executors = registry.connect(settings.participants(context.resources.ledger.uuid))
        loop = EventLoop()
        try:
            yield Caller(executors), loop
        finally:
            loop.run(executors.close())
            loop.close()

    return ResourceDefinition(
        connected,
        required_resource_keys={"ledger"},
        description="The services, databases and brokers that tasks call.",
    )
