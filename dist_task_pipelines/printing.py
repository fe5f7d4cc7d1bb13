"""What the command line prints: tables and details for people, JSON for machines."""

import dataclasses
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dist_task_pipelines.ledger.records import (
    ExceptionRecord,
    FlowSummary,
    LogRecord,
    TaskRecord,
    TransactionSummary,
)

out = Console()
err = Console(stderr=True)

TIME_COLUMNS = ("time", "created", "next call", "next retry")
ROOM_FOR_OTHERS = 62  # columns of the terminal, beside one that is cut

STYLES = {
    "success": "green",
    "healthy": "green",
    "running": "cyan",
    "retrying": "yellow",
    "failed": "red",
    "needs_human": "red",
    "unknown": "magenta",
    "cancelled": "dim",
}


def print_json(value: Any) -> None:
    """One JSON document on standard output, in ASCII so that every id survives the pipe."""
    out.file.write(json.dumps(value, default=_plain, indent=2) + "\n")


def print_error(error: Exception) -> None:
    """An error on standard error, as it stands."""
    err.print(Text.assemble(("error: ", "bold red"), str(error)), soft_wrap=True)


def flows_table(flows: Sequence[FlowSummary]) -> Table:
    """Flow versions."""
    table = _table("flow id", "active", "created", "description", cut="description")
    for flow in flows:
        active = "yes" if flow.is_active else "no"
        table.add_row(_text(flow.id), active, _time(flow.created_at), flow.description)
    return table


def transactions_table(transactions: Sequence[TransactionSummary]) -> Table:
    """Transactions, one a line."""
    table = _table("transaction", "flow", "status", "health", "created", "error", cut="error")
    for each in transactions:
        table.add_row(
            _text(each.id),
            each.flow_id,
            _state(each.status),
            _state(each.health),
            _time(each.created_at),
            _text(_short(each.error_message)),
        )
    return table


def tasks_table(tasks: Sequence[TaskRecord]) -> Table:
    """The tasks of one transaction."""
    table = _table("task", "type", "status", "attempts", "next call", "error")
    for task in tasks:
        error = f"{task.error_type}: {task.error_message}" if task.error_type else ""
        table.add_row(
            task.task_id,
            task.type,
            _state(task.status),
            str(task.attempts),
            _time(task.grant.due_at) if task.grant else "",
            _text(_short(error)),
        )
    return table


def logs_table(logs: Sequence[LogRecord]) -> Table:
    """The execution log of one transaction."""
    table = _table("time", "task", "action", "attempt", "message")
    for row in logs:
        table.add_row(
            _time(row.created_at),
            row.task_id or "",
            _state(row.action),
            str(row.attempt or ""),
            _text(row.message),
        )
    return table


def exceptions_table(exceptions: Sequence[ExceptionRecord]) -> Table:
    """Exception records, one a line."""
    table = _table("id", "transaction", "task", "error", "next retry", "state", cut="error")
    for record in exceptions:
        waiting = "retrying" if record.retry_next_at else "needs_human"
        table.add_row(
            str(record.id),
            _text(record.transaction_id or ""),
            record.task_id,
            _text(_short(f"{record.error_type}: {record.message}")),
            _time(record.retry_next_at) if record.retry_next_at else "",
            f"handled by {record.handled_by}" if record.handled else _state(waiting),
        )
    return table


def _table(*columns: str, cut: str = "") -> Table:
    """A table; the column `cut` keeps to one line, the others fold where they must."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        if column == cut:
            table.add_column(column, overflow="ellipsis", no_wrap=True, max_width=_room())
        else:
            table.add_column(column, overflow="fold", no_wrap=column in TIME_COLUMNS)
    return table


def _room() -> int:
    return max(out.width - ROOM_FOR_OTHERS, 16)


def _state(state: str) -> Text:
    return Text(state, style=STYLES.get(state, ""))


def _text(text: str) -> Text:
    return Text(text.encode("utf-8", "backslashreplace").decode())


def _short(text: str | None, length: int = 120) -> str:
    line = " ".join((text or "").split())
    return line if len(line) <= length else f"{line[: length - 3]}..."


def _time(moment: datetime) -> str:
    """The time of day, with the date when it was not today; UTC, as everywhere."""
    today = datetime.now(UTC).date() == moment.date()
    return moment.strftime("%H:%M:%S" if today else "%m-%d %H:%M")


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{value!r} has no JSON form")
