"""The platform's parts, put together from the settings."""

from dist_task_pipelines.application import application_root
from dist_task_pipelines.domain.flow import Flow
from dist_task_pipelines.executors import Registry
from dist_task_pipelines.flows import Catalog, flow_from
from dist_task_pipelines.ledger import Ledger, schema
from dist_task_pipelines.ledger.database import Database
from dist_task_pipelines.ledger.records import DispatchLimits, FlowRecord
from dist_task_pipelines.settings import Settings


def migrate_ledger(settings: Settings) -> str:
    """Bring the ledger's schema up to date.

    Returns:
        the ledger's URL, its password hidden.

    Raises:
        LedgerUnavailable: the database cannot be reached, or is ahead of this version.
    """
    settings.home.mkdir(parents=True, exist_ok=True)
    database = Database(settings.database.url)
    try:
        schema.migrate(database, application_root() / "migrations")
        return database.display_url
    finally:
        database.dispose()


def open_ledger(settings: Settings) -> Ledger:
    """The ledger.

    Raises:
        LedgerUnavailable: it cannot be reached, or its schema is not the one this code needs.
    """

    def build(record: FlowRecord) -> Flow:
        return flow_from(
            record.definition,
            id=record.id,
            version=record.version,
            default_retry=settings.default_retry,
        )

    return Ledger(settings.database.url, build)


def open_catalog(settings: Settings, registry: Registry) -> Catalog:
    """The task definitions of the configured file.

    Raises:
        InvalidTaskDefinition: the file cannot be read or holds faults.
    """
    return Catalog.load(settings.tasks.file, registry.config_models())


def dispatch_limits(settings: Settings) -> DispatchLimits:
    """How much may be in flight."""
    dispatch = settings.dispatch
    return DispatchLimits(
        max_batch=dispatch.max_batch,
        max_batch_bytes=dispatch.max_batch_bytes,
        max_runs_in_flight=dispatch.max_runs_in_flight,
        max_runs_in_flight_per_flow=dispatch.max_runs_in_flight_per_flow,
        start_timeout=dispatch.start_timeout_seconds,
    )
