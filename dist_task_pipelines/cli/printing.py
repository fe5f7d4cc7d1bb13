"""What the command line prints: tables and details for people, JSON for machines."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

if TYPE_CHECKING:
    from dist_task_pipelines import schemas
    from dist_task_pipelines.client import Transaction

out = Console()
err = Console(stderr=True)

TIME_COLUMNS = ("time", "created", "next call", "next retry")
LEAST_ROOM = 16  # columns of the terminal for one that is cut

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


def print_line(text: str) -> None:
    """A line on standard output, as it stands."""
    out.print(_text(text), soft_wrap=True)


def print_error(message: str) -> None:
    """An error on standard error, as it stands."""
    err.print(Text.assemble(("error: ", "bold red"), _text(message)), soft_wrap=True)


def flows_table(flows: "Sequence[schemas.FlowVersion]") -> Table:
    """Flow versions."""
    table = _table("flow id", "active", "created", "description")
    for flow in flows:
        active = "yes" if flow.is_active else "no"
        table.add_row(flow.flow_id, active, _time(flow.created_at), _text(_short(flow.description)))
    return _fitted(table, "description")


def accepted_table(transactions: "Sequence[Transaction]") -> Table:
    """Transactions after their submit."""
    table = _table("transaction", "flow", "status", "created")
    for each in transactions:
        table.add_row(_text(each.id), each.flow_id, _state(each.status), _time(each.created_at))
    return table


def transactions_table(transactions: "Sequence[schemas.Transaction]") -> Table:
    """Transactions, one a line."""
    table = _table("transaction", "flow", "status", "health", "created", "error")
    for each in transactions:
        table.add_row(
            _text(each.instance_id),
            each.flow_id,
            _state(each.status),
            _state(each.health),
            _time(each.created_at),
            _text(_short(each.error_message)),
        )
    return _fitted(table, "error")


def settled_table(ends: Sequence[Mapping[str, Any]]) -> Table:
    """Transactions that were waited for."""
    table = _table("transaction", "status", "exception", "error")
    for end in ends:
        table.add_row(
            _text(end["instance_id"]),
            _state(end["status"]),
            str(end["exception_id"] or ""),
            _text(_short(end["error"])),
        )
    return _fitted(table, "error")


def tasks_table(tasks: "Sequence[schemas.TaskView]") -> Table:
    """The tasks of one transaction."""
    table = _table("task", "type", "status", "attempts", "next call", "error")
    for task in tasks:
        error = f"{task.error.type}: {task.error.message}" if task.error else ""
        table.add_row(
            task.task_id,
            task.type,
            _state(task.status),
            str(task.attempts),
            _time(task.next_retry_at),
            _text(_short(error)),
        )
    return table


def logs_table(logs: "Sequence[schemas.LogEntry]") -> Table:
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


def exceptions_table(exceptions: "Sequence[schemas.ExceptionView]") -> Table:
    """Exception records, one a line."""
    table = _table("id", "transaction", "task", "error", "next retry", "state")
    for record in exceptions:
        waiting = "retrying" if record.retry_next_at else "needs_human"
        table.add_row(
            str(record.exception_id),
            _text(record.instance_id or ""),
            record.task_id,
            _text(_short(f"{record.error_type}: {record.message}")),
            _time(record.retry_next_at),
            _text(f"handled by {record.handled_by}") if record.handled else _state(waiting),
        )
    return _fitted(table, "error")


def exception_in_full(record: "schemas.ExceptionView") -> str:
    """All that is known of one exception, each part on lines of its own."""
    parts = {**record.model_dump(exclude={"source"}), **(record.source or {})}
    known = {name: value for name, value in parts.items() if value not in (None, "")}
    return "\n".join(f"{name}: {value}" for name, value in known.items())


def overview_table(overview: "schemas.Overview") -> Table:
    """How all flows stand together: a line for each number."""
    table = Table(box=None, show_header=False, pad_edge=False)
    states = ", ".join(f"{count} {status}" for status, count in overview.by_status.items() if count)
    for name, number in (
        ("active flows", str(overview.flows)),
        ("transactions", f"{_count(overview, 'total')}{f': {states}' if states else ''}"),
        ("succeeded today", _share(overview.success_rate)),
        ("median duration", _seconds(overview.p50_seconds)),
        ("95% within", _seconds(overview.p95_seconds)),
        (
            "exceptions",
            f"{_count(overview, 'exceptions_open')} open, "
            f"{_count(overview, 'exceptions_today')} today",
        ),
        ("backlog", _backlog(overview)),
        ("runs in flight", str(overview.runs_in_flight)),
    ):
        table.add_row(Text(name, style="bold"), number)
    return table


def flow_stats_table(flows: "Sequence[schemas.FlowStats]") -> Table:
    """How flow versions stand, one a line."""
    table = _table(
        "flow id", "total", "success", "failed", "succeeded today", "p50", "p95", "open", "backlog"
    )
    for flow in flows:
        table.add_row(
            flow.flow_id,
            _count(flow, "total"),
            str(flow.by_status.get("success", 0)),
            str(flow.by_status.get("failed", 0)),
            _share(flow.success_rate),
            _seconds(flow.p50_seconds),
            _seconds(flow.p95_seconds),
            _count(flow, "exceptions_open"),
            _backlog(flow),
        )
    return table


def _count(numbers: "schemas.Numbers", name: str) -> str:
    """The number, with a + where nobody counted on."""
    return f"{getattr(numbers, name)}{'+' if name in numbers.capped else ''}"


def _share(rate: float | None) -> str:
    return "" if rate is None else f"{rate:.1%}"


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.3g} s"


def _backlog(numbers: "schemas.Numbers") -> str:
    age = numbers.backlog_age_seconds
    return _count(numbers, "backlog") + ("" if age is None else f", for {age:.0f} s")


def _table(*columns: str) -> Table:
    """A table whose columns fold where they must."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in TIME_COLUMNS)
    return table


def _fitted(table: Table, cut: str) -> Table:
    """The table with one column kept to a line, and cut where the others leave no more room."""
    others = [column for column in table.columns if column.header != cut]
    taken = sum(_width(column) + 2 for column in others)
    [column] = [column for column in table.columns if column.header == cut]
    column.overflow, column.no_wrap = "ellipsis", True
    column.max_width = max(out.width - taken, LEAST_ROOM)
    return table


def _width(column: Column) -> int:
    return max(cell_len(str(cell)) for cell in (column.header, *column.cells))


def _state(state: str) -> Text:
    return Text(state, style=STYLES.get(state, ""))


def _text(text: str) -> Text:
    return Text(text.encode("utf-8", "backslashreplace").decode())


def _short(text: str | None, length: int = 120) -> str:
    line = " ".join((text or "").split())
    return line if len(line) <= length else f"{line[: length - 3]}..."


def _time(moment: datetime | None) -> str:
    """The time of day, with the date when it was not today; UTC, as everywhere."""
    if moment is None:
        return ""
    today = datetime.now(UTC).date() == moment.date()
    return moment.strftime("%H:%M:%S" if today else "%m-%d %H:%M")


def _plain(value: Any) -> Any:
    from dist_task_pipelines.schemas import Answer, text_of  # noqa: PLC0415 - see `session`

    if isinstance(value, Answer):
        return value.model_dump()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, datetime):
        return text_of(value)
    raise TypeError(f"{value!r} has no JSON form")
