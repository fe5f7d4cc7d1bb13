"""The barrier: a row for each change, in the same database transaction as the change.

It makes the effect of a db task exactly-once. Whoever comes second with the same
idempotency key, at the same time or years later, finds the row and the output of the
first. The table stands in the participant's database.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import (
    Column,
    Connection,
    DateTime,
    Engine,
    MetaData,
    String,
    Table,
    Text,
    insert,
    inspect,
    select,
    update,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateTable

from dist_task_pipelines.domain.json import JsonObject, dumps, loads
from dist_task_pipelines.executors.db_errors import Refused

KEY_LENGTH = 2048  # a percent-encoded transaction id, and a task id; MySQL indexes 3072 bytes
_ASCII = mysql.VARCHAR(KEY_LENGTH, charset="ascii", collation="ascii_bin")

BARRIER = Table(
    "dist_task_barrier",
    MetaData(),
    Column(
        "idempotency_key",
        String(KEY_LENGTH).with_variant(_ASCII, "mysql", "mariadb"),
        primary_key=True,
    ),
    Column("ledger_uuid", String(64), nullable=False),
    Column("result", Text, nullable=False),  # the task's output as JSON
    Column(
        "created_at",
        DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb"),
        nullable=False,
    ),
    mysql_engine="InnoDB",
    mariadb_engine="InnoDB",
)


@dataclass(frozen=True, slots=True)
class Passed:
    """A change that took place: whose it was and what it put out."""

    ledger_uuid: str
    output: JsonObject


def ensure(engine: Engine) -> None:
    """Create the table when it does not exist.

    Raises:
        Refused: this user may not; the message holds the SQL to run.
    """
    if _exists(engine):
        return
    try:
        BARRIER.create(engine, checkfirst=False)
    except DBAPIError as error:
        if not _exists(engine):  # otherwise somebody else created it just now
            raise Refused(
                "BarrierMissing",
                f"the table {BARRIER.name} is missing and could not be created "
                f"({error.orig}); as a user who may, run: {_sql(engine)}",
            ) from None


def enter(connection: Connection, key: str, ledger_uuid: str) -> None:
    """Take the key; the row of another transaction makes it wait until that one ended.

    Raises:
        IntegrityError: the key is taken.
    """
    row = {"idempotency_key": key, "ledger_uuid": ledger_uuid, "result": "{}"}
    now = datetime.now(UTC).replace(tzinfo=None)
    connection.execute(insert(BARRIER).values(**row, created_at=now))


def leave(connection: Connection, key: str, output: JsonObject) -> None:
    """Keep the output of the change for those who come again."""
    row = update(BARRIER).where(BARRIER.c.idempotency_key == key)
    connection.execute(row.values(result=dumps(output)))


def passed(connection: Connection, key: str) -> Passed | None:
    """The change made with this key, if there was one."""
    wanted = select(BARRIER.c.ledger_uuid, BARRIER.c.result)
    row = connection.execute(wanted.where(BARRIER.c.idempotency_key == key)).first()
    return Passed(row.ledger_uuid, loads(row.result)) if row else None


def _exists(engine: Engine) -> bool:
    return inspect(engine).has_table(BARRIER.name)


def _sql(engine: Engine) -> str:
    statement = str(CreateTable(BARRIER).compile(dialect=engine.dialect))
    return " ".join(statement.split()) + ";"
