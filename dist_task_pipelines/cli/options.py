"""Options and arguments that several commands have."""

import getpass
import os
from pathlib import Path
from typing import Annotated

import typer

DEFAULT_HOME = Path("~/.dist_task")


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return str(os.getuid())


USER = _user()

Config = Annotated[
    Path | None, typer.Option("--config", envvar="DIST_TASK_CONFIG", help="The TOML file.")
]
Home = Annotated[
    Path,
    typer.Option("--home", envvar="DIST_TASK_HOME", help="The folder of all that is written."),
]
Url = Annotated[
    str | None,
    typer.Option(
        "--url", envvar="DIST_TASK_URL", help="The server; by default the configured one's."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Reason = Annotated[str, typer.Option(help="Why; kept in the audit trail.")]
Actor = Annotated[str, typer.Option(help="Who; kept in the audit trail.")]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="How many at the most.")]
FlowId = Annotated[str, typer.Argument(help="A flow id, such as order_flow_v1.")]
TransactionId = Annotated[str, typer.Argument(help="The transaction's id.")]
