"""The connection to the ledger's database: one transaction helper, one clock.

What differs between SQLite and MySQL stands here and in `types.py`, nowhere else.
"""

import functools
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, Table, event
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    OperationalError,
)

from dist_task_pipelines.domain.errors import (
    Fault,
    InvalidConfiguration,
    LedgerUnavailable,
    RowRefused,
)

P = ParamSpec("P")
R = TypeVar("R")

BUSY_TIMEOUT = 30  # seconds a SQLite writer waits for its turn
WRITE_TRIES = 8
ROWS_PER_STATEMENT = 500
CLOCK_SYNC_INTERVAL = 60  # seconds between two looks at the database's clock

_MYSQL_TRY_AGAIN = {1205, 1213}  # lock wait timeout, deadlock
_MYSQL_REFUSES_VALUE = {1153}  # a packet larger than max_allowed_packet
_MYSQL_CONNECTION_LOST = {2006, 2013, 2014, 2055, 1053, 1927}


class Raced(Exception):
    """Another writer came between this one's read and its insert; the transaction is redone."""


class Database:
    """The ledger's database.

    Args:
        url: an SQLAlchemy URL, `sqlite:///...` or `mysql+pymysql://...`.
        pool_size: connections kept open.

    Raises:
        InvalidConfiguration: the URL is malformed or names another kind of database.
    """

    def __init__(self, url: str, *, pool_size: int = 8) -> None:
        self.engine = _create_engine(url, pool_size)
        self._writer = self.engine.execution_options(ledger_writes=True)
        self.clock = DatabaseClock(self)

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
        """A connection for reading: one consistent transaction, never committed.

        Raises:
            LedgerUnavailable: the database cannot be reached.
        """
        with self._translated(), self.engine.connect() as connection:
            yield connection

    def write(self, work: Callable[[Connection], R]) -> R:
        """Do `work` in one transaction and commit it.

        Redone from the start after a deadlock, a lock timeout, `Raced`, or a connection lost
        before the commit was sent; never after, since nobody knows whether that one counted.

        Raises:
            LedgerUnavailable: the database cannot be reached, or the commit's answer was lost.
        """
        for left in reversed(range(WRITE_TRIES)):
            try:
                return self._write_once(work)
            except (DBAPIError, Raced) as error:
                if not left or not _worth_repeating(error):
                    raise self._translate(error) from error
                time.sleep(0.01 * 2 ** (WRITE_TRIES - left))
        raise AssertionError("unreachable")

    def _write_once(self, work: Callable[[Connection], R]) -> R:
        with self._writer.connect() as connection:
            result = work(connection)
            try:
                connection.commit()
            except OperationalError as error:
                if _connection_lost(error):
                    raise self._translate(error) from error
                raise
            return result

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OperationalError as error:
            raise self._translate(error) from error

    def _translate(self, error: Exception) -> Exception:
        if isinstance(error, DataError | InterfaceError) or _code(error) in _MYSQL_REFUSES_VALUE:
            return RowRefused(f"the ledger's database refuses a value: {error.__cause__ or error}")
        if not isinstance(error, OperationalError):
            return error
        return LedgerUnavailable(
            f"the ledger's database {self.display_url} cannot be used: {error.orig}; "
            "check that it is running and that `database.url` is right"
        )

    def dispose(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()


class DatabaseClock:
    """The time by the database's clock, so that every host agrees on it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._synced_at: float | None = None
        self._offset = timedelta(0)

    def now(self) -> datetime:
        """The present moment, aware, in UTC."""
        if self._database.is_mysql and self._is_stale():
            self._sync()
        return datetime.now(UTC) + self._offset

    def _is_stale(self) -> bool:
        since = self._synced_at
        return since is None or time.monotonic() - since > CLOCK_SYNC_INTERVAL

    def _sync(self) -> None:
        with self._lock:
            if not self._is_stale():
                return
            with self._database.read() as connection:
                local = datetime.now(UTC)
                there = connection.scalar(sa.select(sa.func.utc_timestamp(6)))
            if there is not None:
                self._offset = there.replace(tzinfo=UTC) - local
            self._synced_at = time.monotonic()


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


def insert_rows(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows: one statement for each ROWS_PER_STATEMENT of them."""
    for chunk in chunks(rows, ROWS_PER_STATEMENT):
        connection.execute(sa.insert(table), chunk)


def upsert_rows(
    connection: Connection,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    *,
    replace: Iterable[str] = (),
    add: Iterable[str] = (),
) -> None:
    """Insert rows, or where the key stands already replace or add to the named columns."""
    for chunk in chunks(rows, ROWS_PER_STATEMENT):
        connection.execute(_upsert(connection, table, replace, add), chunk)


def _upsert(
    connection: Connection, table: Table, replace: Iterable[str], add: Iterable[str]
) -> sa.Insert:
    if connection.dialect.name == "sqlite":
        statement = sqlite.insert(table)
        changes: dict[str, Any] = {name: statement.excluded[name] for name in replace}
        changes |= {name: table.c[name] + statement.excluded[name] for name in add}
        return statement.on_conflict_do_update(
            index_elements=list(table.primary_key.columns), set_=changes
        )
    # VALUES(), not an alias: PyMySQL sends many rows as one statement only in this form.
    mysql_changes: dict[str, Any] = {name: sa.func.VALUES(table.c[name]) for name in replace}
    mysql_changes |= {name: table.c[name] + sa.func.VALUES(table.c[name]) for name in add}
    return mysql.insert(table).on_duplicate_key_update(mysql_changes)


def update_rows(
    connection: Connection, table: Table, key: str, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Update many rows by key, each to its own values: one statement for each chunk.

    Every row names the same columns. A column with one value for the whole chunk is set
    plainly, another by a CASE over the key.
    """
    for chunk in chunks(rows, ROWS_PER_STATEMENT):
        column = table.c[key]
        names = [name for name in chunk[0] if name != key]
        values = {name: _by_key(table.c[name], column, chunk) for name in names}
        keys = [row[key] for row in chunk]
        connection.execute(sa.update(table).where(column.in_(keys)).values(values))


def _by_key(target: sa.Column[Any], key: sa.Column[Any], rows: Sequence[Mapping[str, Any]]) -> Any:
    values = [row[target.name] for row in rows]
    if all(value == values[0] for value in values):
        return values[0]
    cases = {row[key.name]: sa.literal(row[target.name], target.type) for row in rows}
    return sa.case(cases, value=key)


def chunks(items: Sequence[R], size: int) -> Iterator[Sequence[R]]:
    """The items in runs of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _create_engine(url: str, pool_size: int) -> Engine:
    try:
        parsed = sa.make_url(url)
    except ArgumentError:
        raise InvalidConfiguration(
            [Fault("database.url", "is not a database URL, e.g. sqlite:///ledger.db")]
        ) from None
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        return _sqlite_engine(parsed, pool_size)
    if backend in ("mysql", "mariadb"):
        return sa.create_engine(
            parsed,
            isolation_level="READ COMMITTED",
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_pre_ping=True,
            pool_recycle=1800,
        )
    raise InvalidConfiguration(
        [Fault("database.url", f"{backend!r} is not supported; use sqlite or mysql+pymysql")]
    )


def _sqlite_engine(url: sa.URL, pool_size: int) -> Engine:
    engine = sa.create_engine(
        url, pool_size=pool_size, max_overflow=pool_size, connect_args={"timeout": BUSY_TIMEOUT}
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # the begin below is the only one
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writing = connection.get_execution_options().get("ledger_writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    return engine


def _worth_repeating(error: Exception) -> bool:
    if isinstance(error, Raced):
        return True
    if isinstance(error, IntegrityError) or not isinstance(error, OperationalError):
        return False
    return _connection_lost(error) or _code(error) in _MYSQL_TRY_AGAIN or _is_busy(error)


def _connection_lost(error: DBAPIError) -> bool:
    return error.connection_invalidated or _code(error) in _MYSQL_CONNECTION_LOST


def _is_busy(error: DBAPIError) -> bool:
    return isinstance(error.orig, sqlite3.OperationalError) and "locked" in str(error.orig)


def _code(error: Exception) -> object:
    arguments = getattr(getattr(error, "orig", None), "args", ())
    return arguments[0] if arguments else None
