"""The participants' executors as a Dagster resource, on an event loop of their own.

It takes no config: addresses of databases and brokers may hold passwords, and Dagster shows config.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from dagster import InitResourceContext, ResourceDefinition

from dist_task_pipelines.engine.calls import Caller
from dist_task_pipelines.engine.event_loop import EventLoop
from dist_task_pipelines.executors import Registry
from dist_task_pipelines.orchestration.keeping import kept
from dist_task_pipelines.settings import Settings


def participants_resource(settings: Settings) -> ResourceDefinition:
    """The resource `participants`: who makes the calls, and the loop they are made on."""

    @contextmanager
    def participants(context: InitResourceContext) -> Iterator[tuple[Caller, EventLoop]]:
        uuid = context.resources.ledger.uuid
        with kept("participants", lambda: connected(settings, uuid)) as opened:
            yield opened

    return ResourceDefinition(
        participants,
        required_resource_keys={"ledger"},
        description="The services, databases and brokers that tasks call.",
    )


@contextmanager
def connected(settings: Settings, ledger_uuid: str) -> Iterator[tuple[Caller, EventLoop]]:
    """The executors with their connections, closed at the end."""
    executors = Registry.load().connect(settings.participants(ledger_uuid))
    loop = EventLoop()
    try:
        yield Caller(executors), loop
    finally:
        loop.run(executors.close())
        loop.close()
