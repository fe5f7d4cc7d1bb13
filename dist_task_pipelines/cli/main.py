"""The commands put together, and what becomes of their errors."""

from typing import Annotated

import typer

from dist_task_pipelines.cli import exceptions, flows, platform, stats, transactions
from dist_task_pipelines.cli.exits import exit_code, words_for
from dist_task_pipelines.cli.printing import print_error, print_line
from dist_task_pipelines.domain.errors import DistTaskError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="markdown",
    help="Distributed transactions on Dagster: define flows, submit, see what failed, repair it.",
)
for part in (platform, transactions, exceptions, stats):
    part.add_to(app)
app.add_typer(flows.app, name="flow")


def _say_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415 - seldom needed

        print_line(f"dist-task {version('dist-task-pipelines')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_say_version, help="Print the version."),
    ] = False,
) -> None:
    """Distributed transactions on Dagster: define flows, submit, see what failed, repair it."""


def main() -> None:
    """Run the command; the platform's errors become a message and an exit code."""
    try:
        app()
    except DistTaskError as error:
        print_error(words_for(error))
        raise SystemExit(exit_code(error)) from None
