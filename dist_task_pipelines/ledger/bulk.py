"""Many rows in a few statements.

MySQL is sent one JSON document of those columns that differ from row to row, and unfolds it
itself (JSON_TABLE); what all rows share is sent once. Quoted value by value, as PyMySQL does
it, the rows of a batch cost more CPU than everything else the ledger does.
"""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import Connection, Table
from sqlalchemy.dialects import mysql, sqlite

from dist_task_pipelines.domain.errors import DistTaskError, RowRefused

R = TypeVar("R")
Row = Mapping[str, Any]
EMPTY: Row = MappingProxyType({})

ROWS_PER_INSERT = 500
REPLACE, ADD = "replace", "add"
FIXED = "key_"  # before the name of a column: its value in the WHERE clause
DOCUMENT_LENGTH = 1_000_000  # characters; some become several bytes, and quoting doubles them

_quoted = mysql.dialect().identifier_preparer.quote


def insert_rows(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert rows: one statement for each ROWS_PER_INSERT of them."""
    _add_rows(connection, table, rows, {})


def upsert_rows(
    connection: Connection,
    table: Table,
    rows: Sequence[Row],
    *,
    replace: Iterable[str] = (),
    add: Iterable[str] = (),
) -> None:
    """Insert rows, or where the key stands already replace or add to the named columns."""
    _add_rows(connection, table, rows, dict.fromkeys(replace, REPLACE) | dict.fromkeys(add, ADD))


def update_rows(
    connection: Connection,
    table: Table,
    key: str,
    rows: Sequence[Row],
    *,
    where: Row = EMPTY,
) -> None:
    """Update many rows by key, each to its own values. Every row names the same columns.

    Args:
        where: the rest of the key: columns that have one value in all these rows.
    """
    for chunk in chunks(rows, ROWS_PER_INSERT):
        if connection.dialect.name == "sqlite":
            _sqlite_update(connection, table, key, chunk, where)
            continue
        folded = _fold(connection, table, chunk, key)
        shape = table, key, folded.shared_names, folded.names, tuple(where)
        values = {f"{FIXED}{name}": value for name, value in where.items()}
        _send(connection, _mysql_update(*shape), folded, values)


def chunks(items: Sequence[R], size: int) -> Iterator[Sequence[R]]:
    """The items in runs of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _add_rows(
    connection: Connection, table: Table, rows: Sequence[Row], changes: Mapping[str, str]
) -> None:
    """Insert rows; where the key stands already, `changes` says what becomes of which column."""
    for chunk in chunks(rows, ROWS_PER_INSERT):
        if connection.dialect.name == "sqlite":
            connection.execute(_sqlite_insert(table, changes), chunk)
            continue
        folded = _fold(connection, table, chunk, next(iter(chunk[0])))
        shape = table, folded.shared_names, folded.names, tuple(changes.items())
        _send(connection, _mysql_insert(*shape), folded)


def _sqlite_insert(table: Table, changes: Mapping[str, str]) -> sa.Insert:
    statement = sqlite.insert(table)
    if not changes:
        return statement
    new = statement.excluded
    return statement.on_conflict_do_update(
        index_elements=list(table.primary_key.columns),
        set_={
            name: table.c[name] + new[name] if how == ADD else new[name]
            for name, how in changes.items()
        },
    )


def _sqlite_update(
    connection: Connection, table: Table, key: str, rows: Sequence[Row], fixed: Row
) -> None:
    names = [name for name in rows[0] if name != key]
    found = [table.c[key] == sa.bindparam(f"{FIXED}{key}")]
    found += [table.c[name] == value for name, value in fixed.items()]
    statement = sa.update(table).where(*found).values({n: sa.bindparam(n) for n in names})
    connection.execute(statement, [{**row, f"{FIXED}{key}": row[key]} for row in rows])


@dataclass(frozen=True, slots=True)
class _Folded:
    """Rows as they are sent to MySQL.

    Attributes:
        shared: the values that all rows have in common, by column.
        names: the other columns.
        rows: their values.
    """

    shared: Mapping[str, Any]
    names: tuple[str, ...]
    rows: Sequence[tuple[Any, ...]]

    @property
    def shared_names(self) -> tuple[str, ...]:
        return tuple(self.shared)


def _fold(connection: Connection, table: Table, rows: Sequence[Row], key: str) -> _Folded:
    """Take apart what rows share and what not. The column `key` of several rows is never shared."""
    shared: dict[str, Any] = {}
    columns: dict[str, list[Any]] = {}
    for name in rows[0]:
        values = _as_sent(connection, table.c[name], rows)
        is_shared = len(rows) == 1 or (name != key and values.count(values[0]) == len(rows))
        if is_shared:
            shared[name] = values[0]
        else:
            columns[name] = values
    return _Folded(shared, tuple(columns), list(zip(*columns.values(), strict=True)))


def _as_sent(connection: Connection, column: sa.Column[Any], rows: Sequence[Row]) -> list[Any]:
    """The values of a column as the driver gets them.

    Raises:
        RowRefused: one of them cannot be written down.
    """
    dialect = connection.dialect
    process = column.type.dialect_impl(dialect).bind_processor(dialect)
    values = [row[column.name] for row in rows]
    try:
        return list(map(process, values)) if process else values
    except DistTaskError as error:
        raise RowRefused(f"the ledger cannot keep a value of {column}: {error}") from error


def _send(
    connection: Connection, statement: sa.TextClause, folded: _Folded, values: Row = EMPTY
) -> None:
    """Send rows as one document; as two where it would be too long for one statement."""
    plain = {**folded.shared, **values}
    if not folded.names:
        connection.execute(statement, plain)
        return
    document = json.dumps(folded.rows, ensure_ascii=False, default=str, separators=(",", ":"))
    if len(document) <= DOCUMENT_LENGTH or len(folded.rows) == 1:
        connection.execute(statement, {**plain, "rows": document})
        return
    middle = len(folded.rows) // 2
    for half in (folded.rows[:middle], folded.rows[middle:]):
        _send(connection, statement, dataclasses.replace(folded, rows=half), values)


@lru_cache(maxsize=256)
def _mysql_insert(
    table: Table,
    shared: tuple[str, ...],
    names: tuple[str, ...],
    changes: tuple[tuple[str, str], ...],
) -> sa.TextClause:
    columns = ", ".join(map(_quoted, (*shared, *names)))
    values = ", ".join([*map(_bound, shared), *map(_of_row, names)])
    source = f"SELECT {values} FROM {_unfolded(table, names)}" if names else f"VALUES ({values})"
    changed = ", ".join(_on_duplicate(table, name, how) for name, how in changes)
    suffix = f" ON DUPLICATE KEY UPDATE {changed}" if changes else ""
    return sa.text(f"INSERT INTO {_quoted(table.name)} ({columns}) {source}{suffix}")


def _on_duplicate(table: Table, name: str, how: str) -> str:
    old = f"{_quoted(table.name)}.{_quoted(name)} + " if how == ADD else ""
    return f"{_quoted(name)} = {old}VALUES({_quoted(name)})"


@lru_cache(maxsize=256)
def _mysql_update(
    table: Table,
    key: str,
    shared: tuple[str, ...],
    names: tuple[str, ...],
    fixed: tuple[str, ...],
) -> sa.TextClause:
    values = {name: _bound(name) for name in shared} | {name: _of_row(name) for name in names}
    changes = ", ".join(f"t.{_quoted(name)} = {values[name]}" for name in values if name != key)
    found = [f"t.{_quoted(key)} = {values[key]}"]
    found += [f"t.{_quoted(name)} = {_bound(FIXED + name)}" for name in fixed]
    source = f"{_unfolded(table, names)} STRAIGHT_JOIN " if names else ""
    target = f"{source}{_quoted(table.name)} AS t"
    return sa.text(f"UPDATE {target} SET {changes} WHERE {' AND '.join(found)}")


def _bound(name: str) -> str:
    return f":{name}"


def _of_row(name: str) -> str:
    return f"r.{_quoted(name)}"


def _unfolded(table: Table, names: Sequence[str]) -> str:
    columns = ", ".join(
        f"{_quoted(name)} {_unfolded_type(table.c[name])} PATH '$[{place}]' ERROR ON ERROR"
        for place, name in enumerate(names)
    )
    return f"JSON_TABLE(:rows, '$[*]' COLUMNS ({columns})) AS r"


def _unfolded_type(column: sa.Column[Any]) -> str:
    if isinstance(column.type, sa.Integer | sa.Boolean):
        return "BIGINT"
    return "DOUBLE" if isinstance(column.type, sa.Float) else "LONGTEXT"
