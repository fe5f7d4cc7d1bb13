"""kill -9 in the middle of a batch: another run finishes it; no effect twice, none lost."""

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dist_task_pipelines.domain.flow import Flow
from dist_task_pipelines.domain.json import JsonObject
from tests.contract.steps import SteppableClock
from tests.integration.engine.bench import PENDING, RUNNING, Bench, act, orders
from tests.integration.engine.conftest import opened
from tests.services.participant import Participant

ROOT = Path(__file__).parents[3]
TWELVE = orders(12)

Kill = Callable[[], None]


@pytest.fixture
def warehouse(tmp_path: Path) -> Path:
    """A participant's database, with a table that takes the same row as often as it comes."""
    path = tmp_path / "warehouse.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE booked (seller_order TEXT)")
    return path


@pytest.fixture
def bench(ledger_url: str, warehouse: Path) -> Iterator[Bench]:
    """The engine that takes over. Its clock is an hour ahead: every lease has run out."""
    ahead = SteppableClock()
    ahead.moment = datetime.now(UTC) + timedelta(hours=1)
    yield from opened(ledger_url, ahead, {"warehouse": f"sqlite:///{warehouse}"})


@pytest.fixture
def participant() -> Iterator[Participant]:
    with Participant().running() as participant:
        yield participant


def post(participant: Participant, identifier: str, *after: str) -> JsonObject:
    url = f"{participant.url}/{identifier}"
    return act(identifier, *after, task_name="post", config={"url": url})


def book() -> JsonObject:
    config = {
        "database": "warehouse",
        "operation": "insert",
        "table": "booked",
        "data": {"seller_order": "${input.order}"},
    }
    return act("book", task_name="write", config=config)


@contextmanager
def process(bench: Bench, flow: Flow, warehouse: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process that carries the twelve orders; it gets no chance to clean up."""
    for order in TWELVE:
        bench.submit(order, flow.id, {task.id: {"order": order} for task in flow.tasks})
    [dispatched] = bench.dispatch(flow, PENDING)
    url = bench.ledger.database.engine.url.render_as_string()
    command = [url, f"sqlite:///{warehouse}", str(dispatched.id)]
    module = "tests.integration.engine.engine_process"
    running = subprocess.Popen(
        [sys.executable, "-m", module, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    with running:
        try:
            yield running
        finally:
            running.kill()


def lines(running: "subprocess.Popen[str]") -> Iterator[list[str]]:
    """What the process says, word by word."""
    assert running.stdout
    for line in running.stdout:
        yield line.split()


def wait_for(running: "subprocess.Popen[str]", *words: str) -> None:
    """Wait until the process says this."""
    assert any(line == list(words) for line in lines(running))


@contextmanager
def locked(path: Path) -> Iterator[Any]:
    """Nobody else can write to the SQLite file."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection


def take_over(bench: Bench, flow: Flow) -> None:
    """Hand back what the dead process had, and carry it to the end."""
    assert len(bench.ledger.batches.expire()) == 1
    dispatched = bench.dispatch(
        flow, RUNNING, max_runs_in_flight=99, max_runs_in_flight_per_flow=99
    )
    assert {each.size for each in dispatched} == {1}
    for each in dispatched:
        bench.carry(bench.acquire(each))
    assert {bench.status(order) for order in TWELVE} == {"success"}


def test_killed_while_calls_are_under_way(
    bench: Bench, participant: Participant, warehouse: Path
) -> None:
    flow = bench.flow(post(participant, "charge"), post(participant, "notify", "charge"))
    held = [f"{order}:charge" for order in TWELVE[::5]]
    for key in held:
        participant.hold(key)
    with process(bench, flow, warehouse) as running:
        recorded = 0
        for line in lines(running):
            recorded += int(line[3]) if line[:2] == ["record", "ended"] else 0
            if recorded == len(TWELVE) - len(held):
                break
        for key in held:
            participant.wait_for_call(key)
    for key in held:
        participant.release(key)
    take_over(bench, flow)
    assert participant.calls == {
        f"{order}:{task}": 1 + (f"{order}:{task}" in held)
        for order in TWELVE
        for task in ("charge", "notify")
    }
    for order in TWELVE:
        lost = ["lost", "retry"] if f"{order}:charge" in held else []
        assert bench.actions(order, "charge") == ["start", *lost, "success"]


def test_killed_between_the_effect_and_its_record(
    bench: Bench, participant: Participant, ledger_url: str, warehouse: Path
) -> None:
    """Each participant is called again with the same key, and knows it."""
    flow = bench.flow(post(participant, "charge"))
    keys = [f"{order}:charge" for order in TWELVE]
    for key in keys:
        participant.hold(key)
    with process(bench, flow, warehouse) as running:
        for key in keys:
            participant.wait_for_call(key)
        with locked(Path(ledger_url.removeprefix("sqlite:///"))):
            for key in keys:
                participant.release(key)
            wait_for(running, "record", "begins", "charge")
            running.kill()
            running.wait()
    take_over(bench, flow)
    assert participant.calls == dict.fromkeys(keys, 2)


def test_killed_between_a_db_task_s_effect_and_its_record(
    bench: Bench, ledger_url: str, warehouse: Path
) -> None:
    """The barrier row, written with the change, makes it exactly once."""
    flow = bench.flow(book())
    with locked(warehouse) as gate, process(bench, flow, warehouse) as running:
        wait_for(running, "start", "ended", "book", "12")
        with locked(Path(ledger_url.removeprefix("sqlite:///"))):
            gate.execute("ROLLBACK")
            wait_for(running, "record", "begins", "book")
            running.kill()
            running.wait()
    with bench.ledger.database.read() as connection:
        unfinished = "SELECT count(*) FROM dist_task WHERE status = 'running'"
        assert connection.scalar(sa.text(unfinished)) == 12
    before = booked(warehouse)
    assert before  # some took effect, and nobody knows
    take_over(bench, flow)
    assert sorted(booked(warehouse)) == sorted(TWELVE)


def booked(warehouse: Path) -> list[str]:
    with closing(sqlite3.connect(warehouse)) as connection:
        return [row[0] for row in connection.execute("SELECT seller_order FROM booked")]
