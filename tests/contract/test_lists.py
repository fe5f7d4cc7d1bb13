"""The lists of transactions and exceptions: what they hold, and that no filter makes them sort."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event

from dist_task_pipelines.domain.counts import CappedCount
from dist_task_pipelines.domain.status import Health, TransactionStatus
from dist_task_pipelines.ledger import Ledger
from tests.contract.steps import (
    SteppableClock,
    a_failed_transaction,
    a_flow,
    call,
    failure,
    submit,
    success,
    take,
)

TRANSACTIONS: list[dict[str, Any]] = [
    {},
    {"status": TransactionStatus.FAILED},
    {"health": Health.UNKNOWN},
    {"flow_id": "payment_v1"},
    {"flow_id": "payment_v1", "status": TransactionStatus.SUCCESS},
    {"flow_id": "payment_v1", "health": Health.HEALTHY},
    {"status": TransactionStatus.FAILED, "health": Health.HEALTHY},
]
EXCEPTIONS: list[dict[str, Any]] = [
    {},
    {"handled": False},
    {"flow_id": "payment_v1"},
    {"task_name": "call deduct", "handled": True},
    {"fingerprint": "0" * 32},
]


# SQLite's plans do not hang on how much is there, so a small ledger tells; MySQL's do.
ONLY_SQLITE = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)


@contextmanager
def plans(ledger: Ledger) -> Iterator[list[str]]:
    """The plans of the reading statements in the block."""
    found: list[str] = []

    def explain(connection: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
        if statement.startswith("SELECT"):
            raw = connection.connection.dbapi_connection
            found.extend(row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {statement}", values))

    event.listen(ledger.database.engine, "before_cursor_execute", explain)
    try:
        yield found
    finally:
        event.remove(ledger.database.engine, "before_cursor_execute", explain)


def is_read_in_order(plan: list[str], index: str) -> bool:
    """Whether each look for rows below a key is along the index, its rows not sorted after."""
    looks = [place for place, step in enumerate(plan) if step.endswith("<?)")]
    return bool(looks) and all(
        index in plan[place] and "TEMP B-TREE" not in plan[place + 1] for place in looks
    )


@ONLY_SQLITE
@pytest.mark.parametrize("filters", TRANSACTIONS, ids=str)
def test_a_list_of_transactions_reads_an_index_in_its_order(
    ledger: Ledger, filters: dict[str, Any]
) -> None:
    with plans(ledger) as plan:
        ledger.transactions.page(limit=5, before=100, **filters)
    index = "ix_instance_flow" if "flow_id" in filters else "ix_instance_state"
    assert is_read_in_order(plan, index if filters else "PRIMARY KEY"), plan


@ONLY_SQLITE
@pytest.mark.parametrize("filters", EXCEPTIONS, ids=str)
def test_a_list_of_exceptions_reads_an_index_in_its_order(
    ledger: Ledger, filters: dict[str, Any]
) -> None:
    with plans(ledger) as plan:
        ledger.exceptions.page(limit=5, before=100, **filters)
    assert is_read_in_order(plan, "ix_exception_"), plan


def ids(ledger: Ledger, **how: Any) -> str:
    """The transactions of a page."""
    return "".join(each.id for each in ledger.transactions.page(**how))


def test_each_filter_finds_what_it_names(ledger: Ledger) -> None:
    flow, other = a_flow(ledger), a_flow(ledger, name="other")
    a_failed_transaction(ledger, flow, "a")
    batch = take(ledger, other, "b")
    call(ledger, batch, "deduct", success())
    call(ledger, batch, "notify", success())
    submit(ledger, flow, "c", "d")
    assert ids(ledger) == "dcba"
    assert ids(ledger, offset=1, limit=2) == "cb"
    assert ids(ledger, flow_id=flow.id) == "dca"
    assert ids(ledger, flow_id=flow.id, offset=1, limit=1) == "c"
    assert ids(ledger, health=Health.NEEDS_HUMAN) == "a"
    assert ids(ledger, health=Health.HEALTHY, flow_id=other.id) == "b"
    assert ids(ledger, status=TransactionStatus.PENDING, health=Health.HEALTHY) == "dc"
    assert ids(ledger, flow_id="") == ""
    assert ledger.transactions.count(10, flow_id=flow.id) == CappedCount(3)
    assert ledger.transactions.count(2, flow_id=flow.id) == CappedCount(2, is_capped=True)


def test_times_of_creation_are_exact_although_keys_only_follow_them(
    ledger: Ledger, clock: SteppableClock
) -> None:
    flow = a_flow(ledger)
    for name in "abcdefgh":
        submit(ledger, flow, name)
        clock.step(400)
    clock.step(-900)
    submit(ledger, flow, "x")  # another host's clock is behind: created between f and g
    created = {each.id: each.created_at for each in ledger.transactions.page()}
    since, until = created["c"], created["g"]
    assert ids(ledger, since=since, until=until) == "xfedc"
    assert ids(ledger, since=since + timedelta(microseconds=1), until=until) == "xfed"
    assert ids(ledger, since=until) == "hg"
    assert ids(ledger, until=created["b"]) == "a"
    assert ids(ledger, since=created["h"] + timedelta(days=1)) == ""
    assert ledger.transactions.count(10, since=since, until=until).count == 5


def test_exceptions_by_cause_and_task(ledger: Ledger) -> None:
    flow = a_flow(ledger)
    first, second = (a_failed_transaction(ledger, flow, name) for name in "ab")
    call(ledger, take(ledger, flow, "c"), "deduct", failure("another cause"))
    ledger.operators.handle(first.id, actor="ann")
    exceptions = ledger.exceptions
    cause = second.fingerprint
    assert [each.id for each in exceptions.page(fingerprint=cause)] == [second.id, first.id]
    assert exceptions.count(10, fingerprint=cause, handled=False).count == 1
    assert exceptions.count(10, task_name="call deduct").count == 3
    assert exceptions.count(10, task_name="call notify").count == 0
    assert exceptions.count(2, flow_id=flow.id) == CappedCount(2, is_capped=True)
