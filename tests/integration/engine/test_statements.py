"""What a task costs the ledger: as many statements for 300 transactions as for one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.engine import batch_run
from tests.integration.engine.bench import Bench, act, orders
from tests.integration.engine.scripted import done, failed

MOST = 25  # statements for a task of one transaction, BEGIN and COMMIT included
MOST_ASKED = 30  # that MySQL counts, with the pool's pings and rollbacks
MORE = 4  # of them for 300: another ping, another look at the lease


@pytest.fixture(autouse=True)
def one_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let outcomes wait for each other, however slow the machine is."""
    monkeypatch.setattr(batch_run, "RECORD_EVERY", 20)


@contextmanager
def counted(bench: Bench) -> Iterator[list[str]]:
    """The statements that are sent, as SQLAlchemy sends them."""
    sent: list[str] = []
    engine = bench.ledger.database.engine

    def send(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        sent.append(statement)

    def commit(_connection: object) -> None:
        sent.append("COMMIT")

    sa.event.listen(engine, "before_cursor_execute", send)
    sa.event.listen(engine, "commit", commit)
    try:
        yield sent
    finally:
        sa.event.remove(engine, "before_cursor_execute", send)
        sa.event.remove(engine, "commit", commit)


def statements(bench: Bench, count: int, end: Callable[[str], Outcome]) -> list[str]:
    """What running a task for so many transactions sends."""
    ids = [f"{each}-of-{count}" for each in orders(count)]
    flow = bench.flow(act("deduct", retry={"strategy": "auto"}))
    for each in ids:
        bench.executor.script(f"{each}:deduct", end(f"{each}:deduct"))
    with bench.running(bench.take(flow, *ids)) as run, counted(bench) as sent:
        assert run.run_task("deduct").called == count
    return sent


@pytest.mark.parametrize("end", [done, lambda key: failed()], ids=["success", "failure"])
def test_300_transactions_take_hardly_more_statements_than_one(
    bench: Bench, end: Callable[[str], Outcome]
) -> None:
    one = statements(bench, 1, end)
    many = statements(bench, 300, end)
    assert one.count("COMMIT") == many.count("COMMIT") == 2  # the start and the end
    assert len(one) == len(many) <= MOST


def test_many_bytes_take_more_statements_in_proportion(bench: Bench) -> None:
    def large(key: str) -> Outcome:
        return Outcome.success({"text": "x" * 50_000})

    assert statements(bench, 300, large).count("COMMIT") == 1 + 8  # 15 MB in chunks of 2 MB


def test_the_server_counts_few_statements_too(mysql_bench: Bench) -> None:
    """A driver may send a statement for each row behind SQLAlchemy's back."""
    one, many = (asked(mysql_bench, count) for count in (1, 300))
    assert one <= MOST_ASKED
    assert many <= one + MORE


def asked(bench: Bench, count: int) -> int:
    """What MySQL counts while a task is run for so many transactions, half of which fail."""
    ids = [f"{each}-of-{count}" for each in orders(count)]
    flow = bench.flow(act("deduct", retry={"strategy": "auto"}))
    for each in ids[::2]:
        bench.executor.script(f"{each}:deduct", failed())
    with bench.running(bench.take(flow, *ids)) as run:
        before = questions(bench)
        run.run_task("deduct")
        return questions(bench) - before


def questions(bench: Bench) -> int:
    """The statements that the server has been sent so far."""
    with bench.ledger.database.read() as connection:
        row = connection.execute(sa.text("SHOW GLOBAL STATUS LIKE 'Questions'")).one()
        return int(row[1])
