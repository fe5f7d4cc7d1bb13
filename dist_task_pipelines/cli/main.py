"""The commands put together, and what becomes of their errors."""

import typer

from dist_task_pipelines.cli import exceptions, flows, platform, stats, transactions
from dist_task_pipelines.cli.exits import exit_code, words_for
from dist_task_pipelines.cli.printing import print_error
from dist_task_pipelines.domain.errors import DistTaskError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Distributed transactions on Dagster: define flows, submit, see what failed, repair it.",
)
for part in (platform, transactions, exceptions, stats):
    part.add_to(app)
app.add_typer(flows.app, name="flow")


def main() -> None:
    """Run the command; the platform's errors become a message and an exit code."""
    try:
        app()
    except DistTaskError as error:
        print_error(words_for(error))
        raise SystemExit(exit_code(error)) from None
