"""The engine on MySQL: values that the server really refuses, connections really cut."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.engine import patience
from dist_task_pipelines.ledger import Ledger
from dist_task_pipelines.ledger.database import LEAST_PACKET
from tests.integration.engine.bench import Bench, act, build, ended, orders
from tests.integration.engine.scripted import failed

# The server's answer to the first can be read, on the second it hangs up in the middle.
TOO_LARGE = {"order_31": LEAST_PACKET + 1000, "order_50": LEAST_PACKET * 4 // 3}


@pytest.fixture
def bench(mysql_bench: Bench) -> Iterator[Bench]:
    """On a server that takes no more in one statement than the ledger asks for."""
    most = execute(mysql_bench, "SELECT @@max_allowed_packet")
    execute(mysql_bench, f"SET GLOBAL max_allowed_packet = {LEAST_PACKET}")
    mysql_bench.ledger.database.dispose()  # its connections know the old limit
    Ledger.__init__(mysql_bench.ledger, url(mysql_bench), build)
    yield mysql_bench
    execute(mysql_bench, f"SET GLOBAL max_allowed_packet = {most}")


def test_oversized_replies_do_not_disturb_their_neighbours(bench: Bench) -> None:
    flow = bench.flow(act("deduct"), act("notify", "deduct"))
    for order, size in TOO_LARGE.items():
        bench.executor.script(f"{order}:deduct", Outcome.success({"text": "x" * size}))
    reports = bench.carry(bench.take(flow, *orders(60)))
    assert (reports["deduct"].passed, reports["notify"].passed) == (60, 60)
    assert {bench.status(order) for order in orders(60)} == {"success"}
    for order in TOO_LARGE:
        assert bench.task(order).output_data == {
            "unreadable": "the ledger's database refuses to keep the reply"
        }
        assert bench.actions(order) == ["start", "success"]
    assert bench.task("order_32").output_data == {"key": "order_32:deduct"}
    assert set(bench.executor.effects.values()) == {1}


def test_large_replies_are_kept(bench: Bench) -> None:
    """Up to what the server takes, quotes and all."""
    text = "\"'\\" * (LEAST_PACKET // 20)
    bench.executor.script("order_1:deduct", Outcome.success({"text": text}))
    bench.carry(bench.take(bench.flow(), *orders(3)))
    assert bench.task("order_1").output_data == {"text": text}


def test_connections_that_are_cut_while_calls_are_under_way(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "TRY_AGAIN_SECONDS", 0.01)
    flow = bench.flow(act("deduct", retry={"strategy": "auto"}))
    held = [f"{order}:deduct" for order in orders(4)]
    bench.executor.hold(*held)
    bench.executor.script("order_1:deduct", failed())
    with bench.running(bench.take(flow, *orders(4))) as run:
        running = bench.in_background(run, "deduct")
        bench.executor.wait_for(*held)
        cut_connections(bench)
        bench.executor.release(*held)
        assert ended(running).passed == 3
    assert [bench.actions(order)[1:] for order in orders(2)] == [["success"], ["failed"]]


def cut_connections(bench: Bench) -> None:
    """Let the server end every other connection to the ledger."""
    engine = sa.create_engine(url(bench), poolclass=sa.NullPool)
    with engine.connect() as connection:
        others = connection.scalars(
            sa.text(
                "SELECT id FROM information_schema.processlist "
                "WHERE db = DATABASE() AND id <> CONNECTION_ID()"
            )
        ).all()
        assert others
        for identifier in others:
            connection.execute(sa.text(f"KILL {identifier}"))


def url(bench: Bench) -> str:
    return bench.ledger.database.engine.url.render_as_string(hide_password=False)


def execute(bench: Bench, statement: str) -> object:
    with bench.ledger.database.engine.connect() as connection:
        result = connection.execute(sa.text(statement))
        return result.scalar() if result.returns_rows else None
