"""Commands that start or mend the platform itself, on this machine."""

import sys
from typing import Annotated

import typer

from dist_task_pipelines.cli import options
from dist_task_pipelines.cli.printing import print_json, print_line


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (up, migrate):
        app.command()(command)


def up(
    config: options.Config = None,
    home: options.Home = options.DEFAULT_HOME,
    port: Annotated[
        int | None, typer.Option(min=1, max=65_535, help="The port of the API and the Dagster UI.")
    ] = None,
) -> None:
    """Start everything on this machine and stay until Ctrl-C.

    Migrates the ledger, starts the server, Dagster's daemon and the code server, and prints
    `ready http://...` once the UI serves and the sensors run.
    """
    from dist_task_pipelines.orchestration.platform import run_platform  # noqa: PLC0415 - Dagster
    from dist_task_pipelines.settings import Settings  # noqa: PLC0415 - heavy

    _log_to_stderr()
    settings = Settings.load(config, home)
    if port is not None:
        settings = settings.with_port(port)
    run_platform(settings, lambda url: print_line(f"ready {url}"))


def migrate(
    config: options.Config = None,
    home: options.Home = options.DEFAULT_HOME,
    as_json: options.AsJson = False,
) -> None:
    """Bring the ledger's schema up to date; a new one is created."""
    from dist_task_pipelines.assembly import migrate_ledger  # noqa: PLC0415 - heavy
    from dist_task_pipelines.settings import Settings  # noqa: PLC0415

    _log_to_stderr()
    url = migrate_ledger(Settings.load(config, home))
    if as_json:
        print_json({"migrated": url})
    else:
        print_line(f"migrated {url}")


def _log_to_stderr() -> None:
    import structlog  # noqa: PLC0415 - only what starts the platform logs

    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
