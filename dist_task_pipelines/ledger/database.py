"""The connection to the ledger's database: one transaction helper, one clock.

What differs between SQLite and MySQL stands here, in `types.py` and in `bulk.py`; one hint for
MySQL stands in `tables.py`.
"""

import functools
import hashlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    InterfaceError,
    OperationalError,
    StatementError,
    TimeoutError,
)
from sqlalchemy.pool import NullPool

from dist_task_pipelines.domain.clock import Clock, SystemClock, uptime
from dist_task_pipelines.domain.errors import (
    DistTaskError,
    Fault,
    InvalidConfiguration,
    LedgerUnavailable,
    RowRefused,
)
from dist_task_pipelines.ledger.pooling import NOTHING_ON_RETURN, answering_within, ping_idle

P = ParamSpec("P")
R = TypeVar("R")

BUSY_TIMEOUT = 30  # seconds a SQLite writer waits for its turn
WAL_PAUSE = 0.01  # seconds between two tries to switch a file to its write-ahead log
WRITE_TRIES = 8
LEAST_PACKET = 16 * 2**20  # bytes that MySQL must take in one statement; MariaDB's default
CLOCK_SYNC_INTERVAL = 60  # seconds between two looks at the database's clock
MIGRATION_WAIT = 600  # seconds to wait for another process that migrates

# All in seconds. A host that vanishes, or stands still, keeps its locks on MySQL for as long as a
# session may be idle. Whoever asks a server that vanishes waits for an answer, and no write is
# begun again after that time; a statement gives up waiting for a lock before.
IDLE_SESSION_LIMIT = 60
ANSWER_TIMEOUT = 75
LOCK_TIMEOUT = 50  # MySQL's default
CLOCK_ANSWER_LIMIT = 2.0  # an older answer does not tell the time

_MYSQL_TRY_AGAIN = {1205, 1213}  # lock wait timeout, deadlock
_MYSQL_REFUSES_VALUE = {1366}  # not in the character set
_MYSQL_TOO_LARGE = 1153
_MYSQL_READ_ONLY = {1290, 1836}  # after a failover the server is a replica
_MYSQL_CONNECTION_LOST = {2006, 2013, 2014, 2055, 1053, 1927}

# What drivers raise for a value that they cannot even send.
_REFUSED_BY_DRIVER = (DataError, InterfaceError, UnicodeEncodeError, OverflowError)


class Raced(Exception):
    """Another writer came between this one's read and its insert; the transaction is redone."""


class Database:
    """The ledger's database.

    Args:
        url: an SQLAlchemy URL, `sqlite:///...` or `mysql+pymysql://...`.
        clock: tells the time; by default MySQL's own clock, for SQLite the machine's.
        pool_size: connections kept open.

    Raises:
        InvalidConfiguration: the URL is malformed or names another kind of database.
    """

    def __init__(self, url: str, *, clock: Clock | None = None, pool_size: int = 8) -> None:
        self.engine = _create_engine(url, pool_size)
        self._writer = self.engine.execution_options(ledger_writes=True)
        self.clock: Clock = clock or (DatabaseClock(self) if self.is_mysql else SystemClock())
        self._max_packet = LEAST_PACKET

    @property
    def display_url(self) -> str:
        """The URL with its password hidden."""
        return self.engine.url.render_as_string(hide_password=True)

    @property
    def is_mysql(self) -> bool:
        """Whether this is MySQL or MariaDB."""
        return self.engine.dialect.name in ("mysql", "mariadb")

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for reading, never committed.

        Raises:
            LedgerUnavailable: the database cannot be reached.
            RowRefused: it cannot take one of the values asked for.
        """
        with self._translated(), self.engine.connect() as connection:
            yield connection

    def write(self, work: Callable[[Connection], R]) -> R:
        """Do `work` in one transaction and commit it.

        Redone from the start after a deadlock, a lock timeout, `Raced`, or a connection lost
        before the commit was sent; never after, since nobody knows whether that one counted.

        Raises:
            LedgerUnavailable: the database cannot be reached, or the commit's answer was lost.
            RowRefused: it cannot take one of the values.
        """
        with self._translated():
            give_up = uptime() + ANSWER_TIMEOUT
            for left in reversed(range(WRITE_TRIES)):
                try:
                    return self._write_once(work)
                except (DBAPIError, Raced) as error:
                    if not left or uptime() >= give_up or not _worth_repeating(error):
                        raise
                    time.sleep(0.01 * 2 ** (WRITE_TRIES - left))
        raise AssertionError("unreachable")

    def _write_once(self, work: Callable[[Connection], R]) -> R:
        with self._writer.connect() as connection:
            try:
                result = work(connection)
            except DBAPIError as error:
                if self._is_too_large(error):
                    connection.invalidate()  # the server hangs up; a rollback would hide why
                    raise _refused(error) from error
                raise
            try:
                connection.commit()
            except DBAPIError as error:
                if _connection_lost(error):
                    raise self._translate(error) from error
                raise
            return result

    def check_limits(self) -> None:
        """Refuse a MySQL server that cannot take the ledger's larger statements.

        It would hang up on them, which looks like a server that went away.

        Raises:
            LedgerUnavailable: it cannot, or cannot be reached.
        """
        if not self.is_mysql:
            return
        with self.read() as connection:
            most = connection.scalar(sa.text("SELECT @@max_allowed_packet"))
        self._max_packet = most
        if most < LEAST_PACKET:
            raise LedgerUnavailable(
                f"the ledger {self.display_url} takes statements of at most {most} bytes; "
                f"set max_allowed_packet to {LEAST_PACKET} or more on the server"
            )

    @contextmanager
    def alone(self) -> Iterator[Connection]:
        """A connection for migrating, which one process at a time gets; committed at the end.

        Raises:
            LedgerUnavailable: the database cannot be reached, or another process migrates it
                for longer than MIGRATION_WAIT.
        """
        with self._translated(), self._patient() as engine, engine.connect() as connection:
            if not self.is_mysql:  # its writing transaction, DDL included, keeps others out
                yield connection
                connection.commit()
                return
            digest = hashlib.sha256((self.engine.url.database or "").encode()).hexdigest()
            name = f"dist_task_{digest[:32]}"  # names of locks are the whole server's
            if not connection.scalar(sa.select(sa.func.get_lock(name, MIGRATION_WAIT))):
                raise LedgerUnavailable(
                    f"another process has been migrating the ledger {self.display_url} for "
                    f"{MIGRATION_WAIT} seconds; end it, then migrate again"
                )
            try:
                yield connection
                connection.commit()
            finally:
                connection.rollback()
                connection.scalar(sa.select(sa.func.release_lock(name)))

    def clock_reading(self) -> tuple[datetime, float]:
        """What MySQL's clock says, and what `uptime` said then; on a connection of its own.

        The pool's may all be in the hands of callers who wait for the time.

        Raises:
            LedgerUnavailable: the database cannot be reached.
        """
        connect_args = answering_within(ANSWER_TIMEOUT, self.engine.url)
        engine = sa.create_engine(self.engine.url, poolclass=NullPool, connect_args=connect_args)
        with self._translated(), engine.connect() as connection:
            before = uptime()
            there: datetime = connection.scalars(sa.select(sa.func.utc_timestamp(6))).one()
            after = uptime()
        return there.replace(tzinfo=UTC), (before + after) / 2

    @contextmanager
    def _patient(self) -> Iterator[Engine]:
        """An engine that writes, and lets the server work on one statement as long as it likes."""
        if not self.is_mysql:
            yield self._writer
            return
        engine = _mysql_engine(self.engine.url, 1, answer_timeout=None)
        try:
            yield engine
        finally:
            engine.dispose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            translated = self._translate(error)
            if translated is error:
                raise
            raise translated from error

    def _translate(self, error: Exception) -> Exception:
        if _refuses_value(error):
            return _refused(error)
        unusable = isinstance(error, OperationalError | InterfaceError | TimeoutError | Raced)
        if not unusable and not _is_no_database(error):
            return error
        return LedgerUnavailable(
            f"the ledger's database {self.display_url} cannot be used: "
            f"{getattr(error, 'orig', None) or error}; {self._advice}"
        )

    @property
    def _advice(self) -> str:
        advice = "check that it is running and that `database.url` is right"
        return advice if self.is_mysql else f"{advice}; `dist-task migrate` makes a new one"

    def _is_too_large(self, error: DBAPIError) -> bool:
        """Whether MySQL hung up on a statement because it is over max_allowed_packet.

        It does so before the statement has arrived, so its answer is seldom read.
        """
        hung_up = _connection_lost(error) and _bytes_sent(error) > self._max_packet
        return hung_up or _code(error) == _MYSQL_TOO_LARGE

    def dispose(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()


class DatabaseClock:
    """The time by MySQL's clock, so that every host agrees on it.

    It goes on by this machine's uptime between two looks: no step of the machine's own clock, as
    at its first adjustment after a start, can end a lease.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._read: tuple[datetime, float] | None = None  # the time, and the uptime then
        self._look_again_at = 0.0

    def now(self) -> datetime:
        """The present moment, aware, in UTC.

        Raises:
            LedgerUnavailable: the database cannot be reached, and never was.
        """
        if self._is_stale() and self._lock.acquire(blocking=self._read is None):
            try:
                if self._is_stale():
                    self._sync()
            finally:
                self._lock.release()
        assert self._read
        moment, then = self._read
        return moment + timedelta(seconds=uptime() - then)

    def _is_stale(self) -> bool:
        return self._read is None or uptime() > self._look_again_at

    def _sync(self) -> None:
        began = uptime()
        try:
            found = self._database.clock_reading()
        except LedgerUnavailable:  # the time goes on nevertheless
            if self._read is None:
                raise
        else:
            if self._read is None or uptime() - began < CLOCK_ANSWER_LIMIT:
                self._read = found
        self._look_again_at = uptime() + CLOCK_SYNC_INTERVAL


class Store(Protocol):
    """Whatever has a database: what `reads` and `writes` decorate the methods of."""

    database: Database


S = TypeVar("S", bound=Store)


def reads(
    method: Callable[Concatenate[S, Connection, P], R],
) -> Callable[Concatenate[S, P], R]:
    """Run a store's method in one reading transaction; callers leave out `connection`."""

    @functools.wraps(method)
    def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self.database.read() as connection:
            return method(self, connection, *args, **kwargs)

    return call


def writes(
    method: Callable[Concatenate[S, Connection, P], R],
) -> Callable[Concatenate[S, P], R]:
    """Run a store's method in one writing transaction; callers leave out `connection`."""

    @functools.wraps(method)
    def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.database.write(lambda connection: method(self, connection, *args, **kwargs))

    return call


def _create_engine(url: str, pool_size: int) -> Engine:
    try:
        parsed = sa.make_url(url)
    except ArgumentError:
        raise _wrong_url("is not a database URL, e.g. sqlite:////var/lib/ledger.db") from None
    if parsed.drivername in ("sqlite", "sqlite+pysqlite"):
        if parsed.database in (None, "", ":memory:"):
            raise _wrong_url("names no file; a ledger in memory would be lost with its process")
        return _sqlite_engine(parsed, pool_size)
    if parsed.drivername in ("mysql+pymysql", "mariadb+pymysql"):
        return _mysql_engine(parsed, pool_size, answer_timeout=ANSWER_TIMEOUT)
    raise _wrong_url(f"{parsed.drivername!r} is not supported; use sqlite or mysql+pymysql")


def _wrong_url(message: str) -> InvalidConfiguration:
    return InvalidConfiguration([Fault("database.url", message)])


def _mysql_engine(url: sa.URL, pool_size: int, *, answer_timeout: float | None) -> Engine:
    engine = sa.create_engine(
        url,
        isolation_level="READ COMMITTED",
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_recycle=1800,
        hide_parameters=True,
        connect_args={
            "sql_mode": "TRADITIONAL",  # an error for what would be cut silently
            **(answering_within(answer_timeout, url) if answer_timeout else {}),
        },
        **NOTHING_ON_RETURN,
    )
    ping_idle(engine)

    @event.listens_for(engine, "connect")
    def limit(connection: Any, _record: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                f"SET SESSION wait_timeout = {IDLE_SESSION_LIMIT}, innodb_lock_wait_timeout = "
                f"CAST(LEAST(@@innodb_lock_wait_timeout, {LOCK_TIMEOUT}) AS UNSIGNED)"
            )

    @event.listens_for(engine, "handle_error")
    def leave_a_replica(context: sa.engine.ExceptionContext) -> None:
        if next(iter(context.original_exception.args), None) in _MYSQL_READ_ONLY:
            context.is_disconnect = True

    return engine


def _sqlite_engine(url: sa.URL, pool_size: int) -> Engine:
    engine = sa.create_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        hide_parameters=True,
        connect_args={"timeout": BUSY_TIMEOUT},
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # the begin below is the only one
        use_wal(connection)
        connection.execute("PRAGMA synchronous = FULL")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writing = connection.get_execution_options().get("ledger_writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    return engine


def use_wal(connection: sqlite3.Connection) -> None:
    """Keep a write-ahead log; the first switch of a file does not wait for others by itself."""
    until = time.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(WAL_PAUSE)


def _worth_repeating(error: DBAPIError | Raced) -> bool:
    if isinstance(error, Raced):
        return True
    return _connection_lost(error) or _code(error) in _MYSQL_TRY_AGAIN or _is_busy(error)


def _refuses_value(error: Exception) -> bool:
    if isinstance(error, DBAPIError) and _connection_lost(error):
        return False
    if isinstance(error, _REFUSED_BY_DRIVER) or _code(error) in _MYSQL_REFUSES_VALUE:
        return True
    return isinstance(error, StatementError) and isinstance(error.orig, DistTaskError)


def _refused(error: Exception) -> RowRefused:
    cause = getattr(error, "orig", None) or error
    return RowRefused(f"the ledger's database refuses a value: {cause}")


def _is_no_database(error: Exception) -> bool:
    """Whether SQLite finds that the file is something else, or damaged."""
    code = getattr(getattr(error, "orig", None), "sqlite_errorcode", None)
    return code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)


def _connection_lost(error: DBAPIError) -> bool:
    return error.connection_invalidated or _code(error) in _MYSQL_CONNECTION_LOST


def _bytes_sent(error: DBAPIError) -> int:
    """About how long the statement was; of many rows the longest, since PyMySQL sends parts."""
    rows = error.params if isinstance(error.params, list) else [error.params or {}]
    return len(error.statement or "") + max(map(_bytes_of, rows))


def _bytes_of(row: Any) -> int:
    values = row.values() if isinstance(row, Mapping) else row
    texts = (value for value in values if isinstance(value, str))
    return sum(len(text.encode(errors="replace")) + _escapes(text) for text in texts)


def _escapes(text: str) -> int:
    """How many backslashes PyMySQL writes into the text."""
    return sum(map(text.count, "\0\n\r\x1a\"'\\"))


def _is_busy(error: DBAPIError) -> bool:
    return isinstance(error.orig, sqlite3.OperationalError) and "locked" in str(error.orig)


def _code(error: Exception) -> object:
    arguments = getattr(getattr(error, "orig", None), "args", ())
    return arguments[0] if arguments else None
