"""The ledger as a Dagster resource.

It takes no config: the database's URL may hold a password, and Dagster shows config.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from dagster import InitResourceContext, ResourceDefinition

from dist_task_pipelines.ledger import Ledger
from dist_task_pipelines.orchestration.shared_ledger import shared_ledger
from dist_task_pipelines.settings import Settings


def ledger_resource(settings: Settings) -> ResourceDefinition:
    """The resource `ledger`: a `Ledger`, closed at the end of the run or tick, or kept open."""

    @contextmanager
    def ledger(_: InitResourceContext) -> Iterator[Ledger]:
        with shared_ledger(settings) as opened:
            yield opened

    return ResourceDefinition(ledger, description="The platform's tables.")
