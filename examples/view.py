"""What the demo shows while it runs: a live picture in a terminal, plain lines elsewhere.

Pure but for the printing: everything is made from snapshots.
"""

import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from dist_task_pipelines.domain.status import Health, TransactionStatus
from dist_task_pipelines.ledger.records import ExceptionRecord, TransactionRecord
from examples.orders import Order, Story
from examples.reckoning import Books, Difference, Entry

STATES = ("waiting", "running", "retrying", "failed", "success")
STYLES = ("dim", "cyan", "yellow", "red", "green")
EVENTS_SHOWN = 6
DIFFERENCES_SHOWN = 30
PLAIN_INTERVAL = 5  # seconds between two plain lines


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Where everything stands at one moment."""

    transactions: Mapping[str, TransactionRecord] = field(default_factory=dict)
    exceptions: Sequence[ExceptionRecord] = ()
    books: Books = field(default_factory=dict)

    @property
    def statuses(self) -> dict[str, str]:
        """The status of each transaction."""
        return {key: record.status.value for key, record in self.transactions.items()}

    def state(self, order: Order) -> str:
        """One of STATES, or the status itself."""
        record = self.transactions.get(order.id)
        if record is None or record.status is TransactionStatus.PENDING:
            return "waiting"
        if record.status is TransactionStatus.RUNNING and record.health is Health.RETRYING:
            return "retrying"
        return record.status.value

    def has_failed_at(self, order: Order, task: str) -> bool:
        """Whether the task of the order was called in vain at least once."""
        return any(
            (each.transaction_id, each.task_id) == (order.id, task) for each in self.exceptions
        )


class View(Protocol):
    """Shows snapshots and tells events."""

    def tell(self, event: str) -> None:
        """Add an event."""

    def show(self, snapshot: Snapshot) -> None:
        """Show where everything stands."""


def events(before: Sequence[ExceptionRecord], after: Sequence[ExceptionRecord]) -> list[str]:
    """What happened between two looks at the exceptions, like things together."""
    known = {each.id: each for each in before}
    happened: dict[str, list[str]] = {}
    for record in reversed(after):  # oldest first
        if what := _happening(known.get(record.id), record):
            happened.setdefault(what, []).append(record.transaction_id or "")
    return [f"{_who(ids)}: {what}" for what, ids in happened.items()]


def state_table(orders: Sequence[Order], snapshot: Snapshot) -> Table:
    """Orders by story and state."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("what is arranged for an order", no_wrap=True)
    for state, style in zip(STATES, STYLES, strict=True):
        table.add_column(state, justify="right", style=style)
    counts = Counter((order.story, snapshot.state(order)) for order in orders)
    for story in Story:
        table.add_row(story, *(_count(counts[story, state]) for state in STATES))
    return table


def books_table(books: Books) -> Table:
    """Calls and effects by participant."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("in the books of", no_wrap=True)
    for name in books:
        table.add_column(name, justify="right")
    totals = {name: total(entries) for name, entries in books.items()}
    calls = ("" if each.calls is None else str(each.calls) for each in totals.values())
    table.add_row("calls", *calls)
    table.add_row("effects", *(str(each.effects) for each in totals.values()))
    return table


def differences_table(found: Sequence[Difference]) -> Table:
    """What is not as it must be."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("order", "what", "expected", "found"):
        table.add_column(column)
    for each in found[:DIFFERENCES_SHOWN]:
        table.add_row(each.order, each.what, each.expected, each.found)
    if len(found) > DIFFERENCES_SHOWN:
        table.add_row("...", f"{len(found) - DIFFERENCES_SHOWN} more")
    return table


def total(entries: Mapping[str, Entry]) -> Entry:
    """All entries of one participant together."""
    calls = [entry.calls for entry in entries.values() if entry.calls is not None]
    counted = calls or not entries
    return Entry(sum(entry.effects for entry in entries.values()), sum(calls) if counted else None)


def in_words(books: Books) -> str:
    """Calls and effects by participant, on one line."""
    return "; ".join(f"{name} {_entry_in_words(total(each))}" for name, each in books.items())


@contextmanager
def view(console: Console, orders: Sequence[Order], title: str) -> Iterator[View]:
    """A live picture in a terminal, else plain lines."""
    if not console.is_terminal:
        yield PlainView(console, orders)
        return
    with Live(console=console, auto_refresh=False) as live:
        yield LiveView(live, orders, title)


class PlainView:
    """A line for each event, and every few seconds one for the states."""

    def __init__(self, console: Console, orders: Sequence[Order]) -> None:
        self._console = console
        self._orders = orders
        self._last_line, self._next_at = "", 0.0

    def tell(self, event: str) -> None:
        """Print the event."""
        self._print(event)

    def show(self, snapshot: Snapshot) -> None:
        """Print a line when it is time and something changed."""
        counts = Counter(snapshot.state(order) for order in self._orders)
        line = "orders: " + ", ".join(
            f"{counts[state]} {state}" for state in STATES if counts[state]
        )
        if line != self._last_line and time.monotonic() >= self._next_at:
            self._print(line)
            self._last_line, self._next_at = line, time.monotonic() + PLAIN_INTERVAL

    def _print(self, line: str) -> None:
        self._console.print(f"{_clock()} {line}", soft_wrap=True, markup=False, highlight=False)


class LiveView:
    """One picture, redrawn in place: states, books, the last events."""

    def __init__(self, live: Live, orders: Sequence[Order], title: str) -> None:
        self._live = live
        self._orders = orders
        self._title = title
        self._events: deque[str] = deque(maxlen=EVENTS_SHOWN)
        self._snapshot = Snapshot()

    def tell(self, event: str) -> None:
        """Add the event below."""
        self._events.append(f"{_clock()} {event}")
        self.show(self._snapshot)

    def show(self, snapshot: Snapshot) -> None:
        """Draw the picture."""
        self._snapshot = snapshot
        lines = [Text(event, no_wrap=True, overflow="ellipsis") for event in self._events]
        picture = Group(
            Text(self._title, style="bold"),
            "",
            state_table(self._orders, snapshot),
            "",
            books_table(snapshot.books),
            "",
            *lines,
        )
        self._live.update(picture, refresh=True)


def _happening(before: ExceptionRecord | None, now: ExceptionRecord) -> str:
    """What the record tells that it did not tell before; empty when nothing."""
    if before is not None and _told(before) == _told(now):
        return ""
    if now.handled:
        return f"{now.task_id} {'went well after all' if now.handled_by == 'system' else 'handled'}"
    cause = f"{now.error_type} {now.error_code}".rstrip()
    if now.retry_next_at is None:
        return f"{now.task_id} failed ({cause}), needs a person"
    if before is not None and before.retry_times == now.retry_times:
        return f"{now.task_id} is called again, as a person asked"
    return f"{now.task_id} failed ({cause}), is called again soon"


def _told(record: ExceptionRecord) -> tuple[bool, bool, int]:
    return record.handled, record.retry_next_at is None, record.retry_times


def _who(ids: Sequence[str]) -> str:
    return ids[0] if len(ids) == 1 else f"{len(ids)} orders"


def _count(number: int) -> str:
    return str(number) if number else "."


def _entry_in_words(entry: Entry) -> str:
    effects = f"{entry.effects} effects"
    return effects if entry.calls is None else f"{entry.calls} calls, {effects}"


def _clock() -> str:
    return time.strftime("%H:%M:%S")
