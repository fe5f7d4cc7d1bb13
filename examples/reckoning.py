"""What came of the orders, held against what must have come of them. Pure.

Each participant's own books say what it did; what the platform believes is not asked, except
for the states of the orders.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from examples.orders import EVERY_TASK, Order


@dataclass(frozen=True, slots=True)
class Entry:
    """What a participant's books say of one idempotency key; calls are None if not counted."""

    effects: int
    calls: int | None = None


# By participant, then by idempotency key: `order-001:payment`.
Books = Mapping[str, Mapping[str, Entry]]


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that is not as it must be."""

    order: str
    what: str
    expected: str
    found: str


def key(order_id: str, task_id: str) -> str:
    """The idempotency key of a task of an order."""
    return f"{order_id}:{task_id}"


def entries(summary: Mapping[str, Mapping[str, int]]) -> dict[str, Entry]:
    """The books of a service, as its `GET /books` shows them."""
    return {key: Entry(each["effects"], each["calls"]) for key, each in summary.items()}


def reservation_entries(reservations: Mapping[str, int]) -> dict[str, Entry]:
    """The books of the warehouse, from the reservations of each order."""
    return {key(order, "stock"): Entry(count) for order, count in reservations.items()}


def message_entries(messages: Sequence[Mapping[str, Any]]) -> dict[str, Entry]:
    """The books of the broker, from the messages that it accepted."""
    counts = Counter(key for message in messages for key in message["keys"])
    return {key: Entry(count) for key, count in counts.items()}


def differences(
    orders: Sequence[Order], statuses: Mapping[str, str], books: Books
) -> list[Difference]:
    """Everything that is not as it must be, order by order; then effects that nobody ordered."""
    effects = effects_by_key(books)
    found = [each for order in orders for each in _of_order(order, statuses, effects)]
    ordered = {key(order.id, task) for order in orders for task in EVERY_TASK}
    for stray in sorted(effects.keys() - ordered):
        order, _, task = unquote(stray).rpartition(":")
        found.append(Difference(order, f"effects of {task}", "none", str(effects[stray])))
    return found


def stock_differences(orders: Sequence[Order], taken: int) -> list[Difference]:
    """Whether as many articles are gone from the stock as orders must have taken."""
    expected = sum("stock" in order.expected_effects for order in orders)
    if taken == expected:
        return []
    return [Difference("all", "articles gone from stock", str(expected), str(taken))]


def effects_by_key(books: Books) -> Counter[str]:
    """How often each key took effect, at all participants together."""
    effects: Counter[str] = Counter()
    for entries in books.values():
        effects.update({key: entry.effects for key, entry in entries.items() if entry.effects})
    return effects


def _of_order(
    order: Order, statuses: Mapping[str, str], effects: Mapping[str, int]
) -> Iterator[Difference]:
    status = statuses.get(order.id, "not there")
    if status != order.expected_status:
        yield Difference(order.id, "status", order.expected_status, status)
    for task in EVERY_TASK:
        expected = int(task in order.expected_effects)
        count = effects.get(key(order.id, task), 0)
        if count != expected:
            yield Difference(order.id, f"effects of {task}", str(expected), str(count))
