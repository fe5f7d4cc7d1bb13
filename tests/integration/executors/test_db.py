"""`db` tasks against real databases: each change exactly once, whatever happens around it."""

import asyncio
import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    JSON,
    Boolean,
    CheckConstraint,
    Column,
    Connection,
    Date,
    DateTime,
    Double,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    String,
    Table,
    create_engine,
    event,
    insert,
    make_url,
    select,
    text,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.domain.status import Applied
from dist_task_pipelines.executors import Participants, Progress, barrier
from dist_task_pipelines.executors.barrier import BARRIER
from dist_task_pipelines.executors.database import Database
from dist_task_pipelines.executors.db import DbExecutor
from tests.integration.executors.conftest import KEY, Calls

ROOT = Path(__file__).parents[3]
METADATA = MetaData()
STOCK = Table(
    "stock",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("sku", String(40), unique=True),
    Column("held", Integer),
    Column("price", Numeric(20, 2)),
    Column("ratio", Double),
    Column("fragile", Boolean),
    Column("seen", DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")),
    Column("since", Date),
    Column("picture", LargeBinary),
    Column("extra", JSON),
    CheckConstraint("held >= 0", name="not_negative"),
)
NOTES = Table("notes", METADATA, Column("line", String(100)))  # takes equal rows, has no key

BASE = {"database": "warehouse", "table": "stock"}
Open = Callable[..., Calls]


@pytest.fixture(params=["sqlite", "mysql", "mariadb", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param != "sqlite":
        return str(request.getfixturevalue(f"{request.param}_database"))
    return f"sqlite:///{tmp_path / 'warehouse.db'}"


@pytest.fixture
def engine(url: str) -> Engine:
    """The warehouse as its owner sees it."""
    engine = create_engine(url, poolclass=NullPool)
    METADATA.create_all(engine)
    return engine


@pytest.fixture
def open_executor(runner: asyncio.Runner, engine: Engine, url: str) -> Iterator[Open]:
    """A factory of executors, as several workers would have them."""
    opened = []

    def opening(**settings: Any) -> Calls:
        databases = {"warehouse": settings.pop("url", url)}
        participants = Participants(databases=databases, **{"ledger_uuid": "ours", **settings})
        executor = DbExecutor.connect(participants)
        opened.append(executor)
        return Calls(runner, executor)

    yield opening
    for executor in opened:
        runner.run(executor.close())
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("db-")]


@pytest.fixture
def call(open_executor: Open) -> Calls:
    return open_executor()


@pytest.fixture
def warehouse(call: Calls, engine: Engine) -> tuple[Calls, Engine]:
    """The executor's side and the owner's."""
    return call, engine


@pytest.fixture
def add(engine: Engine) -> Callable[..., None]:
    """Put rows into `stock`."""

    def adding(*rows: dict[str, object]) -> None:
        with engine.begin() as connection:
            for row in rows:
                connection.execute(insert(STOCK).values(row))

    return adding


def rows(engine: Engine, table: Table = STOCK, *columns: str) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        query = select(*(table.c[name] for name in columns or table.c.keys()))
        return sorted(tuple(row) for row in connection.execute(query))


def barriers(engine: Engine) -> list[str]:
    return [row[0] for row in rows(engine, BARRIER, "idempotency_key")]


def failed(outcome: Outcome) -> tuple[str, bool, Applied]:
    assert outcome.error is not None, outcome
    return outcome.error.type, outcome.retryable, outcome.applied


def message(outcome: Outcome) -> str:
    assert outcome.error is not None, outcome
    return outcome.error.message


@contextmanager
def locked(engine: Engine) -> Iterator[Connection]:
    """Hold what every writer of row 1 needs."""
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.connection.isolation_level = None  # type: ignore[attr-defined]
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.execute(select(STOCK).where(STOCK.c.id == 1).with_for_update())
        yield connection


def note(line: str = "x") -> dict[str, Any]:
    """The config of a change that shows each time it is made."""
    return {**BASE, "table": "notes", "operation": "insert", "data": {"line": line}}


def test_every_operation(call: Calls, engine: Engine) -> None:
    added = call({**BASE, "operation": "insert", "data": {"sku": "a", "held": 1}}, key="1:x")
    assert added.output == {"row_count": 1, "primary_key": {"id": 1}}
    assert "repeated" not in added.details
    changed = call(
        {**BASE, "operation": "update", "data": {"held": 5}, "where": {"sku": "a"}}, key="2:x"
    )
    assert changed.output == {"row_count": 1}
    found = call({**BASE, "operation": "select", "columns": ["sku", "held"]}, key="3:x")
    assert found.output == {"rows": [{"sku": "a", "held": 5}], "row_count": 1, "more": False}
    gone = call({**BASE, "operation": "delete", "where": {"sku": ["a", "b"]}}, key="4:x")
    assert gone.output == {"row_count": 1}
    assert rows(engine) == []
    assert barriers(engine) == ["1:x", "2:x", "4:x"]


def test_values_come_back_as_they_went_in(call: Calls) -> None:
    values = {
        "id": 7,
        "sku": "é'; DROP TABLE stock; -- \N{PILE OF POO}",
        "held": 3,
        "price": "1234567890123.45",
        "ratio": 0.1,
        "seen": "2026-01-31T12:00:00.000005",
        "since": "2026-01-31",
        "picture": "AP8=",
        "extra": {"b": [1, None], "a": 0.1, "n": 12345678901234567890},
    }
    stored = call({**BASE, "operation": "insert", "data": {**values, "fragile": True}}, key="1:x")
    assert stored.succeeded, stored
    (row,) = call({**BASE, "operation": "select"}, key="2:x").output["rows"]
    assert row.pop("fragile") in (True, 1)
    assert row == values


def test_null_is_stored_as_null(call: Calls, engine: Engine) -> None:
    data = {"sku": "a", "held": None, "extra": None}
    assert call({**BASE, "operation": "insert", "data": data}).succeeded
    with engine.connect() as connection:
        empty = "SELECT COUNT(*) FROM stock WHERE held IS NULL AND extra IS NULL"
        assert connection.execute(text(empty)).scalar() == 1


def test_the_same_key_changes_the_database_once(call: Calls, engine: Engine) -> None:
    config = {**BASE, "operation": "insert", "data": {"sku": "a"}}
    first = call(config)
    second = call(config)
    assert second.succeeded
    assert second.output == first.output == {"row_count": 1, "primary_key": {"id": 1}}
    assert second.details["repeated"] is True
    assert len(rows(engine)) == 1


def test_the_same_key_at_the_same_time_changes_the_database_once(
    open_executor: Open, engine: Engine
) -> None:
    """On several threads of several workers at once, as after a lost lease."""
    workers = [open_executor() for _ in range(3)]
    for attempt in range(5):
        key = f"{attempt}:x"
        calls = [worker.later(note(key), key=key) for worker in workers for _ in range(3)]
        outcomes = workers[0].together(*calls)
        assert all(outcome.succeeded for outcome in outcomes), outcomes
        assert [outcome.details.get("repeated") for outcome in outcomes].count(None) == 1
    assert rows(engine, NOTES) == [(f"{attempt}:x",) for attempt in range(5)]


def test_two_calls_that_wait_for_the_same_row_change_it_once(
    open_executor: Open, engine: Engine, add: Callable[..., None]
) -> None:
    """Both are inside their transactions, one before the row and one before the barrier."""
    add({"id": 1, "sku": "a", "held": 0})
    one, other = open_executor(), open_executor()
    config = {**BASE, "operation": "update", "data": {"held": 1}, "where": {"id": 1}}

    async def both() -> list[Outcome]:
        with locked(engine) as holder:
            tasks = [asyncio.create_task(worker.later(config)) for worker in (one, other)]
            await asyncio.wait(tasks, timeout=0.5)
            assert not any(task.done() for task in tasks)
            holder.rollback()
        return await asyncio.gather(*tasks)

    outcomes = one.run(both())
    assert [outcome.output for outcome in outcomes] == [{"row_count": 1}] * 2
    assert sorted(outcome.details.get("repeated", False) for outcome in outcomes) == [False, True]
    assert barriers(engine) == [KEY]


def test_many_keys_at_the_same_time(open_executor: Open, engine: Engine) -> None:
    workers = [open_executor() for _ in range(2)]
    calls = [worker.later(note(f"{n}"), key=f"{n}:x") for n in range(30) for worker in workers]
    assert all(outcome.succeeded for outcome in workers[0].together(*calls))
    assert len(rows(engine, NOTES)) == 30


# 200 after the COMMIT, on all of them together: every one starts a process.
KILLED = {"sqlite": 120, "mysql": 30, "mariadb": 20, "postgresql": 30}


def test_a_worker_killed_between_commit_and_answer_made_its_change_once(
    engine: Engine, url: str, request: pytest.FixtureRequest
) -> None:
    count = KILLED[request.node.callspec.params["url"]]
    assert killed_workers(url, count, "after") == {"before": count}
    assert Counter(rows(engine, NOTES)) == Counter((str(n),) for n in range(-1, count))
    assert sum(KILLED.values()) == 200


def test_a_worker_killed_before_its_commit_made_no_change(engine: Engine, url: str) -> None:
    assert killed_workers(url, 5, "before") == {"now": 5}
    assert Counter(rows(engine, NOTES)) == Counter((str(n),) for n in range(-1, 5))


def killed_workers(url: str, count: int, when: str) -> dict[str, int]:
    """How many of the changes were found to be made before, and made now."""
    command = [sys.executable, "-m", "tests.integration.executors.killed_changes"]
    done = subprocess.run(
        [*command, url, str(count), when], cwd=ROOT, stdout=subprocess.PIPE, check=True
    )
    return dict(json.loads(done.stdout))


def test_a_change_that_failed_leaves_no_barrier(call: Calls, engine: Engine) -> None:
    config = {**BASE, "operation": "insert", "data": {"sku": "a", "held": -1}}
    assert call(note(), key="first:x").succeeded
    outcome = call(config)
    assert (outcome.retryable, outcome.applied) == (False, Applied.NO)
    assert "not_negative" in message(outcome)
    assert barriers(engine) == ["first:x"]
    assert call({**config, "data": {"sku": "a", "held": 1}}).details.get("repeated") is None


def test_a_duplicate_is_final(call: Calls, add: Callable[..., None]) -> None:
    add({"sku": "a"})
    outcome = call({**BASE, "operation": "insert", "data": {"sku": "a"}})
    assert failed(outcome) == ("ConstraintViolation", False, Applied.NO)
    assert outcome.error is not None
    assert outcome.error.code in ("1062", "SQLITE_CONSTRAINT_UNIQUE", "23505")
    assert "INSERT" not in message(outcome)


def test_a_foreign_barrier_is_an_error(open_executor: Open, engine: Engine) -> None:
    assert open_executor(ledger_uuid="theirs").__call__(note()).succeeded
    outcome = open_executor()(note())
    assert failed(outcome) == ("ForeignBarrier", False, Applied.NO)
    assert "another ledger (theirs, this one is ours)" in message(outcome)
    assert len(rows(engine, NOTES)) == 1


def test_a_barrier_that_vanished_is_worth_repeating(
    call: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its row was there when it was to be written, and gone when it was to be read."""
    assert call(note()).succeeded
    with monkeypatch.context() as vanishing:
        vanishing.setattr(barrier, "passed", lambda *_: None)
        assert failed(call(note())) == ("Contended", True, Applied.NO)
    assert call(note()).details["repeated"] is True


def test_a_key_that_does_not_fit_is_refused(call: Calls, engine: Engine) -> None:
    fits = call(note(), key="k" * 2048)
    assert fits.succeeded
    assert failed(call(note(), key="k" * 2049)) == ("InvalidKey", False, Applied.NO)
    assert len(rows(engine, NOTES)) == 1


def test_keys_differ_by_case_and_by_every_character(call: Calls, engine: Engine) -> None:
    for key in ("a:x", "A:x", "a%20:x", "a:x%20"):
        assert call(note(), key=key).details.get("repeated") is None
    assert len(rows(engine, NOTES)) == 4


@pytest.mark.parametrize(
    ("operation", "where", "expect_found"),
    [
        ("update", {"sku": "none"}, (None, None)),
        ("update", {"sku": "none"}, ("any", 0)),
        ("update", {"sku": "none"}, (0, 0)),
        ("update", {"sku": "a"}, (1, 1)),
        ("update", {"sku": "a"}, (0, None)),
        ("update", {"sku": ["a", "b"]}, (1, None)),
        ("update", {"held": 1}, (None, 2)),
        ("delete", {"sku": "none"}, (None, 0)),
        ("delete", {"sku": "none"}, (1, None)),
        ("delete", {"held": 1}, (2, 2)),
        ("select", {"sku": "none"}, (None, 0)),
        ("select", {"sku": "none"}, (1, None)),
        ("select", {"held": 1}, (2, 2)),
    ],
)
def test_expected_rows(
    warehouse: tuple[Calls, Engine],
    add: Callable[..., None],
    operation: str,
    where: dict[str, Any],
    expect_found: tuple[object, int | None],
) -> None:
    (call, engine), (expect, found) = warehouse, expect_found
    add({"sku": "a", "held": 1}, {"sku": "b", "held": 1})
    before = rows(engine, STOCK, "sku", "held")
    config: dict[str, Any] = {**BASE, "operation": operation, "where": where}
    config |= {} if expect is None else {"expect_rows": expect}
    config |= {"data": {"held": 9}} if operation == "update" else {}
    outcome = call(config)
    if found is None:
        assert failed(outcome) == ("RowCount", False, Applied.NO)
        assert rows(engine, STOCK, "sku", "held") == before
        assert operation == "select" or barriers(engine) == []
    else:
        assert outcome.output["row_count"] == found


def test_an_update_that_changes_nothing_has_found_its_row(
    call: Calls, add: Callable[..., None]
) -> None:
    add({"sku": "a", "held": 1})
    config = {**BASE, "operation": "update", "data": {"held": 1}, "where": {"sku": "a"}}
    assert call(config).output == {"row_count": 1}


def test_upsert_inserts_or_updates(call: Calls, engine: Engine) -> None:
    config = {**BASE, "operation": "upsert", "keys": ["sku"]}
    first = call({**config, "data": {"sku": "a", "held": 1}}, key="1:x")
    assert first.output == {"row_count": 1, "inserted": True}
    second = call({**config, "data": {"sku": "a", "held": 2}}, key="2:x")
    assert second.output == {"row_count": 1, "inserted": False}
    third = call({**BASE, "operation": "upsert", "data": {"id": 1, "held": 3}}, key="3:x")
    assert third.output == {"row_count": 1, "inserted": False}
    assert rows(engine, STOCK, "id", "sku", "held") == [(1, "a", 3)]


def test_upsert_does_not_update_another_row_that_happens_to_clash(
    call: Calls, engine: Engine, add: Callable[..., None]
) -> None:
    add({"id": 1, "sku": "a", "held": 1})
    outcome = call({**BASE, "operation": "upsert", "data": {"id": 2, "sku": "a", "held": 9}})
    assert failed(outcome) == ("ConstraintViolation", False, Applied.NO)
    assert rows(engine, STOCK, "id", "held") == [(1, 1)]


def test_upsert_needs_a_key_that_is_one(call: Calls, engine: Engine) -> None:
    outcome = call({**note(), "operation": "upsert"})
    assert failed(outcome) == ("InvalidConfig", False, Applied.NO)
    for key in ("1:x", "2:x"):
        assert call(note("same"), key=key).succeeded
    twice = {**note("same"), "operation": "upsert", "keys": ["line"]}
    assert failed(call(twice)) == ("RowCount", False, Applied.NO)
    assert len(rows(engine, NOTES)) == 2


def test_upserts_of_one_new_row_at_the_same_time(open_executor: Open, engine: Engine) -> None:
    """Whoever comes second updates; on MySQL the two may also lock each other out."""
    for outcome in upserts_at_the_same_time(open_executor(), open_executor(), rounds=5):
        assert outcome.succeeded or (outcome.retryable, outcome.applied) == (True, Applied.NO)
    assert rows(engine, STOCK, "held") == [(n,) for n in range(5)]


@pytest.mark.parametrize("url", ["mysql"], indirect=True)
def test_upserts_of_one_new_row_without_gap_locks(open_executor: Open, engine: Engine) -> None:
    """Whoever comes second finds no row to update, and then that it cannot insert one."""
    committed = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"
    url = engine.url.update_query_dict({"init_command": committed})
    one, other = (open_executor(url=url.render_as_string(hide_password=False)) for _ in range(2))
    assert all(outcome.succeeded for outcome in upserts_at_the_same_time(one, other, rounds=20))
    assert rows(engine, STOCK, "held") == [(n,) for n in range(20)]


def upserts_at_the_same_time(one: Calls, other: Calls, rounds: int) -> Iterator[Outcome]:
    config = {**BASE, "operation": "upsert", "keys": ["sku"]}
    for n in range(rounds):
        data = {"sku": f"{n}", "held": n}
        calls = [
            worker.later({**config, "data": data}, key=f"{n}:{index}")
            for index, worker in enumerate((one, other))
        ]
        yield from one.together(*calls)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_decimals_that_sqlite_can_hold_are_held(call: Calls, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE rates (rate NUMERIC)"))
    config = {"database": "warehouse", "table": "rates"}
    for key, rate in enumerate(["0.123456789012345", "0.1", "12.50", "9007199254740993"]):
        insertion = {**config, "operation": "insert", "data": {"rate": rate}}
        assert call(insertion, key=f"{key}:x").succeeded
    found = call({**config, "operation": "select"}).output["rows"]
    kept = [row["rate"] for row in found]
    assert kept == ["0.123456789012345", "0.1", "12.5", "9007199254740993"]
    same = {**config, "operation": "select", "where": {"rate": "0.123456789012345"}}
    assert call(same).output["row_count"] == 1


def test_select_is_bounded_and_says_so(open_executor: Open, add: Callable[..., None]) -> None:
    add(*({"id": n, "sku": f"{n}", "held": n % 2} for n in (3, 1, 2, 4)))
    call = open_executor(max_response_bytes=120)
    config = {**BASE, "operation": "select", "columns": ["id"]}
    assert call({**config, "limit": 2}).output == {
        "rows": [{"id": 1}, {"id": 2}],
        "row_count": 2,
        "more": True,
    }
    assert call({**config, "limit": 4}).output["more"] is False
    assert [row["id"] for row in call({**config, "where": {"held": 1}}).output["rows"]] == [1, 3]
    everything = call({**BASE, "operation": "select"})
    assert everything.succeeded
    assert "longer than 120 bytes" in everything.output["unreadable"]


def test_names_are_checked_against_the_table(call: Calls) -> None:
    unknown = call({**BASE, "operation": "insert", "data": {"sku": "a", "Held": 1, "x; --": 2}})
    assert failed(unknown) == ("UnknownColumn", False, Applied.NO)
    assert "table 'stock' has no column Held, x; --; it has extra, fragile, held" in message(
        unknown
    )
    missing = call({**BASE, "table": "stock; DROP TABLE stock", "operation": "select"})
    assert failed(missing) == ("UnknownTable", False, Applied.NO)
    assert "there are notes, stock" in message(missing)


def test_a_value_that_does_not_fit_its_column_is_refused(call: Calls, engine: Engine) -> None:
    outcome = call({**BASE, "operation": "insert", "data": {"held": "many"}})
    assert failed(outcome) == ("InvalidValue", False, Applied.NO)
    assert "column 'held' takes an integer, not a string" in message(outcome)
    surrogate = call({**BASE, "operation": "insert", "data": {"sku": "\ud800"}}, key="2:x")
    assert failed(surrogate) == ("InvalidValue", False, Applied.NO)
    assert rows(engine) == []


def test_a_new_column_is_noticed(call: Calls, engine: Engine) -> None:
    assert call({**BASE, "operation": "insert", "data": {"sku": "a"}}, key="1:x").succeeded
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE stock ADD COLUMN shelf VARCHAR(10)"))
    data = {"sku": "b", "shelf": "top"}
    assert call({**BASE, "operation": "insert", "data": data}, key="2:x").succeeded


def test_a_schema_that_changed_is_looked_at_again(call: Calls, engine: Engine) -> None:
    """The call that finds out fails; a repeat of it works."""
    assert call(note(), key="1:x").succeeded
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE dist_task_barrier"))
    outcome = call(note(), key="2:x")
    assert (outcome.succeeded, outcome.applied) == (False, Applied.NO)
    assert call(note(), key="2:x").succeeded
    assert len(rows(engine, NOTES)) == 2


def test_a_lock_that_is_not_had_in_time_is_worth_repeating(
    open_executor: Open, engine: Engine, add: Callable[..., None]
) -> None:
    add({"id": 1, "sku": "a", "held": 0})
    impatient = make_url(engine.url)
    if engine.dialect.name == "sqlite":
        impatient = impatient.update_query_dict({"timeout": "0.05"})
    elif engine.dialect.name == "postgresql":
        impatient = impatient.update_query_dict({"options": "-c lock_timeout=100ms"})
    else:
        wait = "SET SESSION innodb_lock_wait_timeout = 1"
        impatient = impatient.update_query_dict({"init_command": wait})
    call = open_executor(url=impatient.render_as_string(hide_password=False))
    config = {**BASE, "operation": "update", "data": {"held": 1}, "where": {"id": 1}}
    assert call({**BASE, "operation": "select"}).succeeded
    assert call(note(), key="1:x").succeeded
    with locked(engine):
        assert failed(call(config)) == ("DatabaseUnavailable", True, Applied.NO)
    assert call(config).succeeded


def test_a_call_given_up_before_its_commit_never_commits(
    open_executor: Open, engine: Engine, add: Callable[..., None], runner: asyncio.Runner
) -> None:
    add({"id": 1, "sku": "a", "held": 0})
    call = open_executor()
    config = {**BASE, "operation": "update", "data": {"held": 1}, "where": {"id": 1}}
    assert call(note(), key="1:x").succeeded  # connected, schema known
    with locked(engine):
        outcome = call(config, timeout=0.3)
        assert failed(outcome) == ("Timeout", True, Applied.NO)
    runner.run(call.executor.close())  # the thread has ended
    assert rows(engine, STOCK, "held") == [(0,)]
    assert barriers(engine) == ["1:x"]
    assert open_executor()(config).details.get("repeated") is None
    assert rows(engine, STOCK, "held") == [(1,)]


@pytest.mark.parametrize(
    ("name", "url", "error"),
    [
        ("other", "", ("InvalidConfig", False, Applied.NO)),
        ("warehouse", "no url", ("InvalidConfig", False, Applied.NO)),
        ("warehouse", "klingon://me:hidden@h/x", ("InvalidConfig", False, Applied.NO)),
        ("warehouse", "oracle://me:hidden@h/x", ("InvalidConfig", False, Applied.NO)),
        (
            "warehouse",
            "postgresql://me:hidden@127.0.0.1:1/x",
            ("DatabaseUnavailable", True, Applied.NO),
        ),
        (
            "warehouse",
            "mysql+pymysql://me:hidden@127.0.0.1:1/x",
            ("DatabaseUnavailable", True, Applied.NO),
        ),
        ("warehouse", "sqlite:////nowhere/x.db", ("DatabaseUnavailable", True, Applied.NO)),
    ],
)
def test_a_database_that_cannot_be_used(
    runner: asyncio.Runner, name: str, url: str, error: tuple[str, bool, Applied]
) -> None:
    executor = DbExecutor.connect(Participants(databases={"warehouse": url}))
    outcome = Calls(runner, executor)({**BASE, "database": name, "operation": "select"})
    runner.run(executor.close())
    assert failed(outcome) == error
    assert "hidden" not in message(outcome)


def test_the_owner_can_create_the_barrier_table(
    open_executor: Open, engine: Engine, url: str, clerk: str | None
) -> None:
    """A user who may not is given the SQL to run."""
    limited = clerk or f"{url.replace('sqlite:///', 'sqlite:///file:')}?mode=ro&uri=true"
    call = open_executor(url=limited)
    outcome = call(note())
    assert failed(outcome) == ("BarrierMissing", False, Applied.NO)
    statement = message(outcome).partition("run: ")[2]
    with engine.begin() as connection:
        connection.execute(text(statement))
    if clerk:
        assert call(note()).succeeded
    assert open_executor()(note(), key="2:x").succeeded


_ROWS = "SELECT, INSERT, UPDATE, DELETE"
CLERKS = {
    "mysql": (
        "CREATE USER clerk IDENTIFIED BY 'pw'",
        f"GRANT {_ROWS} ON {{database}}.* TO clerk",
        "DROP USER clerk",
    ),
    "postgresql": (
        "CREATE USER clerk PASSWORD 'pw'",
        f"GRANT {_ROWS} ON ALL TABLES IN SCHEMA public TO clerk",
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT {_ROWS} ON TABLES TO clerk",
        "DROP OWNED BY clerk",
        "DROP USER clerk",
    ),
}


@pytest.fixture
def clerk(engine: Engine, url: str) -> Iterator[str | None]:
    """The URL of a user who may not create tables; None where there are no users."""
    statements = CLERKS.get(engine.dialect.name, ())
    gone = [each for each in statements if each.startswith("DROP")]
    _run(engine, [each for each in statements if each not in gone])
    clerk = make_url(url).set(username="clerk", password="pw")
    yield clerk.render_as_string(hide_password=False) if statements else None
    _run(engine, gone)


def _run(engine: Engine, statements: Iterable[str]) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement.format(database=engine.url.database)))


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_only_writers_begin_as_writers(engine: Engine, url: str) -> None:
    """On SQLite a transaction that begins to write after reading may never get the lock."""
    database = Database(url, "ours")
    begun = []

    @event.listens_for(database.engine, "before_cursor_execute")
    def _note(connection: Any, cursor: Any, statement: str, *rest: object) -> None:
        begun.extend([statement] if statement.startswith("BEGIN") else [])

    database.read(lambda connection: {})
    assert begun == ["BEGIN"]
    database.write_once("0:x", lambda connection: {}, Progress())  # creates the barrier table
    begun.clear()
    database.write_once("1:x", lambda connection: {}, Progress())
    assert begun == ["BEGIN IMMEDIATE"]
    database.close()


WAITING = {
    "mysql": ("SELECT id FROM information_schema.processlist WHERE info LIKE 'UPDATE stock%'"),
    "postgresql": "SELECT pid FROM pg_stat_activity WHERE query LIKE 'UPDATE stock%'",
}
KILL = {"mysql": "KILL {}", "postgresql": "SELECT pg_terminate_backend({})"}


@pytest.mark.parametrize("url", ["mysql", "mariadb", "postgresql"], indirect=True)
def test_a_connection_killed_before_the_commit_is_worth_repeating(
    call: Calls, engine: Engine, add: Callable[..., None]
) -> None:
    add({"id": 1, "sku": "a", "held": 0})
    config = {**BASE, "operation": "update", "data": {"held": 1}, "where": {"id": 1}}

    async def killed() -> Outcome:
        with locked(engine):
            task = asyncio.create_task(call.later(config))
            kill = KILL[engine.dialect.name].format(await updating(engine))
            with engine.connect() as connection:
                connection.execute(text(kill))
            return await task

    assert failed(call.run(killed())) == ("DatabaseUnavailable", True, Applied.NO)
    assert call(config).succeeded
    assert rows(engine, STOCK, "held") == [(1,)]


@pytest.mark.parametrize("url", ["mysql", "mariadb", "postgresql"], indirect=True)
def test_a_deadlock_is_worth_repeating(
    open_executor: Open, engine: Engine, add: Callable[..., None]
) -> None:
    """Two changes that want each other's rows: one is rolled back whole, and then succeeds."""
    add({"id": 1, "sku": "a", "held": 0}, {"id": 2, "sku": "b", "held": 0})
    call = open_executor()
    config = {**BASE, "operation": "update", "data": {"held": 1}, "where": {"id": [1, 2]}}

    async def crossed() -> Outcome:
        with engine.connect() as holder:
            holder.execute(select(STOCK).where(STOCK.c.id == 2).with_for_update())
            task = asyncio.create_task(call.later(config))
            await updating(engine)
            # Waits for row 1; the server ends one of the two, and here it is not always ours.
            await asyncio.to_thread(_tries_for_row_1, holder)
            holder.rollback()
            return await task

    outcome = call.run(crossed())
    if not outcome.succeeded:
        assert failed(outcome) == ("DatabaseUnavailable", True, Applied.NO)
        assert call(config).succeeded
    assert rows(engine, STOCK, "held") == [(1,), (1,)]
    assert barriers(engine) == [KEY]


async def updating(engine: Engine) -> int:
    """Wait until a connection is in an update; gives its id."""
    for _ in range(1000):
        with engine.connect() as connection:
            if found := connection.execute(text(WAITING[engine.dialect.name])).scalar():
                return int(found)
        await asyncio.sleep(0.01)
    raise AssertionError("nobody updates")


def _tries_for_row_1(holder: Connection) -> None:
    with suppress(OperationalError):
        holder.execute(select(STOCK).where(STOCK.c.id == 1).with_for_update())


@pytest.mark.parametrize("url", ["mysql"], indirect=True)
def test_a_table_without_transactions_is_refused(call: Calls, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE notes ENGINE=MyISAM"))
    outcome = call(note())
    assert failed(outcome) == ("NoTransactions", False, Applied.NO)
    assert "ALTER TABLE notes ENGINE=InnoDB" in message(outcome)
    assert rows(engine, NOTES) == []
    assert call({**BASE, "table": "notes", "operation": "select"}).succeeded


@pytest.mark.parametrize("url", ["mysql"], indirect=True)
@pytest.mark.parametrize("mode", ["", "ANSI_QUOTES"])
def test_a_value_that_is_too_long_is_an_error_on_a_lenient_server(
    open_executor: Open, engine: Engine, mode: str
) -> None:
    lenient = engine.url.update_query_dict({"init_command": f"SET SESSION sql_mode = '{mode}'"})
    call = open_executor(url=lenient.render_as_string(hide_password=False))
    outcome = call(note("x" * 101))
    assert failed(outcome) == ("InvalidValue", False, Applied.NO)
    assert rows(engine, NOTES) == []
