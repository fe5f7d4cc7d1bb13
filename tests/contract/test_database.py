"""The connection: times, retries of a write, values and servers that refuse."""

import itertools
import sqlite3
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Self

import pymysql
import pytest
import sqlalchemy as sa
from sqlalchemy import Connection, event

from dist_task_pipelines.domain.clock import uptime
from dist_task_pipelines.domain.errors import (
    InvalidConfiguration,
    InvalidJson,
    LedgerUnavailable,
    NotFound,
    RowRefused,
)
from dist_task_pipelines.ledger import Ledger, pooling, tables
from dist_task_pipelines.ledger import database as database_module
from dist_task_pipelines.ledger.bulk import update_rows
from dist_task_pipelines.ledger.database import (
    CLOCK_SYNC_INTERVAL,
    Database,
    DatabaseClock,
    Raced,
    use_wal,
)
from tests.contract.steps import (
    SteppableClock,
    a_failed_transaction,
    a_flow,
    a_submission,
    ask,
    build,
    submit,
    together,
)

ONLY_MYSQL = pytest.mark.parametrize("ledger_url", ["mysql"], indirect=True)
ONLY_SQLITE = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)


def connections_left(ledger: Ledger) -> int:
    """How many of the pool's connections somebody still holds."""
    return ledger.database.engine.pool.checkedout()  # type: ignore[attr-defined,no-any-return]


# Times


def test_times_keep_their_microseconds_and_are_utc(ledger: Ledger, clock: SteppableClock) -> None:
    clock.moment = datetime(2031, 12, 31, 23, 59, 59, 999999, UTC)
    [record] = submit(ledger, a_flow(ledger), "a")
    assert ledger.transactions.get("a").created_at == record.created_at == clock.moment
    assert record.created_at.tzinfo is UTC


def test_times_in_other_zones_are_kept_as_utc(ledger: Ledger) -> None:
    [record] = submit(ledger, a_flow(ledger), "a")
    east = datetime.fromisoformat("2030-02-01T01:00:00.000001+13:45")

    def work(connection: Connection) -> None:
        connection.execute(sa.update(tables.transaction).values(next_due_at=east))

    ledger.database.write(work)
    kept = ledger.transactions.get("a").next_due_at
    assert kept == east
    assert kept
    assert kept.tzinfo is UTC
    assert record.next_due_at != kept


def test_a_time_without_a_zone_is_not_written(ledger: Ledger) -> None:
    submit(ledger, a_flow(ledger), "a")
    naive = datetime(2030, 1, 1)

    def work(connection: Connection) -> None:
        connection.execute(sa.update(tables.transaction).values(next_due_at=naive))

    with pytest.raises(sa.exc.StatementError, match="has no time zone; the ledger keeps UTC"):
        ledger.database.write(work)


def test_the_ledger_tells_its_clock(ledger: Ledger, clock: SteppableClock) -> None:
    assert ledger.clock is clock


@ONLY_SQLITE
def test_on_sqlite_the_time_is_the_machines(ledger_url: str) -> None:
    database = Database(ledger_url)
    before = datetime.now(UTC)
    now = database.clock.now()
    assert before <= now <= datetime.now(UTC)
    database.dispose()


@pytest.fixture
def mysql_an_hour_ahead(
    ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Database, list[str]]]:
    """A database whose server's clock is an hour ahead of this machine's, and its logins."""
    logins: list[str] = []

    def set_clock(connection: pymysql.connections.Connection, _record: object) -> None:
        ahead = datetime.now(UTC) + timedelta(hours=1)
        connection.cursor().execute(f"SET timestamp = {ahead.timestamp():.6f}")
        logins.append("login")

    event.listen(sa.pool.Pool, "connect", set_clock)
    database = Database(ledger_url)
    yield database, logins
    event.remove(sa.pool.Pool, "connect", set_clock)
    database.dispose()


@ONLY_MYSQL
def test_on_mysql_the_time_is_the_servers(
    mysql_an_hour_ahead: tuple[Database, list[str]],
) -> None:
    database, _ = mysql_an_hour_ahead
    ahead = database.clock.now() - datetime.now(UTC)
    assert timedelta(minutes=59) < ahead < timedelta(minutes=61)


@ONLY_MYSQL
def test_the_servers_clock_is_looked_at_once_in_a_while(
    mysql_an_hour_ahead: tuple[Database, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    database, logins = mysql_an_hour_ahead
    for _ in range(5):
        database.clock.now()
    assert len(logins) == 1
    later = uptime() + CLOCK_SYNC_INTERVAL + 1
    monkeypatch.setattr(database_module, "uptime", lambda: later)
    database.clock.now()
    assert len(logins) == 2


@ONLY_MYSQL
def test_the_time_goes_on_while_the_server_cannot_be_asked(
    mysql_an_hour_ahead: tuple[Database, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    database, logins = mysql_an_hour_ahead
    began, then = database.clock.now(), uptime()

    def no_login(*_arguments: object) -> None:
        logins.append("refused")
        raise pymysql.err.OperationalError(1040, "Too many connections")

    monkeypatch.setattr(pymysql.connections.Connection, "connect", no_login)
    later = uptime() + CLOCK_SYNC_INTERVAL + 1
    monkeypatch.setattr(database_module, "uptime", lambda: later)
    for _ in range(3):
        passed = (database.clock.now() - began).total_seconds()
        assert passed == pytest.approx(later - then, abs=1)
    assert logins == ["login", "refused"]
    with pytest.raises(LedgerUnavailable, match="Too many connections"):
        DatabaseClock(database).now()


@ONLY_MYSQL
def test_an_answer_that_took_long_does_not_tell_the_time(
    ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(ledger_url)
    before = database.clock.now()
    skipped = 0.0
    monkeypatch.setattr(database_module, "uptime", lambda: uptime() + skipped)

    def slow() -> tuple[datetime, float]:
        nonlocal skipped
        skipped += 30
        return before - timedelta(hours=1), uptime() + skipped

    monkeypatch.setattr(database, "clock_reading", slow)
    skipped = CLOCK_SYNC_INTERVAL + 1
    assert database.clock.now() - before > timedelta(seconds=CLOCK_SYNC_INTERVAL)
    assert skipped == CLOCK_SYNC_INTERVAL + 31
    database.dispose()


@ONLY_MYSQL
def test_nobody_waits_while_another_asks_for_the_time(
    ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(ledger_url)
    database.clock.now()
    asking, go_on = threading.Event(), threading.Event()

    def hang() -> tuple[datetime, float]:
        asking.set()
        assert go_on.wait(30)
        raise LedgerUnavailable("no answer")

    monkeypatch.setattr(database, "clock_reading", hang)
    later = uptime() + CLOCK_SYNC_INTERVAL + 1
    monkeypatch.setattr(database_module, "uptime", lambda: later)
    other = threading.Thread(target=database.clock.now)
    other.start()
    assert asking.wait(30)
    database.clock.now()
    assert other.is_alive()
    go_on.set()
    other.join()
    database.dispose()


@ONLY_MYSQL
def test_a_step_of_the_machines_clock_moves_nothing(
    ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stepped(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + timedelta(minutes=5)

    database = Database(ledger_url)
    before = database.clock.now()
    monkeypatch.setattr(database_module, "datetime", Stepped)
    assert database.clock.now() - before < timedelta(minutes=1)
    database.dispose()


def test_writers_that_need_the_time_do_not_wait_for_each_others_connections(
    ledger_url: str, ledger: Ledger
) -> None:
    flow = a_flow(ledger)
    fresh = Ledger(ledger_url, build)  # it has not looked at the server's clock yet
    size = 2 * fresh.database.engine.pool.size()  # type: ignore[attr-defined]
    answers = together(*(lambda n=n: len(submit(fresh, flow, f"a{n}")) for n in range(size + 4)))
    fresh.close()
    assert answers == [1] * (size + 4)


# Writes


class Work:
    """A write that fails the first times."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self, connection: Connection) -> str:
        self.calls += 1
        connection.execute(sa.delete(tables.log))
        if self.errors:
            raise self.errors.pop(0)
        return "done"


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that retries would have waited."""
    waits: list[float] = []
    monkeypatch.setattr("dist_task_pipelines.ledger.database.time.sleep", waits.append)
    return waits


def refused_by_mysql(code: int) -> sa.exc.OperationalError:
    return sa.exc.OperationalError("UPDATE", {}, pymysql.err.OperationalError(code, "no"))


@pytest.mark.parametrize("error", [Raced(), refused_by_mysql(1213), refused_by_mysql(1205)])
def test_a_write_that_was_raced_or_deadlocked_is_done_again(
    ledger: Ledger, error: Exception, no_waiting: list[float]
) -> None:
    work = Work(error, error)
    assert ledger.database.write(work) == "done"
    assert work.calls == 3
    assert no_waiting == sorted(no_waiting)
    assert connections_left(ledger) == 0


@pytest.mark.parametrize("error", [Raced(), refused_by_mysql(1213)])
def test_a_write_is_given_up_in_the_end(
    ledger: Ledger, error: Exception, no_waiting: list[float]
) -> None:
    work = Work(*[error] * 100)
    with pytest.raises(LedgerUnavailable):
        ledger.database.write(work)
    assert work.calls == 8
    assert connections_left(ledger) == 0


def test_a_write_is_not_begun_again_after_a_wait_for_an_answer(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    hours = itertools.count()
    monkeypatch.setattr(database_module, "uptime", lambda: 3600.0 * next(hours))
    work = Work(*[refused_by_mysql(2013)] * 2)
    with pytest.raises(LedgerUnavailable):
        ledger.database.write(work)
    assert work.calls == 1


def test_any_other_error_is_raised_as_it_is_and_nothing_written(ledger: Ledger) -> None:
    submit(ledger, a_flow(ledger), "a")
    for error in (NotFound("thing", 1), KeyError("x")):
        work = Work(error)
        with pytest.raises(type(error)) as caught:
            ledger.database.write(work)
        assert caught.value is error
        assert work.calls == 1
    assert len(ledger.transactions.logs("a")) == 1
    assert connections_left(ledger) == 0


@ONLY_MYSQL
def test_a_connection_that_dies_before_the_commit_is_replaced(ledger: Ledger) -> None:
    submit(ledger, a_flow(ledger), "a")
    killed: list[int] = []

    def work(connection: Connection) -> None:
        if not killed:
            killed.append(connection.scalar(sa.text("SELECT CONNECTION_ID()")))
            ledger.database.write(lambda other: other.execute(sa.text(f"KILL {killed[0]}")))
        connection.execute(sa.delete(tables.log))

    ledger.database.write(work)
    assert ledger.transactions.logs("a") == []
    assert killed


@ONLY_MYSQL
def test_a_connection_that_died_while_nobody_used_it_is_replaced(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = ledger.database
    with database.read() as other:
        with database.read() as one:
            idle = one.scalar(sa.text("SELECT CONNECTION_ID()"))
        other.execute(sa.text(f"KILL {idle}"))
    monkeypatch.setattr(pooling, "IDLE", 0)
    with database.read() as one, database.read() as two:
        assert [each.scalar(sa.text("SELECT 1")) for each in (one, two)] == [1, 1]


@ONLY_MYSQL
def test_whoever_goes_away_in_the_middle_lets_go_of_what_it_locked(
    ledger_url: str, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "IDLE_SESSION_LIMIT", 1)
    gone = Database(ledger_url)
    locked = sa.select(tables.ledger_identity).with_for_update()
    with gone.engine.connect() as silent:
        silent.execute(locked)  # and then nothing, as of a host that lost its power
        ledger.database.write(lambda connection: connection.execute(locked).all())
        with pytest.raises(sa.exc.OperationalError):
            silent.execute(locked)
    gone.dispose()


@ONLY_MYSQL
def test_nobody_waits_long_for_a_server_that_does_not_answer(
    ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "ANSWER_TIMEOUT", 1)
    database = Database(ledger_url)
    with pytest.raises(LedgerUnavailable, match="timed out"), database.read() as connection:
        connection.execute(sa.text("SELECT SLEEP(30)"))
    with database.alone() as connection:  # a migration takes its time
        assert connection.scalar(sa.text("SELECT SLEEP(2)")) == 0
    database.dispose()


@ONLY_MYSQL
def test_a_server_that_became_a_replica_is_left(ledger: Ledger) -> None:
    found: list[int] = []

    def work(connection: Connection) -> None:
        found.append(connection.scalar(sa.text("SELECT CONNECTION_ID()")))
        if len(found) == 1:
            connection.exec_driver_sql(
                "SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1290, MESSAGE_TEXT = 'read-only'"
            )

    ledger.database.write(work)
    assert len(set(found)) == 2


@ONLY_MYSQL
def test_a_commit_whose_answer_is_lost_is_not_done_again(ledger: Ledger) -> None:
    work = Work()

    def kill(connection: Connection) -> None:
        number = connection.scalar(sa.text("SELECT CONNECTION_ID()"))
        with ledger.database.engine.connect() as other:
            other.execute(sa.text(f"KILL {number}"))

    writer = ledger.database._writer
    event.listen(writer, "commit", kill)
    try:
        with pytest.raises(LedgerUnavailable):
            ledger.database.write(work)
    finally:
        event.remove(writer, "commit", kill)
    assert work.calls == 1


def test_whoever_opens_a_new_file_waits_for_others_that_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (sqlite3.connect(tmp_path / "new.db", timeout=0) for _ in range(2))
    first.execute("CREATE TABLE made_first (id)")
    first.execute("BEGIN")
    first.execute("SELECT * FROM made_first")  # a reader keeps the file from being switched
    monkeypatch.setattr(time, "sleep", lambda _: first.rollback())
    use_wal(second)
    assert second.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    for connection in (first, second):
        connection.close()


@ONLY_SQLITE
def test_a_write_has_its_turn_before_it_reads(ledger: Ledger, ledger_url: str) -> None:
    """A writer that reads first and writes later is refused at once where another wrote."""
    other = sqlite3.connect(str(sa.make_url(ledger_url).database), timeout=0)

    def work(connection: Connection) -> None:
        connection.execute(sa.select(tables.log))
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")

    ledger.database.write(work)
    with ledger.database.read() as connection:
        connection.execute(sa.select(tables.log))
        other.execute("BEGIN IMMEDIATE")
    other.close()


@ONLY_SQLITE
def test_what_is_committed_is_on_the_disk(ledger: Ledger) -> None:
    assert ask(ledger, "PRAGMA journal_mode") == [("wal",)]
    assert ask(ledger, "PRAGMA synchronous") == [(2,)], "FULL"


@ONLY_MYSQL
def test_mysql_reads_what_is_committed(ledger: Ledger) -> None:
    with ledger.database.read() as connection:
        assert connection.get_isolation_level() == "READ COMMITTED"


@ONLY_MYSQL
def test_writers_in_a_deadlock_both_get_through(ledger: Ledger) -> None:
    submit(ledger, a_flow(ledger), "a", "b")
    met = threading.Barrier(2, timeout=60)
    tries: list[str] = []

    def locking(first: str, second: str) -> str:
        def work(connection: Connection) -> str:
            again = first in tries
            tries.append(first)
            for name in (first, second):
                where = tables.transaction.c.id == name
                change = tables.transaction.c.lease_losses + 1
                connection.execute(
                    sa.update(tables.transaction).where(where).values(lease_losses=change)
                )
                if name == first and not again:
                    met.wait()
            return first

        return ledger.database.write(work)

    assert together(lambda: locking("a", "b"), lambda: locking("b", "a")) == ["a", "b"]
    assert len(tries) == 3, "one of them was the victim, once"
    assert [ledger.transactions.get(name).lease_losses for name in "ab"] == [2, 2]


def test_many_rows_are_changed_each_to_its_own_values(ledger: Ledger) -> None:
    records = submit(ledger, a_flow(ledger), *(f"a{n}" for n in range(1203)))
    rows = [
        {"seq": r.seq, "lease_losses": n, "error_message": None if n % 3 else f"'{n}'"}
        for n, r in enumerate(records)
    ]
    ledger.database.write(lambda c: update_rows(c, tables.transaction, "seq", rows))
    found = ask(ledger, "SELECT seq, lease_losses, error_message FROM task_group_instance")
    assert sorted(found) == [tuple(row.values()) for row in rows]


# Refusals


def test_a_value_that_cannot_be_sent_is_refused(ledger: Ledger) -> None:
    flow = a_flow(ledger)
    with pytest.raises(RowRefused, match="surrogates not allowed"):
        ledger.transactions.add([a_submission("\ud800", flow)])
    with pytest.raises(InvalidJson, match="not a JSON value"):
        submit(ledger, flow, "a", params={"x": b"bytes"})
    assert ledger.transactions.page() == []


@ONLY_MYSQL
def test_a_value_that_is_too_long_is_refused_not_cut(ledger: Ledger) -> None:
    flow = a_flow(ledger)
    with pytest.raises(RowRefused, match="Data too long for column 'id'"):
        submit(ledger, flow, "x" * 129)
    relaxed = ledger.database.engine
    with relaxed.connect() as connection:
        assert "STRICT_ALL_TABLES" in str(connection.scalar(sa.text("SELECT @@sql_mode")))


@ONLY_MYSQL
def test_a_server_that_takes_only_small_statements_is_not_used(
    ledger: Ledger, ledger_url: str
) -> None:
    [(most,)] = ask(ledger, "SELECT @@max_allowed_packet")
    with ledger.database.engine.connect() as connection:
        connection.execute(sa.text("SET GLOBAL max_allowed_packet = 1048576"))
        try:
            with pytest.raises(LedgerUnavailable, match="set max_allowed_packet to 16777216"):
                Ledger(ledger_url, build)
        finally:
            connection.execute(sa.text(f"SET GLOBAL max_allowed_packet = {most}"))


def test_an_error_names_no_values(ledger: Ledger) -> None:
    exception = a_failed_transaction(ledger, a_flow(ledger), "a")

    def twice(connection: Connection) -> None:
        row = {"flow_id": "secret-value", "minute": exception.occurred_at, "total": 1}
        for _ in range(2):
            connection.execute(sa.insert(tables.flow_stats), {**row, "measure": "success"})

    with pytest.raises(sa.exc.IntegrityError) as caught:
        ledger.database.write(twice)
    assert "2030" not in str(caught.value).split("[SQL", 1)[1]
    assert "SQL parameters hidden" in str(caught.value)


# URLs


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ledger.db", "is not a database URL"),
        ("", "is not a database URL"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("postgresql://u:secret@h/d", "'postgresql' is not supported"),
        ("mysql://u:secret@h/d", "'mysql' is not supported; use sqlite or mysql.pymysql"),
        ("mysql+nodriver://u:secret@h/d", "is not supported"),
    ],
)
def test_a_url_that_cannot_be_used_is_explained(url: str, words: str) -> None:
    with pytest.raises(InvalidConfiguration, match=words) as caught:
        Database(url)
    [fault] = caught.value.faults
    assert fault.path == "database.url"
    assert "secret" not in str(caught.value)


def test_a_database_that_cannot_be_reached_is_unavailable_and_its_password_hidden(
    ledger_url: str,
) -> None:
    wrong = {
        "sqlite": "sqlite:////nowhere/at/all/ledger.db",
        "mysql": "mysql+pymysql://user:secret@127.0.0.1:1/ledger",
    }[sa.make_url(ledger_url).get_backend_name()]
    for opening in (lambda: Ledger(wrong, build), lambda: Database(wrong).write(Work())):
        with pytest.raises(LedgerUnavailable, match=r"cannot be used: .*; check that it") as caught:
            opening()
        assert "secret" not in str(caught.value)
        assert str(sa.make_url(wrong)).replace("secret", "***") in str(caught.value)


def test_a_pool_that_is_used_up_is_unavailable(
    ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(ledger_url, pool_size=1)
    monkeypatch.setattr(database.engine.pool, "_timeout", 0)
    with (
        database.read(),
        database.read(),
        pytest.raises(LedgerUnavailable, match="QueuePool"),
        database.read(),
    ):
        pass
    database.dispose()
