"""Commands that start or migrate the platform itself, on this machine."""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import typer

from dist_task_pipelines.cli import options
from dist_task_pipelines.cli.printing import print_json, print_line


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (up, serve, worker, migrate):
        app.command()(command)


Port = Annotated[
    int | None, typer.Option(min=1, max=65_535, help="The port of the API and the Dagster UI.")
]


def up(
    config: options.Config = None, home: options.Home = options.DEFAULT_HOME, port: Port = None
) -> None:
    """Start everything on this machine and stay until Ctrl-C.

    Migrates the ledger, starts the server, the workers, Dagster's daemon and the code server, and
    prints `ready http://...` once the UI serves and the sensors run.
    """
    _run(config, home, port)


def serve(
    config: options.Config = None, home: options.Home = options.DEFAULT_HOME, port: Port = None
) -> None:
    """Start the API and the Dagster UI with the code server they need, and stay until Ctrl-C.

    The rest of `up` one by one: `dist-task worker`, and Dagster's daemon over the files that
    this writes, `DAGSTER_HOME=HOME/dagster dagster-daemon run -w HOME/dagster/workspace.yaml`.
    """
    from dist_task_pipelines.orchestration.platform import SERVING  # noqa: PLC0415 - Dagster

    _run(config, home, port, only=SERVING)


def _run(config: Path | None, home: Path, port: int | None, only: Collection[str] = ()) -> None:
    from dist_task_pipelines.logs import log_plainly  # noqa: PLC0415 - only here
    from dist_task_pipelines.orchestration.platform import run_platform  # noqa: PLC0415 - Dagster
    from dist_task_pipelines.settings import Settings  # noqa: PLC0415 - heavy

    log_plainly()
    settings = Settings.load(config, home)
    if port is not None:
        settings = settings.with_port(port)
    run_platform(settings, lambda url: print_line(f"ready {url}"), only=only)


def worker(config: options.Config = None, home: options.Home = options.DEFAULT_HOME) -> None:
    """Execute runs on this machine until Ctrl-C, beside `up` or for one on another machine.

    Workers find each other by `workers.broker`; the ledger must be there and migrated.
    """
    from dist_task_pipelines.logs import log_plainly  # noqa: PLC0415 - only here
    from dist_task_pipelines.orchestration.worker import run_worker  # noqa: PLC0415 - Dagster
    from dist_task_pipelines.settings import Settings  # noqa: PLC0415 - heavy

    log_plainly()
    raise SystemExit(run_worker(Settings.load(config, home)))


def migrate(
    config: options.Config = None,
    home: options.Home = options.DEFAULT_HOME,
    as_json: options.AsJson = False,
) -> None:
    """Bring the ledger's schema up to date; a new one is created."""
    from dist_task_pipelines.assembly import migrate_ledger  # noqa: PLC0415 - heavy
    from dist_task_pipelines.logs import log_plainly  # noqa: PLC0415 - only here
    from dist_task_pipelines.settings import Settings  # noqa: PLC0415

    log_plainly()
    url = migrate_ledger(Settings.load(config, home))
    if as_json:
        print_json({"migrated": url})
    else:
        print_line(f"migrated {url}")
