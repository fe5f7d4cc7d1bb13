"""The platform's parts, put together from the settings."""

from dist_task_pipelines.application import application_root
from dist_task_pipelines.domain.errors import Fault, InvalidConfiguration
from dist_task_pipelines.domain.flow import Flow
from dist_task_pipelines.domain.json import JsonObject, JsonValue
from dist_task_pipelines.engine.judging import Limits
from dist_task_pipelines.executors import Registry
from dist_task_pipelines.flows import Catalog, flow_from, resolve_definition
from dist_task_pipelines.flows.stored import stored
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
        InvalidConfiguration: home cannot be made.
    """
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"cannot be made: {error.strerror}; choose another with --home"
        raise InvalidConfiguration([Fault(str(settings.home), message)]) from None
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

    return Ledger(settings.database.url, _flow)


def _flow(record: FlowRecord) -> Flow:
    return flow_from(record.definition, id=record.id, version=record.version)


def resolve_flow(
    settings: Settings, registry: Registry, definition: JsonValue, *, name: str
) -> JsonObject:
    """The definition as the ledger stores it: checked, with everything that a version needs.

    That is the task definitions it uses, and the retry settings of tasks that have none.

    Raises:
        InvalidDefinition: every fault of the definition.
        InvalidTaskDefinition: the task definitions cannot be read or hold faults.
    """
    resolved = resolve_definition(
        definition,
        name=name,
        catalog=open_catalog(settings, registry),
        config_models=registry.config_models(),
    )
    return stored(resolved, settings.default_retry)


def open_catalog(settings: Settings, registry: Registry) -> Catalog:
    """The task definitions of the configured file.

    Raises:
        InvalidTaskDefinition: the file cannot be read or holds faults.
    """
    return Catalog.load(settings.tasks.file, registry.config_models())


def limits_of_checks(settings: Settings) -> Limits:
    """What the checks hold the numbers against."""
    checks = settings.checks
    return Limits(
        stuck_seconds=checks.stuck_seconds,
        success_rate=checks.success_rate,
        success_rate_of=checks.success_rate_of,
        exception_seconds=checks.exception_seconds,
    )


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
