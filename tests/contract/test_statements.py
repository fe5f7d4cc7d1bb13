"""What the ledger asks of its database: few statements, and the right index."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from dist_task_pipelines.domain.flow import Flow
from dist_task_pipelines.domain.status import RetryStrategy, TransactionStatus
from dist_task_pipelines.ledger import Ledger, tables
from dist_task_pipelines.ledger.bulk import chunks, insert_rows
from dist_task_pipelines.ledger.records import Batch, BatchEnd, ToDo
from tests.contract.steps import (
    SteppableClock,
    a_flow,
    a_submission,
    a_task,
    ask,
    dispatch,
    failure,
    finish,
    start,
    success,
    take,
    take_again,
)

MANY = 300
FEW = 50
CROWD = 6000
MOST_IN_A_LIFE = 48  # statements for a batch of two tasks, whatever its size
ONLY_MYSQL = pytest.mark.parametrize("ledger_url", ["mysql"], indirect=True)
ONLY_SQLITE = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)


@pytest.fixture
def big_batch(ledger: Ledger) -> Batch:
    """A run's batch of MANY transactions."""
    flow = a_flow(ledger, a_task("deduct", strategy=RetryStrategy.AUTO))
    batch = take(ledger, flow, *(f"order-{n}" for n in range(MANY)))
    ledger.batches.renew(batch.id, lease=1000)
    return batch


@contextmanager
def sent(ledger: Ledger) -> Iterator[list[str]]:
    """The statements that SQLAlchemy hands to the driver in the block."""
    statements: list[str] = []

    def note(*arguments: Any) -> None:
        if not arguments[2].startswith("BEGIN"):  # SQLite's; MySQL begins by itself
            statements.append(arguments[2])

    event.listen(ledger.database.engine, "before_cursor_execute", note)
    yield statements
    event.remove(ledger.database.engine, "before_cursor_execute", note)


def received(ledger: Ledger) -> int:
    """The statements that the MySQL server has carried out so far, of those that count."""
    kinds = ("select", "insert", "insert_select", "update", "update_multi", "delete")
    names = ", ".join(f"'Com_{kind}'" for kind in kinds)
    rows = ask(ledger, f"SHOW GLOBAL STATUS WHERE Variable_name IN ({names})")
    return sum(int(value) for _, value in rows)


def names(batch: Batch, number: int) -> list[str]:
    return [member.id for member in batch.members[-number:]]


def a_round(
    ledger: Ledger, batch: Batch, number: int, end: Any, measure: Callable[[], int]
) -> tuple[int, int]:
    """The cost of the start and of the end of so many attempts."""
    before = measure()
    started = start(ledger, batch, "deduct", *names(batch, number))
    between = measure()
    finish(ledger, batch, "deduct", dict.fromkeys(names(batch, number), end))
    assert len(started) == number
    return between - before, measure() - between


def mixed(clock: SteppableClock) -> dict[str, Any]:
    """Ends that each take another way through the code."""
    return {
        "success": success({"receipt": 7}),
        "failure": failure("no"),
        "retry": failure("busy", retry_at=clock.now() + timedelta(seconds=60)),
    }


@pytest.mark.parametrize("kind", ["success", "failure", "retry"])
def test_a_start_and_an_end_of_many_cost_about_what_those_of_one_cost(
    ledger: Ledger, big_batch: Batch, clock: SteppableClock, kind: str
) -> None:
    end = mixed(clock)[kind]
    with sent(ledger) as statements:
        one = a_round(ledger, big_batch, 1, end, lambda: len(statements))
        rest = Batch(big_batch.id, big_batch.flow_id, big_batch.run_id, big_batch.members[:-1])
        many = a_round(ledger, rest, MANY - 1, end, lambda: len(statements))
    assert many[0] == one[0] <= 4
    assert many[1] == one[1] <= (12 if kind == "success" else 15)


@ONLY_MYSQL
@pytest.mark.parametrize("kind", ["success", "failure", "retry"])
def test_the_server_sees_as_many_statements_as_were_sent(
    ledger: Ledger, big_batch: Batch, clock: SteppableClock, kind: str
) -> None:
    end = mixed(clock)[kind]
    with sent(ledger) as statements:
        before = received(ledger), len(statements)
        a_round(ledger, big_batch, MANY, end, lambda: 0)
        after = received(ledger), len(statements)
    looks = 1  # `SHOW GLOBAL STATUS` itself
    assert after[0] - before[0] == after[1] - before[1] - looks


def test_failing_again_is_as_cheap(ledger: Ledger, big_batch: Batch, clock: SteppableClock) -> None:
    again = failure("busy", retry_at=clock.now())
    a_round(ledger, big_batch, MANY, again, lambda: 0)
    with sent(ledger) as statements:
        costs = a_round(ledger, big_batch, MANY, failure("x" * 8000), lambda: len(statements))
    assert costs[0] <= 4
    assert costs[1] <= 15


@pytest.mark.parametrize("reason", [BatchEnd.LOST, BatchEnd.STOPPED])
def test_the_end_of_a_big_batch_costs_a_few_statements(
    ledger: Ledger, big_batch: Batch, reason: BatchEnd
) -> None:
    start(ledger, big_batch, "deduct")
    with sent(ledger) as statements:
        ledger.batches.end(big_batch.id, reason)
    assert len(statements) <= 15


def a_life(ledger: Ledger, flow: Flow, number: int) -> int:
    """What so many transactions of two tasks cost, from the submit to the end of their batch."""
    ids = [f"life-{n}-of-{number}" for n in range(number)]
    with sent(ledger) as statements:
        batch = take(ledger, flow, *ids)
        for task in flow.tasks:
            ledger.attempts.load(batch, task.id, depends_on=task.depends_on)
            start(ledger, batch, task.id)
            finish(ledger, batch, task.id, dict.fromkeys(ids, success()))
        ledger.batches.end(batch.id, BatchEnd.DONE)
    assert ledger.transactions.get(ids[-1]).status is TransactionStatus.SUCCESS
    return len(statements)


def test_the_whole_life_of_many_costs_what_that_of_one_costs(ledger: Ledger) -> None:
    flow = a_flow(ledger, a_task("deduct"), a_task("notify", "deduct"))
    one, many = a_life(ledger, flow, 1), a_life(ledger, flow, MANY)
    assert one == many <= MOST_IN_A_LIFE


def test_submits_dispatch_and_acquire_cost_a_few_statements(ledger: Ledger) -> None:
    flow = a_flow(ledger)
    with sent(ledger) as statements:
        ledger.transactions.add([a_submission(f"order-{n}", flow) for n in range(MANY)])
        assert len(statements) <= 4
        statements.clear()
        [dispatched] = dispatch(ledger, flow)
        assert len(statements) <= 7
        statements.clear()
        ledger.batches.acquire(dispatched.id, run_id="r", worker="w", lease=9)
        assert len(statements) <= 4


def test_loading_a_batch_costs_a_statement(ledger: Ledger, big_batch: Batch) -> None:
    with sent(ledger) as statements:
        ledger.attempts.load(big_batch, "deduct")
    assert len(statements) == 1


def test_an_end_without_anything_left_costs_two_statements_more_than_its_lock(
    ledger: Ledger, big_batch: Batch
) -> None:
    a_round(ledger, big_batch, MANY, success(), lambda: 0)
    with sent(ledger) as statements:
        ledger.batches.end(big_batch.id, BatchEnd.DONE)
    assert len(statements) == 3


# Locks


def test_looking_with_nothing_to_do_costs_a_statement(ledger: Ledger, big_batch: Batch) -> None:
    """The server looks every second; so does the code server, at the flows."""
    for name in ("unused", "older", "newer"):
        ledger.flows.set_active(a_flow(ledger, name=name).id, False)
    with sent(ledger) as statements:
        found = ledger.dispatcher.look(patience=10)
        ledger.flows.revision()
    assert found == ToDo(due=False, unattended=False)
    assert len(statements) == 2


def locks(statements: list[str]) -> list[str]:
    """The tables whose rows were locked to be read, in order."""
    return [each.split("FROM ")[1].split()[0] for each in statements if "FOR UPDATE" in each]


@ONLY_MYSQL
def test_the_row_of_a_batch_is_locked_before_its_transactions(
    ledger: Ledger, big_batch: Batch
) -> None:
    """Another order lets two that write for one batch lock each other out."""
    with sent(ledger) as statements:
        start(ledger, big_batch, "deduct")
        finish(ledger, big_batch, "deduct", {big_batch.members[0].id: success()})
        ledger.batches.end(big_batch.id, BatchEnd.DONE)
    assert locks(statements) == ["batch", "task_group_instance"] * 3


# Plans


@pytest.fixture
def crowded(ledger: Ledger, clock: SteppableClock) -> str:
    """A ledger with thousands of transactions in many states; the id of one of its flows."""
    rows = [a_row(n, clock.now()) for n in range(CROWD)]

    def work(connection: sa.Connection) -> None:
        for chunk in chunks(rows, 1000):
            insert_rows(connection, tables.transaction, chunk)

    ledger.database.write(work)
    analyze = "ANALYZE TABLE task_group_instance" if ledger.database.is_mysql else "ANALYZE"
    with ledger.database.engine.connect() as connection:
        connection.execute(sa.text(analyze))
        connection.commit()
    return "flow_v1"


def a_row(number: int, now: datetime) -> dict[str, Any]:
    statuses = [TransactionStatus.PENDING, TransactionStatus.RUNNING, TransactionStatus.SUCCESS]
    return {
        "id": f"order-{number}",
        "flow_id": f"flow_v{number % 5}",
        "status": statuses[number % 3],
        "health": "healthy",
        "params": {},
        "params_bytes": 2,
        "request_hash": "h",
        "next_due_at": now - timedelta(seconds=number % 977),
        "lease_losses": 0,
        "cancel_requested": False,
        "created_at": now,
        "updated_at": now,
    }


def the_claim(ledger: Ledger, flow_id: str) -> tuple[str, Any]:
    """The statement with which dispatch picks transactions, as it was sent, and its values."""
    claims: list[tuple[str, Any]] = []

    def note(*arguments: Any) -> None:
        if "params_bytes" in arguments[2]:
            claims.append((arguments[2], arguments[3]))

    event.listen(ledger.database.engine, "before_cursor_execute", note)
    flow = a_flow(ledger, name=flow_id.removesuffix("_v1"))
    assert flow.id == flow_id
    [batch] = dispatch(ledger, flow, max_runs_in_flight=1, max_batch=FEW)
    event.remove(ledger.database.engine, "before_cursor_execute", note)
    assert batch.size == FEW
    [claim] = claims
    return claim


@ONLY_MYSQL
def test_on_mysql_the_claim_reads_its_index_in_order(ledger: Ledger, crowded: str) -> None:
    statement, values = the_claim(ledger, crowded)
    with ledger.database.engine.connect() as connection:
        explained = connection.exec_driver_sql(f"EXPLAIN FORMAT=JSON {statement}", values)
        plan = str(explained.scalar()).lower().replace('"using_filesort": false', "")
    assert "ix_instance_due" in plan
    assert "sort" not in plan, plan
    assert "temporary" not in plan, plan


@ONLY_SQLITE
def test_on_sqlite_the_claim_reads_its_index_in_order(ledger: Ledger, crowded: str) -> None:
    statement, values = the_claim(ledger, crowded)
    with ledger.database.engine.connect() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
    steps = [row[-1] for row in plan]
    assert len(steps) == 1, steps
    assert "USING INDEX ix_instance_due (status=? AND flow_id=? AND next_due_at<?)" in steps[0]


@ONLY_MYSQL
def test_a_look_reads_the_head_of_a_backlog_only(ledger: Ledger, crowded: str) -> None:
    looks: list[tuple[str, Any]] = []
    assert a_flow(ledger, name="flow").id == crowded

    def note(*arguments: Any) -> None:
        looks.append((arguments[2], arguments[3]))

    event.listen(ledger.database.engine, "before_cursor_execute", note)
    assert ledger.dispatcher.look(patience=10).due
    ledger.flows.revision()
    event.remove(ledger.database.engine, "before_cursor_execute", note)
    with ledger.database.engine.connect() as connection:
        connection.exec_driver_sql("FLUSH STATUS")
        for statement, values in looks:
            connection.exec_driver_sql(statement, values).all()
        read = connection.exec_driver_sql("SHOW SESSION STATUS LIKE 'Handler_read_%%'").all()
    assert sum(int(value) for _, value in read) < CROWD / 10


@ONLY_MYSQL
def test_the_claim_locks_only_what_it_takes(
    ledger: Ledger, another_ledger: Ledger, crowded: str, clock: SteppableClock
) -> None:
    statement, values = the_claim(ledger, crowded)
    with (
        ledger.database.engine.connect() as mine,
        another_ledger.database.engine.connect() as other,
    ):
        first = mine.exec_driver_sql(statement, values).all()
        second = other.exec_driver_sql(statement, values).all()
    everything = the_claim_of(ledger, crowded, clock.now(), 2 * FEW)
    assert [row.id for row in [*first, *second]] == everything


def the_claim_of(ledger: Ledger, flow_id: str, now: datetime, limit: int) -> list[str]:
    column = tables.transaction.c
    due = (
        column.status == TransactionStatus.PENDING,
        column.flow_id == flow_id,
        column.next_due_at <= now,
    )
    query = sa.select(column.id).where(*due).order_by(column.next_due_at, column.seq)
    with ledger.database.read() as connection:
        return list(connection.scalars(query.limit(limit)))


def test_open_exceptions_are_listed_along_their_index(ledger: Ledger, big_batch: Batch) -> None:
    a_round(ledger, big_batch, MANY, failure(), lambda: 0)
    with sent(ledger) as statements:
        assert len(ledger.exceptions.page(handled=False, limit=10)) == 10
    assert " IS " not in statements[-1].split("WHERE", 1)[1], "MySQL reads no index for IS TRUE"


def test_a_retry_after_a_big_failure_is_one_batch(
    ledger: Ledger, big_batch: Batch, clock: SteppableClock
) -> None:
    a_round(ledger, big_batch, MANY, failure(retry_at=clock.now()), lambda: 0)
    ledger.batches.end(big_batch.id, BatchEnd.DONE)
    again = take_again(ledger, ledger.flows.load(big_batch.flow_id))
    assert len(again.members) == MANY
