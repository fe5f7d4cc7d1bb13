"""One participant's database: connections, reflected tables, and changes behind a barrier.

Blocking: every method is called on a thread. Knows SQLAlchemy, not tasks.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from sqlalchemy import (
    JSON,
    URL,
    Connection,
    Engine,
    MetaData,
    Table,
    create_engine,
    event,
    inspect,
    make_url,
    text,
)
from sqlalchemy.exc import DBAPIError, IntegrityError, NoSuchTableError
from sqlalchemy.pool import QueuePool

from dist_task_pipelines.domain.json import JsonObject, dumps, loads
from dist_task_pipelines.executors import barrier
from dist_task_pipelines.executors.base import Progress
from dist_task_pipelines.executors.db_errors import Contended, Refused
from dist_task_pipelines.executors.db_values import exact_type

CONNECTIONS = 8  # of one process to one database, and threads for it

_WRITES = {"dist_task_writes": True}  # an execution option: this transaction will write
_NAMES_SHOWN = 50
# So that no thread waits for a server for ever.
_TIMEOUTS: Mapping[str, Mapping[str, object]] = {
    "pymysql": {"connect_timeout": 10, "read_timeout": 60, "write_timeout": 60},
    "psycopg": {"connect_timeout": 10, "options": "-c statement_timeout=60s"},
}

_RANGES = ("int4", "int8", "num", "ts", "tstz", "date")
_AS_TEXT = (
    *("interval", "inet", "cidr"),
    *(f"{name}{kind}" for name in _RANGES for kind in ("range", "multirange")),
)
_MARIADB_JSON = text(
    "SELECT constraint_name FROM information_schema.check_constraints "
    "WHERE constraint_schema = DATABASE() AND table_name = :table AND level = 'Column' "
    "AND check_clause LIKE 'json_valid(%'"
)

Change = Callable[[Connection], JsonObject]


class Database:
    """A database that tasks work on.

    Raises:
        sqlalchemy.exc.ArgumentError: the URL is none.
        Refused: its driver is not installed.
    """

    def __init__(self, url: str, ledger_uuid: str) -> None:
        self.engine = _engine(url)
        self._has_schemas = self.engine.dialect.name == "postgresql"
        self._ledger_uuid = ledger_uuid
        self._tables: dict[str, Table] = {}
        self._has_barrier = False
        self._lock = threading.Lock()  # one thread looks at the schema, the others wait

    def table(self, name: str, columns: Iterable[str]) -> Table:
        """The table, as reflected; looked at again when a column seems to be missing.

        Raises:
            Refused: there is no such table, or no such column in it.
        """
        wanted = set(columns)
        with self._lock:
            table = self._tables.get(name)
            if table is None or not wanted <= set(table.c.keys()):
                table = self._tables[name] = self._reflected(name)
        columns = table.c.keys()
        if missing := wanted - set(columns):
            raise Refused(
                "UnknownColumn",
                f"table {name!r} has no column {_listed(missing)}; it has {_listed(columns)}",
            )
        return table

    def read(self, work: Change) -> JsonObject:
        """What `work` finds, in one transaction."""
        with self.engine.connect() as connection, connection.begin():
            return work(connection)

    def write_once(self, key: str, change: Change, progress: Progress) -> tuple[JsonObject, bool]:
        """Make the change unless it was made before with this key.

        The change and its barrier row are committed together or not at all.

        Returns:
            The output, and whether it is that of an earlier call.

        Raises:
            Refused: the key belongs to another ledger or is too long, or there is no table for
                barrier rows.
            Contended: another call with this key held it and rolled back.
            GivenUp: the caller went away before the commit; nothing was changed.
        """
        if len(key) > barrier.KEY_LENGTH:
            raise Refused(
                "InvalidKey",
                f"the idempotency key has {len(key)} characters, the most is {barrier.KEY_LENGTH}",
            )
        self._ensure_barrier()
        with self.engine.connect().execution_options(**_WRITES) as connection:
            try:
                barrier.enter(connection, key, self._ledger_uuid)
            except IntegrityError:
                connection.rollback()
                return self._earlier(connection, key), True
            output = change(connection)
            barrier.leave(connection, key, output)
            progress.send()
            connection.commit()
        return output, False

    def forget_schema(self) -> None:
        """Look at the tables again before the next operation."""
        with self._lock:
            self._tables.clear()
            self._has_barrier = False

    def close(self) -> None:
        """Close the connections that nobody uses."""
        self.engine.dispose()

    def _ensure_barrier(self) -> None:
        with self._lock:
            if not self._has_barrier:
                barrier.ensure(self.engine)
                self._has_barrier = True

    def _earlier(self, connection: Connection, key: str) -> JsonObject:
        passed = barrier.passed(connection, key)
        if passed is None:
            raise Contended("another call with the same idempotency key was under way and failed")
        if passed.ledger_uuid != self._ledger_uuid:
            raise Refused(
                "ForeignBarrier",
                f"the idempotency key {key!r} stands in {barrier.BARRIER.name} for another ledger "
                f"({passed.ledger_uuid}, this one is {self._ledger_uuid}): nothing was changed "
                "for this transaction. Ledgers that share a database need different "
                "transaction ids",
            )
        return passed.output

    def _reflected(self, name: str) -> Table:
        schema, _, plain = name.rpartition(".") if self._has_schemas else ("", "", name)
        keep_exact = partial(_keep_exact, self.engine.dialect.name, self._json_columns(name))
        try:
            return Table(
                plain,
                MetaData(schema=schema or None),
                autoload_with=self.engine,
                resolve_fks=False,
                listeners=[("column_reflect", keep_exact)],
            )
        except NoSuchTableError:
            raise Refused(
                "UnknownTable", f"there is no table {name!r}; there are {self._table_names()}"
            ) from None

    def _json_columns(self, table: str) -> frozenset[str]:
        """The columns that are JSON without being reflected so: MariaDB's are checked texts."""
        with self.engine.connect() as connection:  # it is known once there is a connection
            if not getattr(connection.dialect, "is_mariadb", False):
                return frozenset()
            return frozenset(connection.scalars(_MARIADB_JSON, {"table": table}))

    def _table_names(self) -> str:
        with suppress(DBAPIError):
            return _listed(inspect(self.engine).get_table_names())
        return "no others to be seen"


def _keep_exact(
    dialect: str, json: frozenset[str], inspector: object, table: object, column: dict[str, Any]
) -> None:
    column["type"] = JSON() if column["name"] in json else exact_type(column["type"], dialect)


def _engine(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    timeouts = _TIMEOUTS.get(parsed.get_driver_name(), {})
    try:
        engine = create_engine(
            parsed,
            connect_args={k: v for k, v in timeouts.items() if k not in parsed.query},
            json_deserializer=loads,
            json_serializer=dumps,
            max_overflow=0,
            pool_pre_ping=True,
            pool_size=CONNECTIONS,
            poolclass=QueuePool,
        )
    except ImportError as error:
        raise Refused("InvalidConfig", _how_to_install(parsed, error)) from None
    if prepare := _PREPARE.get(engine.dialect.name):
        prepare(engine)
    return engine


def _how_to_install(url: URL, error: ImportError) -> str:
    if url.get_driver_name() == "psycopg":
        return f"{error}: pip install 'dist-task-pipelines[postgresql]'"
    return f"the driver of {url.drivername} is not installed: {error}"


def _begin_explicitly(engine: Engine) -> None:
    """SQLite: writers begin as writers, or two of them would lock each other out.

    Python's own handling begins as a reader and asks for the write lock later, when a
    second writer cannot wait any more.
    """

    @event.listens_for(engine, "connect")
    def _leave_transactions_alone(connection: Any, record: object) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("dist_task_writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _be_strict(engine: Engine) -> None:
    """MySQL: a value that does not fit is an error, also where the server would cut it."""

    @event.listens_for(engine, "connect")
    def _set_mode(connection: Any, record: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "SET SESSION sql_mode = CONCAT(@@SESSION.sql_mode, ',STRICT_ALL_TABLES')"
            )


def _read_as_text(engine: Engine) -> None:
    """PostgreSQL: what psycopg would make something of that JSON has nothing for, or less.

    An interval of a month, say, would become 30 days.
    """

    @event.listens_for(engine, "connect")
    def _set_loaders(connection: Any, record: object) -> None:
        from psycopg.types.string import TextLoader  # noqa: PLC0415

        for name in _AS_TEXT:
            connection.adapters.register_loader(name, TextLoader)


_PREPARE: Mapping[str, Callable[[Engine], None]] = {
    "sqlite": _begin_explicitly,
    "mysql": _be_strict,
    "mariadb": _be_strict,
    "postgresql": _read_as_text,
}


def _listed(names: Iterable[str]) -> str:
    names = sorted(names)
    shown = ", ".join(names[:_NAMES_SHOWN]) or "none"
    return shown if len(names) <= _NAMES_SHOWN else f"{shown} and {len(names) - _NAMES_SHOWN} more"
