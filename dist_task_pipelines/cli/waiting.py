"""Waiting for transactions, with a progress bar."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from dist_task_pipelines.cli.printing import err

if TYPE_CHECKING:
    from dist_task_pipelines.client import Client

End = dict[str, Any]  # instance_id, status, error and exception_id, the last two may be None


def wait_for(client: "Client", ids: Sequence[str], timeout: float | None) -> list[End]:
    """Wait for each; gives how they ended, in the order of the ids.

    Raises:
        ClientError: there is no proper answer, or nothing has one of the ids.
    """
    end = None if timeout is None else time.monotonic() + timeout
    columns = (TextColumn("waiting"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    ends: list[End] = []
    with Progress(*columns, console=err, disable=not err.is_terminal, transient=True) as progress:
        for each in progress.track(ids):
            left = None if end is None else max(0.0, end - time.monotonic())
            ends.append(_wait(client, each, left))
    return ends


def _wait(client: "Client", instance_id: str, timeout: float | None) -> End:
    from dist_task_pipelines.client import NotSuccessful, TransactionFailed  # noqa: PLC0415

    transaction, error, exception_id = client.get(instance_id), None, None
    try:
        transaction.wait(timeout)
    except NotSuccessful as raised:
        error = str(raised)
        exception_id = raised.exception_id if isinstance(raised, TransactionFailed) else None
    return {
        "instance_id": instance_id,
        "status": transaction.status,
        "error": error,
        "exception_id": exception_id,
    }
