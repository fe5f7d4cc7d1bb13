"""Commands about transactions: submit, status, wait, retry, cancel."""

from collections.abc import Sequence
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import track

from dist_task_pipelines.cli import options
from dist_task_pipelines.cli.exits import EXIT_FAILED
from dist_task_pipelines.cli.files import object_of, orders_of
from dist_task_pipelines.cli.printing import (
    accepted_table,
    err,
    logs_table,
    out,
    print_error,
    print_json,
    settled_table,
    tasks_table,
    transactions_table,
)
from dist_task_pipelines.cli.session import Session, over_rest
from dist_task_pipelines.cli.waiting import wait_for
from dist_task_pipelines.domain.status import Health, TransactionStatus

if TYPE_CHECKING:
    from dist_task_pipelines.schemas import Submit

SUBMIT_CHUNK = 500  # transactions in one request, and one step of the progress bar


def _one_of(values: type[StrEnum]) -> str:
    return f"Only those: {', '.join(values)}."


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (submit, status, wait, retry, cancel):
        app.command()(command)


@over_rest
def submit(
    session: Session,
    flow: Annotated[
        str | None, typer.Argument(help="A flow id, or a name for its newest active version.")
    ] = None,
    transaction_id: Annotated[
        str | None, typer.Argument(help="The transaction's id: its idempotency key.")
    ] = None,
    params: Annotated[str, typer.Option(help="Parameters by task, as JSON.")] = "{}",
    file: Annotated[
        Path | None,
        typer.Option(help="Many at once: a line of JSON each, {instance_id, flow_id, params}."),
    ] = None,
) -> None:
    """Submit a transaction, or with --file many.

    The same request again changes nothing; another request under the same id is refused.
    """
    if file is not None:
        _submit_all(session, orders_of(file))
        return
    if flow is None or transaction_id is None:
        raise typer.BadParameter("give a flow and a transaction id, or --file")
    transaction = session.client.submit(flow, transaction_id, object_of(params, "params"))
    if session.as_json:
        names = {"instance_id": "id", "flow_id": "flow_id", "status": "status"}
        told = {key: getattr(transaction, name) for key, name in names.items()}
        print_json({**told, "created_at": transaction.created_at})
    else:
        out.print(accepted_table([transaction]))


@over_rest
def status(
    session: Session,
    transaction_id: Annotated[
        str | None, typer.Argument(help="One transaction; without it the newest are listed.")
    ] = None,
    with_status: Annotated[
        TransactionStatus | None,
        typer.Option("--status", metavar="STATUS", help=_one_of(TransactionStatus)),
    ] = None,
    health: Annotated[Health | None, typer.Option(metavar="HEALTH", help=_one_of(Health))] = None,
    flow: Annotated[str | None, typer.Option(help="Only this flow id's.")] = None,
    limit: options.Limit = 50,
) -> None:
    """Show a transaction with its tasks and log, or list the newest transactions."""
    if transaction_id is not None:
        _show_one(session, transaction_id)
        return
    found = session.client.transactions(
        status=with_status, health=health, flow_id=flow, page_size=min(limit, 500)
    )
    details = [each.details for each in islice(found, limit)]
    session.show(details, transactions_table, empty="no transactions")


@over_rest
def wait(
    session: Session,
    transaction_ids: Annotated[
        list[str] | None, typer.Argument(metavar="TRANSACTION_ID...", help="One or several.")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="Those of a file that was submitted.")] = None,
    timeout: Annotated[float | None, typer.Option(min=0, help="Seconds, for all together.")] = None,
) -> None:
    """Wait until transactions have settled; succeed if all of them did.

    The exit code is 1 when one failed, was cancelled, or has not settled in time.
    """
    ids = list(transaction_ids or ())
    if file is not None:
        ids += [order.instance_id for order in orders_of(file)]
    if not ids:
        raise typer.BadParameter("give transaction ids, or --file")
    ends = wait_for(session.client, list(dict.fromkeys(ids)), timeout)
    session.show(ends, settled_table, empty="")
    if any(end["status"] != TransactionStatus.SUCCESS for end in ends):
        raise typer.Exit(EXIT_FAILED)


@over_rest
def retry(
    session: Session,
    transaction_id: Annotated[str | None, typer.Argument(help="The transaction's id.")] = None,
    exception: Annotated[int | None, typer.Option(help="One exception instead.")] = None,
    reason: options.Reason = "",
    actor: options.Actor = options.USER,
) -> None:
    """Call the failed tasks of a transaction once more, now; or the task of one exception."""
    if exception is not None and transaction_id is None:
        is_message = session.client.exceptions.get(exception).instance_id is None
        due = session.client.exceptions.retry(exception, reason)
        done: dict[str, Any] = {"exception_id": exception, "retry_next_at": due}
        what = "message" if is_message else "task"
        again = "was submitted again" if is_message else "will be called again now"
        session.say(done, f"the {what} of exception {exception} {again}")
    elif transaction_id is not None and exception is None:
        tasks = session.client.get(transaction_id).retry(reason)
        done = {"instance_id": transaction_id, "tasks": tasks}
        session.say(done, f"{transaction_id} ({', '.join(tasks)}) will be called again now")
    else:
        raise typer.BadParameter("give either a transaction id or --exception")


@over_rest
def cancel(
    session: Session,
    transaction_id: options.TransactionId,
    reason: options.Reason = "",
    actor: options.Actor = options.USER,
) -> None:
    """Cancel a transaction: at once, or before its next task when a run is working on it."""
    found = session.client.get(transaction_id).cancel(reason)
    is_done = found is TransactionStatus.CANCELLED
    words = "is cancelled" if is_done else "will be cancelled before its next task"
    session.say({"instance_id": transaction_id, "status": found}, f"{transaction_id} {words}")


def _submit_all(session: Session, orders: "Sequence[Submit]") -> None:
    refused: list[dict[str, str]] = []
    parts = range(0, len(orders), SUBMIT_CHUNK)
    for start in track(parts, "submitting", console=err, disable=not err.is_terminal):
        for result in session.client.submit_many(orders[start : start + SUBMIT_CHUNK]):
            if result.error:
                refused.append({"instance_id": result.instance_id, "error": str(result.error)})
                print_error(f"{result.instance_id}: {result.error}")
    accepted = len(orders) - len(refused)
    done = {"accepted": accepted, "refused": refused}
    session.say(done, f"{accepted} accepted, {len(refused)} refused")
    if refused:
        raise typer.Exit(EXIT_FAILED)


def _show_one(session: Session, transaction_id: str) -> None:
    transaction = session.client.get(transaction_id)
    tasks, logs = transaction.details.tasks or [], transaction.logs()
    if session.as_json:
        shown = transaction.details.model_copy(update={"tasks": None})
        print_json({"transaction": shown, "tasks": tasks, "logs": logs})
        return
    out.print(transactions_table([transaction.details]), "", tasks_table(tasks), "")
    out.print(logs_table(logs))
