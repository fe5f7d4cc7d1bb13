"""The statements of `db` tasks: a config and a reflected table make a piece of work.

Values are converted before a transaction begins; the work itself runs inside one and is
rolled back when it raises.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Delete,
    Insert,
    Select,
    Table,
    Update,
    and_,
    delete,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from dist_task_pipelines.domain.json import JsonObject, JsonValue
from dist_task_pipelines.executors.db_config import ANY, DbConfig
from dist_task_pipelines.executors.db_errors import Refused
from dist_task_pipelines.executors.db_values import to_column, to_json

Work = Callable[[Connection], JsonObject]

_NO_TRANSACTIONS = ("myisam", "memory", "aria", "csv", "archive", "blackhole")


def work_for(config: DbConfig, table: Table) -> Work:
    """What the config asks to do on the table.

    Raises:
        BadValue: a value does not fit its column.
        Refused: the table cannot take this operation.
    """
    if config.operation != "select":
        _refuse_without_transactions(table)
    return _MAKERS[config.operation](config, table)


def _insert(config: DbConfig, table: Table) -> Work:
    values = _values(table, config.data)

    def work(connection: Connection) -> JsonObject:
        key = connection.execute(insert(table).values(values)).inserted_primary_key or ()
        return {"row_count": 1, "primary_key": _as_json(table, tuple(key))}

    return work


def _update(config: DbConfig, table: Table) -> Work:
    statement = update(table).where(_condition(table, config.where))
    return _counting(config, statement.values(_values(table, config.data)))


def _delete(config: DbConfig, table: Table) -> Work:
    return _counting(config, delete(table).where(_condition(table, config.where)))


def _counting(config: DbConfig, statement: Update | Delete) -> Work:
    def work(connection: Connection) -> JsonObject:
        count = connection.execute(statement).rowcount
        _expect(config, count)
        return {"row_count": count}

    return work


def _upsert(config: DbConfig, table: Table) -> Work:
    keys = config.keys or [column.name for column in table.primary_key]
    if not keys or not set(keys) <= set(config.data):
        raise Refused(
            "InvalidConfig",
            f"upsert into {table.name!r} needs `keys`, or a value for each column of the primary "
            f"key in `data` ({', '.join(keys) or 'the table has none'})",
        )
    values = _values(table, config.data)
    own = and_(*(table.c[name] == values[name] for name in keys))
    changed, added = update(table).where(own).values(values), insert(table).values(values)

    def work(connection: Connection) -> JsonObject:
        count, inserted = _update_or_insert(connection, changed, added)
        if count > 1:
            raise Refused("RowCount", f"{count} rows have the same {', '.join(keys)}: no key")
        return {"row_count": 1, "inserted": inserted}

    return work


def _update_or_insert(connection: Connection, changed: Update, added: Insert) -> tuple[int, bool]:
    """How many rows were found, and whether one was inserted instead.

    MySQL and SQLite undo only the statement that failed; there a savepoint would hide a
    deadlock, which undoes it too. PostgreSQL needs one to go on.
    """
    if count := connection.execute(changed).rowcount:
        return count, False
    spoils_all = connection.dialect.name == "postgresql"
    try:
        with connection.begin_nested() if spoils_all else nullcontext():
            connection.execute(added)
    except IntegrityError:  # somebody inserted it just now, or another constraint forbids it
        if count := connection.execute(changed).rowcount:
            return count, False
        raise
    return 1, True


def _select(config: DbConfig, table: Table) -> Work:
    columns = [table.c[name] for name in config.columns] or list(table.c)
    query: Select[Any] = select(*columns).order_by(*table.primary_key).limit(config.limit + 1)
    if config.where:
        query = query.where(_condition(table, config.where))

    def work(connection: Connection) -> JsonObject:
        found = [
            {name: to_json(name, value) for name, value in row.items()}
            for row in connection.execute(query).mappings()
        ]
        _expect(config, len(found))
        rows = found[: config.limit]
        return {"rows": rows, "row_count": len(rows), "more": len(found) > len(rows)}

    return work


_MAKERS: dict[str, Callable[[DbConfig, Table], Work]] = {
    "insert": _insert,
    "update": _update,
    "delete": _delete,
    "upsert": _upsert,
    "select": _select,
}


def _values(table: Table, data: JsonObject) -> dict[str, Any]:
    return {name: to_column(table.c[name], value) for name, value in data.items()}


def _condition(table: Table, where: JsonObject) -> ColumnElement[bool]:
    return and_(*(_equal(table.c[name], value) for name, value in where.items()))


def _equal(column: Column[Any], value: JsonValue) -> ColumnElement[bool]:
    if isinstance(value, list):
        return column.in_([to_column(column, item) for item in value])
    equal: ColumnElement[bool] = column == to_column(column, value)
    return equal


def _as_json(table: Table, key: tuple[Any, ...]) -> JsonObject:
    return {
        column.name: to_json(column.name, value)
        for column, value in zip(table.primary_key, key, strict=False)
    }


def _expect(config: DbConfig, found: int) -> None:
    expected = config.expect_rows
    if expected in (ANY, found):
        return
    if expected is None and (found or config.operation != "update"):
        return
    wanted = "at least one" if expected is None else expected
    raise Refused(
        "RowCount",
        f"{config.operation} on {config.table!r} found {found} rows instead of {wanted}; "
        "nothing was changed (expect_rows)",
    )


def _refuse_without_transactions(table: Table) -> None:
    engine = str(table.kwargs.get("mysql_engine") or table.kwargs.get("mariadb_engine") or "")
    if engine.lower() in _NO_TRANSACTIONS:
        raise Refused(
            "NoTransactions",
            f"table {table.name!r} is a {engine} table, which has no transactions: a change "
            f"could not be made exactly once. ALTER TABLE {table.name} ENGINE=InnoDB fixes it",
        )
