"""Commands about exceptions: listing them, settling them by hand."""

from itertools import islice
from typing import Annotated

import typer

from dist_task_pipelines.cli import options
from dist_task_pipelines.cli.printing import exception_in_full, exceptions_table
from dist_task_pipelines.cli.session import Session, over_rest


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (exceptions, handle):
        app.command()(command)


@over_rest
def exceptions(
    session: Session,
    exception_id: Annotated[
        int | None,
        typer.Argument(help="Show this one whole: its message or stack is not cut.", metavar="ID"),
    ] = None,
    handled: Annotated[
        bool | None, typer.Option("--handled/--open", help="Only those; by default the open ones.")
    ] = False,
    flow: Annotated[str | None, typer.Option(help="Only this flow id's.")] = None,
    transaction: Annotated[str | None, typer.Option(help="Only this transaction's.")] = None,
    task: Annotated[str | None, typer.Option(help="Only this task definition's.")] = None,
    cause: Annotated[str | None, typer.Option(help="Only those with this fingerprint.")] = None,
    limit: options.Limit = 50,
) -> None:
    """List the tasks that need a retry or a person, newest first."""
    if exception_id is not None:
        record = session.client.exceptions.get(exception_id)
        session.say(record, exception_in_full(record))
        return
    found = session.client.exceptions.list(
        handled=handled,
        flow_id=flow,
        instance_id=transaction,
        task_name=task,
        fingerprint=cause,
        page_size=min(limit, 500),
    )
    session.show(list(islice(found, limit)), exceptions_table, empty="no exceptions")


@over_rest
def handle(
    session: Session,
    exception_id: Annotated[int, typer.Argument(help="The exception's id.")],
    remark: Annotated[str, typer.Option(help="What was done about it.")] = "",
    actor: options.Actor = options.USER,
) -> None:
    """Settle an exception by hand: its task is not called again."""
    session.client.exceptions.handle(exception_id, remark)
    done = {"exception_id": exception_id, "handled": True}
    session.say(done, f"exception {exception_id} is handled")
