"""The server: REST and the Dagster UI on one port, and the dispatching of what is accepted.

On SIGTERM it stops listening, answers what it has begun, and ends.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from dagster import DagsterInstance
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._daemon.controller import get_daemon_statuses
from dagster_webserver.app import create_app_from_workspace_process_context
from dagster_webserver.version import __version__
from starlette.types import ASGIApp, Receive, Scope, Send

from dist_task_pipelines.api.app import create_app, owns
from dist_task_pipelines.api.origin import SameSite
from dist_task_pipelines.api.platform import Platform
from dist_task_pipelines.api.protocol import PatientProtocol
from dist_task_pipelines.assembly import open_ledger
from dist_task_pipelines.ledger import Ledger
from dist_task_pipelines.orchestration.dispatcher import DispatchThread, dispatching
from dist_task_pipelines.orchestration.garbage import tune_garbage_collector
from dist_task_pipelines.orchestration.jobs import Jobs
from dist_task_pipelines.orchestration.signals import at_stop_signals
from dist_task_pipelines.schemas import PartHealth
from dist_task_pipelines.settings import Settings

STOP_PATIENCE = 5  # seconds for what is under way when the server ends
STATEMENT_TIMEOUT = 15_000  # milliseconds, of the UI's queries; as dagster-webserver
POOL_RECYCLE = 3600  # seconds
MAX_OVERFLOW = 20  # connections


class OnePort:
    """Hands each request to the API or to the UI."""

    def __init__(self, api: ASGIApp, ui: ASGIApp) -> None:
        self._api = api
        self._ui = ui

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or one WebSocket of the UI."""
        is_apis = scope["type"] == "http" and owns(scope["path"])
        await (self._api if is_apis else self._ui)(scope, receive, send)


def run(settings: Settings, workspace: Path) -> None:
    """Serve until SIGINT or SIGTERM. Dagster's home comes by environment.

    Args:
        workspace: Dagster's workspace file.

    Raises:
        LedgerUnavailable: the ledger cannot be opened.
    """
    ledger = open_ledger(settings)
    try:
        with (
            _dagster(workspace) as context,
            dispatching(settings, context.instance, ledger, Jobs(ledger), looks=True) as dispatch,
            _platform(ledger, settings, context, dispatch) as platform,
        ):
            app = OnePort(create_app(platform), create_app_from_workspace_process_context(context))
            tune_garbage_collector()
            _serve(SameSite(app), settings)
    finally:
        ledger.close()


@contextmanager
def _dagster(workspace: Path) -> Iterator[WorkspaceProcessContext]:
    with DagsterInstance.get() as instance:
        instance.optimize_for_webserver(STATEMENT_TIMEOUT, POOL_RECYCLE, MAX_OVERFLOW)
        target = WorkspaceFileTarget(paths=[str(workspace)])
        with WorkspaceProcessContext(
            instance, version=__version__, workspace_load_target=target
        ) as context:
            yield context


@contextmanager
def _platform(
    ledger: Ledger, settings: Settings, context: WorkspaceProcessContext, dispatch: DispatchThread
) -> Iterator[Platform]:
    platform = Platform(
        ledger, settings, daemon=daemon_probe(context.instance), on_accepted=dispatch.wake
    )
    try:
        yield platform
    finally:
        platform.close()


def daemon_probe(instance: DagsterInstance) -> Callable[[], PartHealth]:
    """Tells by its heartbeats how Dagster's daemon does."""

    def look() -> PartHealth:
        statuses = get_daemon_statuses(
            instance, instance.get_required_daemon_types(), ignore_errors=True
        )
        silent = sorted(name for name, status in statuses.items() if not status.healthy)
        message = f"no heartbeat of {', '.join(silent)}" if silent else ""
        return PartHealth(ok=not silent, message=message)

    return look


def _serve(app: ASGIApp, settings: Settings) -> None:
    config = uvicorn.Config(
        app,
        host=settings.app.host,
        port=settings.app.port,
        http=PatientProtocol,
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=STOP_PATIENCE,
    )
    with at_stop_signals(lambda: None):  # uvicorn raises them once more when it has ended
        uvicorn.Server(config).run()
